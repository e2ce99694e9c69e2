/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An enclave as a QEMU process (docs/facts/eif.md §9): what an EIF holds is handed to QEMU as kernel,
 * initrd and command line, because Debian's QEMU has no machine that takes an EIF itself.
 */
#include "qemu_arguments.h"
#include "qemu_identity.h"
#include "vm.h"
#include "vm_image.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <nefs/cleanup.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct vm {
	pid_t pid;
	int pidfd;
	int console;  /* our end of its serial line, -1 without debug mode */
	int errors;   /* what it writes to stderr */
	bool crashed; /* by vm_qemu.crash */
	bool reaped;
	int status; /* of waitpid */
};

static int qemu_pidfd(const struct vm *vm)
{
	return vm->pidfd;
}

static void reap(struct vm *vm)
{
	siginfo_t info;

	if (vm->reaped)
		return;
	/* While its end is not taken its number is nobody else's: what is left of its group can be killed. */
	while (waitid(P_PID, (id_t)vm->pid, &info, WEXITED | WNOWAIT) && errno == EINTR)
		;
	kill(-vm->pid, SIGKILL);
	if (waitpid(vm->pid, &vm->status, 0) == vm->pid)
		vm->reaped = true;
}

/* The last line that QEMU complained with. */
static void last_line(int fd, char *line, size_t size)
{
	char text[4096];
	ssize_t got = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	char *start;

	if (got < 0)
		got = 0;
	while (got > 0 && (text[got - 1] == '\n' || text[got - 1] == '\r'))
		got--;
	text[got] = '\0';
	start = strrchr(text, '\n');
	snprintf(line, size, "%.*s", (int)size - 1, start ? start + 1 : text);
}

static void qemu_describe_end(struct vm *vm, char *text, size_t size)
{
	char complaint[160];

	reap(vm);
	last_line(vm->errors, complaint, sizeof(complaint));
	if (vm->crashed)
		snprintf(text, size, "it was made to crash by sim/crash");
	else if (WIFSIGNALED(vm->status))
		snprintf(text, size, "its QEMU was killed by signal %d", WTERMSIG(vm->status));
	else if (WEXITSTATUS(vm->status))
		snprintf(text, size, "its QEMU exited with status %d: %s", WEXITSTATUS(vm->status),
			complaint[0] ? complaint : "no reason given");
	else
		snprintf(text, size, "its system shut down or rebooted");
}

static int qemu_console(const struct vm *vm)
{
	int fd = vm->console < 0 ? -ENOTCONN : fcntl(vm->console, F_DUPFD_CLOEXEC, 3);

	return fd < 0 && vm->console >= 0 ? -errno : fd;
}

static void qemu_destroy(struct vm *vm)
{
	if (!vm->reaped)
		kill(-vm->pid, SIGKILL);
	reap(vm);
	close(vm->pidfd);
	if (vm->console >= 0)
		close(vm->console);
	close(vm->errors);
	free(vm);
}

static bool qemu_crash(struct vm *vm)
{
	if (vm->reaped)
		return false;
	vm->crashed = true;
	kill(-vm->pid, SIGKILL);
	return true;
}

/* What a child tells of its failure; nothing once it is QEMU. */
struct failure {
	int code;
	bool identity; /* it could not become who it should be */
};

/* Tells it, and ends. */
static void fail(int report, struct failure failure)
{
	if (write(report, &failure, sizeof(failure)) < 0)
		_exit(126);
	_exit(127);
}

/*
 * In the child: only async-signal-safe calls, as other threads of the parent may hold any lock.
 * QEMU's fds are 0, 1, 2 and those in keep, which get numbers from 3 on.
 */
static void become_qemu(const struct qemu_arguments *arguments,
	const struct qemu_identity *identity, int errors, const int *keep, size_t keep_count,
	int report)
{
	struct pollfd parent = { .fd = report };
	int null = open("/dev/null", O_RDWR), failed;
	sigset_t none;

	setsid();
	failed = qemu_identity_assume(identity);
	if (failed)
		fail(report, (struct failure){ -failed, true });
	/* It must not outlive the daemon, however that ends. Whoever changes his uid loses this. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* If it has ended already, nobody reads the report. */
	if (poll(&parent, 1, 0) == 1 && parent.revents & POLLERR)
		_exit(0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(errors, STDERR_FILENO);
	/* Whatever some library has forgotten to mark: a mount's fd must not live on in here. */
	close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	for (size_t i = 0; i < keep_count; i++)
		if (fcntl(keep[i], F_SETFD, 0))
			break;
	execvpe(arguments->argv[0], arguments->argv, identity->environment);
	fail(report, (struct failure){ errno, false });
}

/*
 * A child that is the first process of a namespace of process numbers, if this process may make one
 * (CAP_SYS_ADMIN): whatever the child starts ends with it, by the kernel, however it ends and wherever they have gone.
 * Otherwise they end with its process group, if they have stayed in it and this process is there to kill it.
 */
static pid_t fork_alone(void)
{
	/* Of this thread's children only, and it has no other (vm_keeper.h). */
	if (unshare(CLONE_NEWPID))
		errno = 0;
	return fork();
}

/* Starts QEMU. Returns 0, or what that failed with. */
static int spawn(struct vm *vm, const struct qemu_arguments *arguments,
	const struct qemu_identity *identity, int errors, const int *keep, size_t keep_count,
	struct nefs_error *err)
{
	struct failure failure = { 0 };
	int report[2];

	if (pipe2(report, O_CLOEXEC))
		return nefs_error_set(
			err, errno, "cannot make a pipe for QEMU: %s", strerror(errno));
	vm->pid = fork_alone();
	if (vm->pid == 0) {
		close(report[0]);
		become_qemu(arguments, identity, errors, keep, keep_count, report[1]);
	}
	if (vm->pid < 0)
		failure.code = errno;
	close(report[1]);
	if (!failure.code && read(report[0], &failure, sizeof(failure)) > 0)
		waitpid(vm->pid, NULL, 0);
	close(report[0]);
	if (failure.identity)
		return nefs_error_set(err, failure.code,
			"cannot run %s as uid %u, gid %u and without privileges: %s",
			arguments->argv[0], (unsigned int)identity->uid,
			(unsigned int)identity->gid, strerror(failure.code));
	if (failure.code == ENOENT)
		return nefs_error_set(err, ENOENT, "there is no %s here: apt-get install %s",
			arguments->argv[0], arguments->package);
	if (failure.code)
		return nefs_error_set(err, failure.code, "cannot run %s: %s", arguments->argv[0],
			strerror(failure.code));
	return 0;
}

/* All the fds of a start; what is left at its end is closed. */
struct start {
	struct vm_image image;
	struct qemu_identity identity;
	int console[2];
	int errors[2];
};

static void end_start(struct start *start)
{
	int *fds[] = { &start->console[0], &start->console[1], &start->errors[0],
		&start->errors[1] };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		nefs_cleanup_close(fds[i]);
	vm_image_release(&start->image);
	qemu_identity_release(&start->identity);
}

static int open_lines(struct start *start, bool debug, struct nefs_error *err)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, start->errors) ||
		(debug && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
				  start->console)))
		return nefs_error_set(
			err, errno, "cannot make the enclave's console: %s", strerror(errno));
	return 0;
}

static int qemu_start(const struct vm_config *config, struct vm **result, struct nefs_error *err)
{
	__attribute__((cleanup(end_start))) struct start start = { .console = { -1, -1 },
		.errors = { -1, -1 } };
	struct qemu_arguments arguments;
	struct vm *vm;
	int failed;

	start.image.kernel = start.image.initrd = -1;
	failed = vm_image_load(config, &start.image, err);
	if (!failed)
		failed = open_lines(&start, config->debug, err);
	if (failed)
		return failed;
	failed = qemu_identity_choose(&start.identity, config);
	if (!failed)
		failed = qemu_arguments_make(
			&arguments, config, &start.image, start.identity.kvm, start.console[1]);
	if (failed)
		return nefs_error_set(err, -failed, "out of memory for QEMU's arguments");
	vm = calloc(1, sizeof(*vm));
	if (vm) {
		const int keep[] = { start.image.kernel, start.image.initrd, start.console[1] };

		failed = spawn(vm, &arguments, &start.identity, start.errors[1], keep,
			config->debug ? 3 : 2, err);
	} else {
		failed = nefs_error_set(err, ENOMEM, "out of memory for QEMU");
	}
	qemu_arguments_release(&arguments);
	if (!failed) {
		vm->pidfd = (int)syscall(SYS_pidfd_open, vm->pid, 0);
		if (vm->pidfd < 0) {
			failed = nefs_error_set(
				err, errno, "cannot watch QEMU: %s", strerror(errno));
			kill(-vm->pid, SIGKILL);
			waitpid(vm->pid, NULL, 0);
		}
	}
	if (failed) {
		free(vm);
		return failed;
	}
	fcntl(vm->pidfd, F_SETFD, FD_CLOEXEC);
	vm->console = nefs_take_fd(&start.console[0]);
	vm->errors = nefs_take_fd(&start.errors[0]);
	*result = vm;
	return 0;
}

const struct vm_ops vm_qemu = {
	.name = "qemu",
	.start = qemu_start,
	.pidfd = qemu_pidfd,
	.describe_end = qemu_describe_end,
	.console = qemu_console,
	.destroy = qemu_destroy,
	.crash = qemu_crash,
};
