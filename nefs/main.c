/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nefs(8): sets up, serves, gives back. */
#include "background.h"
#include "bounds.h"
#include "daemon.h"
#include "fuse_messages.h"
#include "mount_point.h"
#include "privileges.h"
#include "signals.h"
#include "spool.h"
#include "syscall_filter.h"
#include <errno.h>
#include <nefs/log.h>
#include <nefs/process.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/* Threads for what blocks: a device that doesn't answer may hold as many of them. */
#define WORKERS_MAX 64

/* Each running enclave holds some: as many fds as root may have. */
#define ROOT_FDS (1UL << 20)

/* How long a worker may take before the log says so. */
#define BUSY_MS 10000

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct daemon *daemon = userdata;
	struct log *log = daemon->fs.tree.log;
	char text[160];

	describe_signal(info, text, sizeof(text));
	/* SIGHUP is what others reload for: nothing that runs may end by it. */
	if (info->ssi_signo == SIGHUP)
		log_line(log, LOG_NOTICE, "nefs: %s: nothing to do", text);
	else if (daemon->quit)
		log_line(log, LOG_NOTICE, "nefs: %s: it is ending already", text);
	else
		daemon_end(daemon, 0, "%s", text);
	return 0;
}

static int watch(struct daemon *daemon)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };

	return nefs_watch_signals(
		daemon->fs.event, signals, sizeof(signals) / sizeof(signals[0]), on_signal, daemon);
}

/* All but the mount. 0, or a negative errno; daemon->status is the exit status then. */
static int set_up(struct daemon *daemon, struct nefs_error *err)
{
	struct options *options = &daemon->options;
	struct fs *fs = &daemon->fs;
	int failed;

	daemon->status = EXIT_SYSTEM;
	failed = sd_event_new(&fs->event);
	if (failed >= 0)
		failed = watch(daemon);
	if (failed < 0)
		return nefs_error_set(
			err, -failed, "cannot set up the event loop: %s", strerror(-failed));
	failed = spool_open(&fs->spool, options->spool, NULL, err);
	if (!failed)
		failed = bounds_set(&fs->tree.quota, options, fs->spool.directory, err);
	/* Other daemons have been looked for by now, and there is no other thread yet. */
	if (!failed && geteuid() != 0)
		failed = unmounter_start(&daemon->unmounter, options->mountpoint, err);
	if (!failed)
		failed = privileges_give_up(strcmp(options->backend.kind, "sim") == 0, err);
	if (!failed)
		failed = workers_new(fs->event, WORKERS_MAX, &fs->workers, err);
	fs->spool.workers = fs->workers;
	fs->spool.event = fs->event;
	fs->spool.buffers = &daemon->buffers;
	fs->spool.quota = &fs->tree.quota;
	if (failed)
		return failed;
	if (workers_watch(fs->workers, fs->tree.log, BUSY_MS) < 0)
		return nefs_error_set(err, ENOMEM, "out of memory for a timer");
	failed = backend_open(fs->event, fs->workers, &options->backend, &fs->backend, err);
	/* Without a device another backend has to be asked for. */
	if (failed == -ENODEV)
		daemon->status = EXIT_USAGE;
	return failed ? failed : fs_init(fs, options->gid, err);
}

/* The daemon serves: its caller goes on. */
static void report_ready(struct daemon *daemon, int report)
{
	const struct options *options = &daemon->options;
	char text[1024];

	if (report >= 0)
		let_terminal_go();
	fuse_messages_to(daemon->fs.tree.log);
	snprintf(text, sizeof(text), "%s, version " NEFS_VERSION ", backend=%s, spool=%s",
		options->mountpoint, options->backend.kind, options->spool);
	log_event(daemon->fs.tree.log, &(struct log_event){ .event = "mounted", .error = text });
	sd_notifyf(0, "READY=1\nSTATUS=Serves %s", options->mountpoint);
	if (report >= 0)
		release_caller(report);
	daemon->caller = false;
}

static enum exit_status complain(const struct nefs_error *err, enum exit_status status)
{
	fprintf(stderr, "nefs: %s\n", err->text);
	return status;
}

/* It could not be mounted: told to who called, and to who reads the log; not twice to the same. */
static void tell_failure(const struct daemon *daemon, bool foreground, const struct nefs_error *err)
{
	struct log *log = daemon->fs.tree.log;

	if (!foreground || log_is_stderr(log))
		complain(err, EXIT_SYSTEM);
	if (!log_is_stderr(log))
		log_event(log,
			&(struct log_event){
				.event = "ending", .error = err->text, .errno_code = err->code });
}

/* Runs the loop until it is to end, or, if it is to be ready only, until the mount answers. */
static void run_loop(struct daemon *daemon, bool until_ready)
{
	while (!daemon->quit && !(until_ready && daemon->answers)) {
		int failed = nefs_event_run(daemon->fs.event, UINT64_MAX, &daemon->shortage);

		if (failed >= 0)
			continue;
		daemon->status = EXIT_SYSTEM;
		daemon_end(daemon, -failed, "the event loop failed: %s", strerror(-failed));
	}
}

/* Mounts, serves, and gives everything back. */
static enum exit_status serve(struct daemon *daemon, struct fuse_args *args, int report)
{
	struct nefs_error err = { 0 };
	int failed = daemon_make_session(daemon, args, &err);

	daemon->caller = report >= 0;
	if (!failed) {
		daemon->status = EXIT_MOUNT;
		failed = mount_point_check(daemon->options.mountpoint, &err);
	}
	if (!failed)
		failed = set_up(daemon, &err);
	if (!failed)
		failed = daemon_mount(daemon, &err);
	/* All threads are there, and the mount is. */
	if (!failed)
		failed =
			syscall_filter_load(strcmp(daemon->options.backend.kind, "sim") == 0, &err);
	if (failed) {
		tell_failure(daemon, report < 0, &err);
		daemon_tear_down(daemon);
		return daemon->status;
	}
	daemon->status = EXIT_OK;
	run_loop(daemon, true);
	if (daemon->answers)
		report_ready(daemon, report);
	run_loop(daemon, false);
	daemon_tear_down(daemon);
	log_event(daemon->fs.tree.log, &(struct log_event){ .event = "ended" });
	return daemon->status;
}

static enum exit_status run(struct daemon *daemon, struct fuse_args *args)
{
	struct options *options = &daemon->options;
	struct nefs_error err = { 0 };
	bool foreground;
	int report = -1;

	if (options_parse(args, options, &err))
		return complain(&err, err.code == ENOMEM ? EXIT_SYSTEM : EXIT_USAGE);
	if (options->help) {
		options_print_help("nefs");
		return EXIT_OK;
	}
	if (options->version) {
		printf("nefs %s (libfuse %s)\n", NEFS_VERSION, fuse_pkgversion());
		return EXIT_OK;
	}
	be_undisturbed();
	fuse_messages_to(NULL);
	foreground = options->foreground || options->debug;
	if (log_open(&(struct log_options){ .foreground = foreground,
			     .debug = options->debug,
			     .mount = options->mountpoint },
		    &daemon->fs.tree.log, &err))
		return complain(&err, EXIT_SYSTEM);
	daemon->shortage.log = daemon->fs.tree.log;
	nefs_raise_fd_limit(geteuid() == 0 ? ROOT_FDS : 0);
	if (!foreground) {
		report = become_daemon();
		if (report < 0) {
			nefs_error_set(&err, -report, "cannot go into the background: %s",
				strerror(-report));
			return complain(&err, EXIT_SYSTEM);
		}
	}
	return serve(daemon, args, report);
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	/* The journal's ring alone is larger than a comfortable stack frame. */
	struct daemon *daemon = calloc(1, sizeof(*daemon));
	int status = EXIT_SYSTEM;

	if (daemon && hold_standard_fds()) {
		daemon->fs.spool.directory = -1;
		daemon->mark = -1;
		daemon->unmounter = UNMOUNTER_NONE;
		status = run(daemon, &args);
		fuse_messages_to(NULL);
		log_close(daemon->fs.tree.log);
		options_release(&daemon->options);
	}
	free(daemon);
	fuse_opt_free_args(&args);
	return status;
}
