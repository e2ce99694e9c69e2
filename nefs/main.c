/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nefs(8): mounts, serves, unmounts. */
#include "fs.h"
#include "life.h"
#include "notifier.h"
#include "options.h"
#include "spool.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

/* Threads for what blocks: a device that doesn't answer may hold as many of them. */
#define WORKERS_MAX 64

/* How long the end waits for enclaves to stop before it leaves the rest to the kernel. */
#define END_USEC 10000000ULL

/* A daemon and what it holds, in the order in which it is taken. */
struct daemon {
	struct options options;
	struct fs fs;
	struct fuse_buf request; /* libfuse's read buffer, used again and again */
	sd_event_source *requests;
	bool mounted;
	/*
	 * Not sd_event_exit: a loop that has ended can't be run again, and enclaves are stopped by
	 * running it on.
	 */
	bool quit;
	int failure; /* a negative errno, if the mount broke */
	bool ending;
};

static int on_request(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct daemon *daemon = userdata;
	struct fuse_session *session = daemon->fs.tree.session;
	int got;

	(void)source;
	(void)fd;
	(void)revents;
	/* One at a time: a request usually comes alone, and asking in vain costs a system call. */
	got = fuse_session_receive_buf(session, &daemon->request);
	if (got > 0) {
		fuse_session_process_buf(session, &daemon->request);
	} else if (got != -EAGAIN && got != -EINTR) {
		/* Unmounted: 0 or ENODEV, and ECONNABORTED if that came amid a read (fs/fuse/dev.c). */
		daemon->quit = true;
		daemon->failure = got == -ENODEV || got == -ECONNABORTED ? 0 : got;
	}
	return 0;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct daemon *daemon = userdata;

	(void)source;
	(void)info;
	daemon->quit = true;
	return 0;
}

/* Each running enclave holds some fds; the hard limit is what the operator allows. */
static void raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (geteuid() == 0 && limit.rlim_max < 1U << 20) {
		struct rlimit more = { 1U << 20, 1U << 20 };

		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			return;
	}
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int watch(struct daemon *daemon)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	sd_event *event = daemon->fs.event;
	sigset_t blocked;
	int failed = 0;

	sigemptyset(&blocked);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&blocked, signals[i]);
	pthread_sigmask(SIG_BLOCK, &blocked, NULL);
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; !failed && i < sizeof(signals) / sizeof(signals[0]); i++) {
		failed = sd_event_add_signal(event, NULL, signals[i], on_signal, daemon);
		failed = failed < 0 ? failed : 0;
	}
	return failed;
}

/* Arguments for libfuse's mount, on top of what the user gave. */
static int add_mount_options(struct fuse_args *args, const struct options *options)
{
	char text[512];
	const char *source = options->source ? options->source : "nefs";

	if (fuse_opt_add_arg(args, "-odefault_permissions,subtype=nefs"))
		return -ENOMEM;
	if (geteuid() == 0 && fuse_opt_add_arg(args, "-oallow_other"))
		return -ENOMEM;
	snprintf(text, sizeof(text), "-ofsname=%.400s", source);
	if (fuse_opt_add_arg(args, text))
		return -ENOMEM;
	return options->debug ? fuse_opt_add_arg(args, "-odebug") : 0;
}

static int set_up(struct daemon *daemon, struct fuse_args *args, struct nefs_error *err)
{
	struct options *options = &daemon->options;
	struct fs *fs = &daemon->fs;
	int failed, fd;

	failed = sd_event_new(&fs->event);
	if (!failed)
		failed = watch(daemon);
	if (failed)
		return nefs_error_set(
			err, -failed, "cannot set up the event loop: %s", strerror(-failed));
	failed = workers_new(fs->event, WORKERS_MAX, &fs->workers, err);
	if (!failed)
		failed = backend_open(fs->event, fs->workers, &options->backend, &fs->backend, err);
	if (failed)
		return failed;
	failed = spool_open(&fs->spool, options->spool, fs->workers, err);
	if (!failed)
		failed = fs_init(fs, options->gid, err);
	if (failed)
		return failed;
	fs->tree.session = NULL;
	if (add_mount_options(args, options))
		return nefs_error_set(err, ENOMEM, "out of memory");
	fs->tree.session =
		fuse_session_new(args, &tree_operations, sizeof(tree_operations), &fs->tree);
	if (!fs->tree.session)
		return nefs_error_set(
			err, EINVAL, "libfuse refuses these options; nefs -h lists them");
	if (fuse_session_mount(fs->tree.session, options->mountpoint))
		return nefs_error_set(err, EPERM,
			"cannot mount on %s: see the message above; is /dev/fuse there, and fuse3 "
			"installed?",
			options->mountpoint);
	daemon->mounted = true;
	fd = fuse_session_fd(fs->tree.session);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	failed = sd_event_add_io(fs->event, &daemon->requests, fd, EPOLLIN, on_request, daemon);
	if (failed < 0)
		return nefs_error_set(
			err, -failed, "cannot watch the mount: %s", strerror(-failed));
	return notifier_new(options->mountpoint, &fs->tree.notifier, err);
}

static int on_end(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct daemon *daemon = userdata;

	(void)source;
	(void)usec;
	daemon->ending = false;
	return 0;
}

/* Stops the enclaves, as far as their device lets us. False if some did not stop in time. */
static bool stop_enclaves(struct daemon *daemon)
{
	struct fs *fs = &daemon->fs;
	sd_event_source *limit = NULL;
	uint64_t now = 0;

	daemon->ending = true;
	sd_event_now(fs->event, CLOCK_MONOTONIC, &now);
	sd_event_add_time(fs->event, &limit, CLOCK_MONOTONIC, now + END_USEC, 0, on_end, daemon);
	enclave_stop_all(fs);
	while (daemon->ending && (fs->launches || workers_pending(fs->workers)))
		if (sd_event_run(fs->event, END_USEC) < 0)
			break;
	sd_event_source_disable_unref(limit);
	return !fs->launches && !workers_pending(fs->workers);
}

/* Gives everything back, in reverse order; whatever has not been taken is skipped. */
static void tear_down(struct daemon *daemon)
{
	struct fs *fs = &daemon->fs;

	/* First: it closes the connection, which frees the notifier from a request to ourselves. */
	sd_event_source_disable_unref(daemon->requests);
	if (daemon->mounted) {
		tree_drop_requests(&fs->tree);
		fuse_session_exit(fs->tree.session);
		fuse_session_unmount(fs->tree.session);
	}
	notifier_free(fs->tree.notifier);
	fs->tree.notifier = NULL;
	if (fs->backend && !stop_enclaves(daemon)) {
		fprintf(stderr,
			"nefs: %u enclaves did not stop within %llu s; the kernel stops them "
			"when this process ends\n",
			fs->launches, END_USEC / 1000000);
		_exit(EXIT_FAILURE);
	}
	if (fs->tree.session) {
		fuse_session_destroy(fs->tree.session);
		fs->tree.session = NULL;
	}
	fs_release(fs);
	backend_close(fs->backend);
	workers_free(fs->workers);
	spool_close(&fs->spool);
	free(daemon->request.mem);
	sd_event_unref(fs->event);
}

/*
 * Splits off the daemon. In the child returns the pipe on which to report; the parent ends here,
 * with the child's word: who called nefs can use the mount when it returns.
 */
static int become_daemon(void)
{
	int report[2];
	char status = 1;
	pid_t child;

	if (pipe2(report, O_CLOEXEC))
		return -errno;
	child = fork();
	if (child < 0)
		return -errno;
	if (child > 0) {
		close(report[1]);
		if (read(report[0], &status, 1) != 1)
			status = 1;
		_exit(status);
	}
	close(report[0]);
	setsid();
	if (chdir("/"))
		return -errno;
	return report[1];
}

/* The daemon serves: its caller goes on, its terminal is let go. */
static void report_ready(int report)
{
	const char success = 0;
	int null;

	sd_notify(0, "READY=1");
	if (report < 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		close(null);
	}
	if (write(report, &success, 1) < 0) {
		/* The caller is gone; so be it. */
	}
	close(report);
}

static int complain(const struct nefs_error *err)
{
	fprintf(stderr, "nefs: %s\n", err->text);
	return EXIT_FAILURE;
}

static int run(struct daemon *daemon, struct fuse_args *args)
{
	struct options *options = &daemon->options;
	struct nefs_error err = { 0 };
	int report = -1, failed;

	failed = options_parse(args, options, &err);
	if (failed)
		return complain(&err);
	if (options->help) {
		options_print_help("nefs");
		return EXIT_SUCCESS;
	}
	if (options->version) {
		printf("nefs %s (libfuse %s)\n", NEFS_VERSION, fuse_pkgversion());
		return EXIT_SUCCESS;
	}
	raise_fd_limit();
	if (!options->foreground && !options->debug) {
		report = become_daemon();
		if (report < 0) {
			nefs_error_set(&err, -report, "cannot go into the background: %s",
				strerror(-report));
			return complain(&err);
		}
	}
	failed = set_up(daemon, args, &err);
	if (!failed) {
		report_ready(report);
		while (!daemon->quit && !failed) {
			failed = sd_event_run(daemon->fs.event, UINT64_MAX);
			failed = failed < 0 ? failed : daemon->failure;
		}
		sd_notify(0, "STOPPING=1");
	} else {
		complain(&err);
	}
	tear_down(daemon);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	/* The journal's ring alone is larger than a comfortable stack frame. */
	struct daemon *daemon = calloc(1, sizeof(*daemon));
	int status = EXIT_FAILURE;

	if (daemon) {
		daemon->fs.spool.directory = -1;
		status = run(daemon, &args);
		options_release(&daemon->options);
	}
	free(daemon);
	fuse_opt_free_args(&args);
	return status;
}
