/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The enclave as a QEMU process: a script in QEMU's place, to see what QEMU is given and what is made of
 * its end. test_vm_boot.c boots real guests.
 */
#include "cunit_main.h"
#include "sim.h"
#include "temporary.h"
#include "test_launch_image.h"
#include "test_vm_guest.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB	 0x100000ULL
#define FAKE	 "qemu-system-x86_64"
#define FAKE_ARM "qemu-system-aarch64"

/* May QEMUs be in namespaces of their own? */
#define ALONE (geteuid() == 0)

static struct ne_dev *dev;
static char directory[TEMPORARY_MAX]; /* for scripts and what they write */
static char *old_path;

static int make_machine(void)
{
	const struct sim_options options = { .cpus = 8, .memory = 2048 * MIB };

	return sim_dev_new(&options, &dev, NULL);
}

static void set_up(void)
{
	CU_ASSERT_EQUAL_FATAL(make_machine(), 0);
}

static void tear_down(void)
{
	setenv("PATH", old_path, 1);
	dev->ops->destroy(dev);
}

/* ---- a script in QEMU's place ---- */

static const char *in_directory(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

/* Makes this bash script the only QEMU that there is. */
static void fake_qemu(const char *name, const char *script)
{
	FILE *file = fopen(in_directory(name), "we");
	char path[256];

	CU_ASSERT_FATAL(file != NULL);
	fprintf(file, "#!/bin/bash\ncd '%s'\n%s\n", directory, script);
	fclose(file);
	CU_ASSERT_EQUAL(chmod(in_directory(name), 0755), 0);
	snprintf(path, sizeof(path), "%s:/usr/bin:/bin", directory);
	setenv("PATH", path, 1);
}

/* What the script has written to a file there, in a buffer that the next call overwrites. */
static const char *written(const char *name)
{
	static char text[8192];
	int fd = open(in_directory(name), O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[got > 0 ? got : 0] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

/* Starts a small image with a script as QEMU. */
static int start_fake(struct guest *guest, enum eif_arch arch, bool debug)
{
	int image = test_image(arch, 5000), result;

	result = guest_start(guest, dev, 64 * MIB, image, debug);
	close(image);
	return result;
}

static void test_exit_status(void)
{
	struct guest guest;

	fake_qemu(FAKE, "echo first >&2\necho 'qemu: no such machine' >&2\nexit 1");
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, false), 0);
	CU_ASSERT_TRUE(guest_hung_up(&guest));
	CU_ASSERT_TRUE(contains(guest_explanation(&guest), "exited with status 1"));
	CU_ASSERT_TRUE(contains(guest_explanation(&guest), "qemu: no such machine"));
	CU_ASSERT_PTR_NULL(strstr(guest_explanation(&guest), "first"));
	guest_end(&guest);
}

static void test_clean_exit(void)
{
	struct guest guest;

	fake_qemu(FAKE, "exit 0");
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, false), 0);
	CU_ASSERT_TRUE(guest_hung_up(&guest));
	CU_ASSERT_TRUE(contains(guest_explanation(&guest), "shut down or rebooted"));
	guest_end(&guest);
}

static void test_killed(void)
{
	struct guest guest;

	pid_t pid;

	fake_qemu(FAKE, "exec sleep 1000");
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, false), 0);
	while ((pid = guest_process("sleep")) < 0)
		usleep(1000);
	/* It cannot do so itself: the first process of a namespace has no such signals. */
	CU_ASSERT_EQUAL(kill(pid, SIGKILL), 0);
	CU_ASSERT_TRUE(guest_hung_up(&guest));
	CU_ASSERT_TRUE(contains(guest_explanation(&guest), "killed by signal 9"));
	guest_end(&guest);
}

static void test_crash(void)
{
	struct guest guest;

	fake_qemu(FAKE, "exec sleep 1000");
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, false), 0);
	CU_ASSERT_STRING_EQUAL(guest_explanation(&guest), "(nothing)");
	CU_ASSERT_EQUAL(sim_dev_crash(dev, guest.uid, NULL), 0);
	CU_ASSERT_TRUE(guest_hung_up(&guest));
	CU_ASSERT_TRUE(contains(guest_explanation(&guest), "made to crash"));
	guest_end(&guest);
}

/* Does this process end within a minute? Also if it has done so already. */
static bool ends(int pidfd)
{
	struct pollfd watched = { .fd = pidfd, .events = POLLIN };

	return poll(&watched, 1, 60000) == 1;
}

static void test_close_kills(void)
{
	struct guest guest;
	pid_t pid;
	int pidfd;

	fake_qemu(FAKE, "exec sleep 1000");
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, true), 0);
	/* Its name is the script's until it is sleep's. */
	while ((pid = guest_process("sleep")) < 0)
		usleep(1000);
	pidfd = pidfd_open(pid, 0);
	CU_ASSERT_FATAL(pidfd >= 0);
	guest_end(&guest);
	/* At once, and no zombie is left. */
	CU_ASSERT_EQUAL(kill(pid, 0), -1);
	CU_ASSERT_EQUAL(errno, ESRCH);
	close(pidfd);
}

/*
 * A QEMU that has a child, which holds a FIFO's end as long as it lives, and has said so. Where only a namespace
 * holds it, it has left the process group. Returns the other end.
 */
static int fake_parent(void)
{
	char script[512];
	int fifo;

	snprintf(script, sizeof(script), "(echo; exec %s sleep 1000) > fifo &\nexec sleep 1000",
		ALONE ? "setsid" : "");
	fake_qemu(FAKE, script);
	unlink(in_directory("fifo"));
	CU_ASSERT_EQUAL_FATAL(mkfifo(in_directory("fifo"), 0600), 0);
	fifo = open(in_directory("fifo"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	CU_ASSERT_FATAL(fifo >= 0);
	return fifo;
}

static bool child_lives(int fifo)
{
	struct pollfd watched = { .fd = fifo, .events = POLLIN };
	char byte;

	return poll(&watched, 1, 60000) == 1 && read(fifo, &byte, 1) == 1;
}

static bool child_ends(int fifo)
{
	struct pollfd watched = { .fd = fifo };

	return poll(&watched, 1, 60000) == 1 && watched.revents & POLLHUP;
}

static void test_children(void)
{
	struct guest guest;
	int fifo = fake_parent();

	CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, false), 0);
	CU_ASSERT_TRUE(child_lives(fifo));
	guest_end(&guest);
	CU_ASSERT_TRUE(child_ends(fifo));
	close(fifo);
	/* Of one that dies by itself, too. */
	fifo = fake_parent();
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, false), 0);
	CU_ASSERT_TRUE(child_lives(fifo));
	CU_ASSERT_EQUAL(sim_dev_crash(dev, guest.uid, NULL), 0);
	CU_ASSERT_TRUE(child_ends(fifo));
	guest_end(&guest);
	close(fifo);
}

/* What the daemon of the next test does: starts an enclave, says its QEMU's pid, and waits. */
static int be_daemon(void)
{
	struct guest guest;
	pid_t qemu;

	if (make_machine() < 0 || start_fake(&guest, EIF_X86_64, false) < 0)
		return EXIT_FAILURE;
	while ((qemu = guest_process("sleep")) < 0)
		usleep(1000);
	if (write(STDOUT_FILENO, &qemu, sizeof(qemu)) == sizeof(qemu))
		pause();
	return EXIT_FAILURE;
}

/* A daemon that is killed takes its enclaves with it. */
static void test_daemon_dies(void)
{
	int ends_of_pipe[2], pidfd, fifo;
	pid_t daemon, qemu = 0;

	fifo = fake_parent();
	CU_ASSERT_EQUAL_FATAL(pipe2(ends_of_pipe, O_CLOEXEC), 0);
	daemon = fork();
	if (daemon == 0) {
		/* A process of its own: a fork of one with threads cannot have any. */
		dup2(ends_of_pipe[1], STDOUT_FILENO);
		execl("/proc/self/exe", "test_vm", "daemon", (char *)NULL);
		_exit(127);
	}
	close(ends_of_pipe[1]);
	CU_ASSERT_EQUAL_FATAL(read(ends_of_pipe[0], &qemu, sizeof(qemu)), sizeof(qemu));
	CU_ASSERT_FATAL(qemu > 0);
	pidfd = pidfd_open(qemu, 0);
	CU_ASSERT_FATAL(pidfd >= 0);
	CU_ASSERT_TRUE(child_lives(fifo));
	CU_ASSERT_EQUAL(kill(daemon, SIGKILL), 0);
	CU_ASSERT_TRUE(ends(pidfd));
	/* Of its children only a namespace knows. */
	if (ALONE)
		CU_ASSERT_TRUE(child_ends(fifo));
	close(fifo);
	CU_ASSERT_EQUAL(waitpid(daemon, NULL, 0), daemon);
	close(pidfd);
	close(ends_of_pipe[0]);
}

static void test_missing(void)
{
	struct guest guest;

	setenv("PATH", "/nonexistent", 1);
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, false), -ENOENT);
	CU_ASSERT_TRUE(contains(guest_explanation(&guest), "apt-get install qemu-system-x86"));
	guest_end(&guest);
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_AARCH64, false), -ENOENT);
	CU_ASSERT_TRUE(contains(guest_explanation(&guest), "apt-get install qemu-system-arm"));
	guest_end(&guest);
	CU_ASSERT_EQUAL(guest_process(""), -1);
}

static void test_no_image(void)
{
	struct guest guest;

	fake_qemu(FAKE, "exec sleep 1000");
	CU_ASSERT_EQUAL(guest_start(&guest, dev, 64 * MIB, -1, false), -EINVAL);
	CU_ASSERT_TRUE(contains(guest_explanation(&guest), "EIF"));
	guest_end(&guest);
}

/* The number of the script's process, seen from here: its own namespace may have another. */
#define WHO "read self rest </proc/self/stat\n"

/* What QEMU is given: these arguments, these fds, and none that somebody forgot to mark. */
static void test_arguments(void)
{
	int forgotten = open("/etc/passwd", O_RDONLY);
	struct guest guest;

	fake_qemu(FAKE, "printf '%s|' \"$@\" >arguments\n" WHO
			"for fd in /proc/$self/fd/*; do readlink \"$fd\"; done >fds\n"
			"exit 0");
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, false), 0);
	CU_ASSERT_TRUE(guest_hung_up(&guest));
	CU_ASSERT_TRUE(contains(written("arguments"), "-M|microvm,acpi=off,rtc=on|-device|i8042|"));
	CU_ASSERT_TRUE(contains(written("arguments"), "-nodefaults|-no-user-config|"));
	CU_ASSERT_TRUE(contains(written("arguments"), "-no-reboot|"));
	CU_ASSERT_TRUE(contains(written("arguments"), "-m|64M|-smp|2|"));
	CU_ASSERT_TRUE(contains(written("arguments"), "-serial|null|"));
	CU_ASSERT_TRUE(contains(written("arguments"), "-append|console=ttyS0|"));
	CU_ASSERT_PTR_NULL(strstr(written("arguments"), "-chardev"));
	CU_ASSERT_TRUE(contains(written("fds"), "/memfd:enclave-kernel"));
	CU_ASSERT_TRUE(contains(written("fds"), "/memfd:enclave-initrd"));
	CU_ASSERT_TRUE(contains(written("fds"), "/dev/null"));
	CU_ASSERT_PTR_NULL(strstr(written("fds"), "passwd"));
	CU_ASSERT_PTR_NULL(strstr(written("fds"), "nefs-sim-memory"));
	CU_ASSERT_PTR_NULL(strstr(written("fds"), "anon_inode"));
	guest_end(&guest);
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, true), 0);
	CU_ASSERT_TRUE(guest_hung_up(&guest));
	CU_ASSERT_TRUE(contains(written("arguments"), "-serial|chardev:console|"));
	CU_ASSERT_TRUE(contains(written("arguments"), "-chardev|socket,id=console,fd="));
	guest_end(&guest);
	close(forgotten);
}

/* The process alone: nothing of this one's environment, no privilege, no core, a group of its own. */
static void test_privileges(void)
{
	struct guest guest;

	setenv("NEFS_TEST_SECRET", "hidden", 1);
	fake_qemu(FAKE, WHO "tr '\\0' '|' </proc/$self/environ >environ\n"
			    "grep -E '^(Cap|NoNew)' /proc/$self/status | tr -d '\\t' >status\n"
			    "ulimit -c >core\nexit 0");
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, false), 0);
	CU_ASSERT_TRUE(guest_hung_up(&guest));
	CU_ASSERT_TRUE(contains(written("environ"), "PATH="));
	CU_ASSERT_TRUE(contains(written("environ"), "LANG=C.UTF-8|"));
	CU_ASSERT_PTR_NULL(strstr(written("environ"), "SECRET"));
	CU_ASSERT_TRUE(contains(written("status"), "CapInh:0000000000000000\n"));
	CU_ASSERT_TRUE(contains(written("status"), "CapPrm:0000000000000000\n"));
	CU_ASSERT_TRUE(contains(written("status"), "CapEff:0000000000000000\n"));
	CU_ASSERT_TRUE(contains(written("status"), "NoNewPrivs:1\n"));
	/* The bounding set is only the root's to make smaller. */
	if (geteuid() == 0)
		CU_ASSERT_TRUE(contains(written("status"), "CapBnd:0000000000000000\n"));
	CU_ASSERT_STRING_EQUAL(written("core"), "0\n");
	guest_end(&guest);
	unsetenv("NEFS_TEST_SECRET");
}

/* A child, whose number is in a file once it is there. */
#define CHILD "(" WHO "echo $self >child; mv child go; exec sleep 1000) &\n"

/* What it has started goes with it, however it ends. */
static void test_group(void)
{
	for (size_t i = 0; i < 2; i++) {
		struct guest guest;
		int pidfd, errno_of_open;
		pid_t pid;

		unlink(in_directory("go"));
		fake_qemu(FAKE, i ? CHILD "sleep .2; exit 0" : CHILD "exec sleep 1000");
		CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, false), 0);
		while (!written("go")[0])
			usleep(1000);
		pid = (pid_t)strtol(written("go"), NULL, 10);
		pidfd = pidfd_open(pid, 0);
		errno_of_open = pidfd < 0 ? errno : 0;
		if (i)
			CU_ASSERT_TRUE(guest_hung_up(&guest));
		guest_end(&guest);
		if (pidfd >= 0) {
			CU_ASSERT_TRUE(ends(pidfd));
			close(pidfd);
		} else {
			/* It has gone already. */
			CU_ASSERT_EQUAL(errno_of_open, ESRCH);
		}
	}
}

static void test_arm_arguments(void)
{
	struct guest guest;

	fake_qemu(FAKE_ARM, "printf '%s|' \"$@\" >arguments\nexit 0");
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_AARCH64, true), 0);
	CU_ASSERT_TRUE(guest_hung_up(&guest));
	CU_ASSERT_TRUE(contains(written("arguments"), "-M|virt,gic-version=3|"));
	CU_ASSERT_TRUE(contains(written("arguments"), "-cpu|neoverse-n1|"));
	CU_ASSERT_TRUE(contains(written("arguments"), "virtconsole,chardev=console|"));
	CU_ASSERT_TRUE(contains(written("arguments"), "console=ttyS0 console=hvc0|"));
	guest_end(&guest);
	/* AWS's init wants a console even where nobody may read it. */
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_AARCH64, false), 0);
	CU_ASSERT_TRUE(guest_hung_up(&guest));
	CU_ASSERT_TRUE(contains(written("arguments"), "-chardev|null,id=console|"));
	CU_ASSERT_TRUE(contains(written("arguments"), "virtconsole,chardev=console|"));
	CU_ASSERT_TRUE(contains(written("arguments"), "console=ttyS0 console=hvc0|"));
	guest_end(&guest);
}

/* The script's way to its console: the fd behind fd= in its arguments. */
#define FIND_CONSOLE                                                                               \
	"args=\"$*\"; fd=${args##*fd=}; fd=${fd%% *}\n"                                            \
	"[ \"$fd\" -ge 0 ] 2>/dev/null || exec sleep 1000 # this enclave has none\n"

static void test_console(void)
{
	struct guest guest;
	struct pollfd watched;
	char text[64];
	int second;

	fake_qemu(FAKE, FIND_CONSOLE "echo one >&$fd; exec sleep 1000");
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, true), 0);
	CU_ASSERT_FATAL(guest.console >= 0);
	CU_ASSERT_TRUE(fcntl(guest.console, F_GETFL) & O_NONBLOCK);
	CU_ASSERT_TRUE(fcntl(guest.console, F_GETFD) & FD_CLOEXEC);
	CU_ASSERT_TRUE(guest_says(&guest, "one\n"));
	CU_ASSERT_EQUAL(read(guest.console, text, sizeof(text)), -1);
	CU_ASSERT_EQUAL(errno, EAGAIN);
	CU_ASSERT_EQUAL(sim_dev_crash(dev, guest.uid, NULL), 0);
	CU_ASSERT_TRUE(guest_hung_up(&guest));
	watched = (struct pollfd){ .fd = guest.console, .events = POLLIN };
	CU_ASSERT_EQUAL(poll(&watched, 1, 60000), 1);
	CU_ASSERT_EQUAL(read(guest.console, text, sizeof(text)), 0);
	guest_end(&guest);
	/* Without debug mode there is none; nor for an fd that is no enclave. */
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, false), 0);
	second = dev->ops->console(dev, guest.fd, guest.cid, NULL);
	CU_ASSERT_TRUE(second < 0 && second != -EAGAIN);
	CU_ASSERT_TRUE(dev->ops->console(dev, -1, 16, NULL) < 0);
	guest_end(&guest);
}

/* What was printed while nobody looked is there for the next who does, even after the end. */
static void test_console_of_the_dead(void)
{
	struct guest guest;
	FILE *go;

	unlink(in_directory("go"));
	fake_qemu(FAKE, FIND_CONSOLE "until [ -e go ]; do sleep .02; done\n"
				     "echo last words >&$fd; exit 0");
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, true), 0);
	close(guest.console);
	go = fopen(in_directory("go"), "we");
	CU_ASSERT_FATAL(go != NULL);
	fclose(go);
	CU_ASSERT_TRUE(guest_hung_up(&guest));
	guest.console = dev->ops->console(dev, guest.fd, guest.cid, NULL);
	CU_ASSERT_FATAL(guest.console >= 0);
	CU_ASSERT_TRUE(guest_says(&guest, "last words\n"));
	guest_end(&guest);
}

/* A second reader takes over; the first one's stream ends. */
static void test_console_readers(void)
{
	struct guest guest;
	struct pollfd first;
	char text[64];

	fake_qemu(FAKE, FIND_CONSOLE "echo one >&$fd; exec sleep 1000");
	CU_ASSERT_EQUAL(start_fake(&guest, EIF_X86_64, true), 0);
	CU_ASSERT_TRUE(guest_says(&guest, "one\n"));
	first = (struct pollfd){ .fd = guest.console, .events = POLLIN };
	guest.console = dev->ops->console(dev, guest.fd, guest.cid, NULL);
	CU_ASSERT_FATAL(guest.console >= 0);
	CU_ASSERT_EQUAL(poll(&first, 1, 60000), 1);
	CU_ASSERT_EQUAL(read(first.fd, text, sizeof(text)), 0);
	close(first.fd);
	guest_end(&guest);
}

static const CU_TestInfo tests[] = {
	{ "QEMU fails: its status and its last words", test_exit_status },
	{ "QEMU ends: the guest shut down", test_clean_exit },
	{ "QEMU is killed", test_killed },
	{ "a crash that was asked for", test_crash },
	{ "closing the enclave kills QEMU and leaves no zombie", test_close_kills },
	{ "QEMU's children end with it", test_children },
	{ "killing the daemon kills QEMU", test_daemon_dies },
	{ "QEMU is not installed", test_missing },
	{ "there is no image", test_no_image },
	{ "QEMU's arguments and fds", test_arguments },
	{ "QEMU has no privileges", test_privileges },
	{ "what QEMU has started ends with it", test_group },
	{ "QEMU's arguments for arm64", test_arm_arguments },
	{ "the console", test_console },
	{ "the console of an enclave that has ended", test_console_of_the_dead },
	{ "the console's readers", test_console_readers },
	CU_TEST_INFO_NULL,
};

int main(int argc, char **argv)
{
	int status;

	if (argc == 2 && strcmp(argv[1], "daemon") == 0)
		return be_daemon();

	old_path = strdup(getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
	if (!old_path)
		return EXIT_FAILURE;
	temporary_directory(directory, "nefs-vm");
	status = cunit_run("vm", tests, set_up, tear_down);
	unlink(in_directory(FAKE));
	unlink(in_directory(FAKE_ARM));
	unlink(in_directory("arguments"));
	unlink(in_directory("fds"));
	unlink(in_directory("environ"));
	unlink(in_directory("status"));
	unlink(in_directory("core"));
	unlink(in_directory("go"));
	unlink(in_directory("fifo"));
	if (rmdir(directory))
		perror(directory);
	free(old_path);
	return status;
}
