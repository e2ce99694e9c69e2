/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nefs(8): mounts, serves, unmounts. */
#include "background.h"
#include "directory.h"
#include "fs.h"
#include "life.h"
#include "notifier.h"
#include "options.h"
#include "spool.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <mntent.h>
#include <nefs/cleanup.h>
#include <nefs/log.h>
#include <nefs/process.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

/* Threads for what blocks: a device that doesn't answer may hold as many of them. */
#define WORKERS_MAX 64

/* Each running enclave holds some: as many fds as root may have. */
#define ROOT_FDS (1UL << 20)

/* Requests that are served before the loop looks for anything else. */
#define IN_A_ROW 16

/* How long a worker may take before the log says so. */
#define BUSY_MS 10000

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
	int failure;   /* a negative errno, if the mount broke */
	bool stopping; /* the enclaves are given time to stop */
};

/* Who ends one of these reads its name in systemd's debug output. */
static int name_source(int added, sd_event_source *source, const char *name)
{
	return added < 0 ? added : sd_event_source_set_description(source, name);
}

/* The loop shall end, and this is why: it is told once, and at once. errno_code: 0, or positive. */
static void end(struct daemon *daemon, int errno_code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void end(struct daemon *daemon, int errno_code, const char *format, ...)
{
	struct log_event event = { .event = "ending", .errno_code = errno_code };
	unsigned int enclaves = daemon->fs.launches;
	char why[512];
	va_list args;
	int used;

	if (daemon->quit)
		return;
	daemon->quit = true;
	va_start(args, format);
	used = vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	if (enclaves > 0 && used > 0 && (size_t)used < sizeof(why))
		snprintf(why + used, sizeof(why) - (size_t)used, "; %u %s with it", enclaves,
			enclaves == 1 ? "enclave ends" : "enclaves end");
	event.error = why;
	log_event(daemon->fs.tree.log, &event);
	sd_notifyf(0, "STOPPING=1\nSTATUS=Ending: %s", why);
}

/* The mount outlives its connection, if that was aborted (/sys/fs/fuse/connections). */
static bool still_mounted(const char *mountpoint)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry;
	bool found = false;

	while (mounts && !found && (entry = getmntent(mounts)))
		found = strcmp(entry->mnt_dir, mountpoint) == 0 &&
			strcmp(entry->mnt_type, "fuse.nefs") == 0;
	if (mounts)
		endmntent(mounts);
	return found;
}

/* The connection gives no more requests: 0 or a negative errno of reading it. */
static void end_of_requests(struct daemon *daemon, int got)
{
	const char *mountpoint = daemon->options.mountpoint;

	/* Unmounted: 0 or ENODEV, and ECONNABORTED if that came amid a read (fs/fuse/dev.c). */
	if (got != 0 && got != -ENODEV && got != -ECONNABORTED) {
		daemon->failure = got;
		end(daemon, -got, "the mount on %s broke: %s", mountpoint, strerror(-got));
	} else if (still_mounted(mountpoint)) {
		end(daemon, ECONNABORTED, "the connection of the mount on %s was aborted",
			mountpoint);
	} else {
		end(daemon, 0, "%s was unmounted", mountpoint);
	}
}

/* Does nobody wait until this is done? Whoever closed a file asks for more at once. */
static bool is_unawaited(const struct fuse_buf *request)
{
	const struct fuse_in_header *header = request->mem;

	return !(request->flags & FUSE_BUF_IS_FD) &&
	       (header->opcode == FUSE_RELEASE || header->opcode == FUSE_FORGET ||
		       header->opcode == FUSE_BATCH_FORGET);
}

static int on_request(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct daemon *daemon = userdata;
	struct fuse_session *session = daemon->fs.tree.session;
	bool unawaited;
	int got, count = 0;

	/*
	 * One at a time: a request usually comes alone, and asking in vain costs a system call. Behind
	 * one that nobody waits for the next is mostly there already.
	 */
	do {
		got = fuse_session_receive_buf(session, &daemon->request);
		unawaited = got > 0 && is_unawaited(&daemon->request);
		if (got > 0)
			fuse_session_process_buf(session, &daemon->request);
		daemon->fs.tree.caller = TREE_NO_CALLER;
	} while (unawaited && ++count < IN_A_ROW);
	if (got <= 0 && got != -EAGAIN && got != -EINTR)
		end_of_requests(daemon, got);
	return 0;
}

static const char *signal_name(uint32_t number)
{
	return number == SIGTERM ? "SIGTERM" : number == SIGINT ? "SIGINT" : "SIGHUP";
}

/* "SIGTERM from process 1 (systemd), user 0" */
static void describe_signal(const struct signalfd_siginfo *info, char *text, size_t size)
{
	char path[64], name[64] = "";
	FILE *comm;

	snprintf(path, sizeof(path), "/proc/%u/comm", info->ssi_pid);
	comm = info->ssi_pid ? fopen(path, "re") : NULL;
	if (comm) {
		/* It may have ended meanwhile. */
		if (!fgets(name, sizeof(name), comm))
			name[0] = '\0';
		fclose(comm);
		name[strcspn(name, "\n")] = '\0';
	}
	if (info->ssi_code == SI_KERNEL)
		snprintf(text, size, "%s from the terminal", signal_name(info->ssi_signo));
	else
		snprintf(text, size, "%s from process %u%s%s%s, user %u",
			signal_name(info->ssi_signo), info->ssi_pid, *name ? " (" : "", name,
			*name ? ")" : "", info->ssi_uid);
}

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
		end(daemon, 0, "%s", text);
	return 0;
}

static int watch(struct daemon *daemon)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };

	return nefs_watch_signals(
		daemon->fs.event, signals, sizeof(signals) / sizeof(signals[0]), on_signal, daemon);
}

/* "-ofsname=SOURCE"; a comma in it begins no other option. */
static int add_source(struct fuse_args *args, const char *source)
{
	NEFS_AUTO_FREE char *name = NULL, *escaped = NULL, *argument = NULL;

	if (asprintf(&name, "fsname=%s", source) < 0) {
		name = NULL;
		return -ENOMEM;
	}
	if (fuse_opt_add_opt_escaped(&escaped, name))
		return -ENOMEM;
	if (asprintf(&argument, "-o%s", escaped) < 0) {
		argument = NULL;
		return -ENOMEM;
	}
	return fuse_opt_add_arg(args, argument) ? -ENOMEM : 0;
}

/* Arguments for libfuse's mount, on top of what the user gave. */
static int add_mount_options(struct fuse_args *args, const struct options *options)
{
	if (fuse_opt_add_arg(args, "-odefault_permissions,subtype=nefs"))
		return -ENOMEM;
	if (geteuid() == 0 && fuse_opt_add_arg(args, "-oallow_other"))
		return -ENOMEM;
	if (add_source(args, options->source ? options->source : "nefs"))
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
	if (!failed && workers_watch(fs->workers, fs->tree.log, BUSY_MS) < 0)
		failed = nefs_error_set(err, ENOMEM, "out of memory for a timer");
	if (!failed)
		failed = backend_open(fs->event, fs->workers, &options->backend, &fs->backend, err);
	if (failed)
		return failed;
	failed = spool_open(&fs->spool, options->spool, fs->workers, err);
	if (!failed)
		failed = fs_init(fs, options->gid, err);
	if (failed)
		return failed;
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
	failed = name_source(failed, daemon->requests, "requests");
	if (failed < 0)
		return nefs_error_set(
			err, -failed, "cannot watch the mount: %s", strerror(-failed));
	return notifier_new(options->mountpoint, fs->tree.log, &fs->tree.notifier, err);
}

static int on_time_up(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct daemon *daemon = userdata;

	daemon->stopping = false;
	return 0;
}

/* Stops the enclaves, as far as their device lets us. False if some did not stop in time. */
static bool stop_enclaves(struct daemon *daemon)
{
	struct fs *fs = &daemon->fs;
	sd_event_source *limit = NULL;
	uint64_t now = 0;

	daemon->stopping = true;
	sd_event_now(fs->event, CLOCK_MONOTONIC, &now);
	name_source(sd_event_add_time(fs->event, &limit, CLOCK_MONOTONIC, now + END_USEC, 0,
			    on_time_up, daemon),
		limit, "end");
	enclave_stop_all(fs);
	while (daemon->stopping && (fs->launches || workers_pending(fs->workers)))
		if (sd_event_run(fs->event, END_USEC) < 0)
			break;
	sd_event_source_disable_unref(limit);
	return !fs->launches && !workers_pending(fs->workers);
}

/* Names those that did not stop: who reads the log must look after them. */
static void tell_left(struct daemon *daemon)
{
	const struct fs *fs = &daemon->fs;
	const struct directory *root = fs->tree.root;
	NEFS_AUTO_FREE char *text = NULL;
	struct node *node = root ? directory_next(root, 0) : NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return;
	fprintf(out,
		"%u enclaves did not stop within %llu s, the kernel stops them now:", fs->launches,
		END_USEC / 1000000);
	for (; node; node = directory_next(root, node->ino))
		if (enclave_is(node->directory) && enclave_of(node->directory)->launch)
			fprintf(out, " %s", node->name);
	if (fclose(out))
		return;
	log_event(fs->tree.log,
		&(struct log_event){ .event = "ended", .errno_code = ETIMEDOUT, .error = text });
}

static int on_notifier_ended(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	bool *ended = userdata;

	*ended = true;
	return 0;
}

static void free_notifier(struct fs *fs)
{
	notifier_free(fs->tree.notifier);
	fs->tree.notifier = NULL;
}

/* Serves until the notifier has nothing under way that could wait for an answer. */
static void close_notifier(struct daemon *daemon)
{
	struct fs *fs = &daemon->fs;
	sd_event_source *source = NULL;
	bool ended = false;

	if (!fs->tree.notifier)
		return;
	name_source(sd_event_add_io(fs->event, &source, notifier_close(fs->tree.notifier), EPOLLIN,
			    on_notifier_ended, &ended),
		source, "notifier");
	while (source && !ended && !daemon->failure)
		if (sd_event_run(fs->event, UINT64_MAX) < 0)
			break;
	sd_event_source_disable_unref(source);
	/* Else it may be waiting for an answer, which the umount gives it. */
	if (ended)
		free_notifier(fs);
}

/* Gives everything back, in reverse order; whatever has not been taken is skipped. */
static void tear_down(struct daemon *daemon)
{
	struct fs *fs = &daemon->fs;

	close_notifier(daemon);
	sd_event_source_disable_unref(daemon->requests);
	if (daemon->mounted) {
		tree_drop_requests(&fs->tree);
		fuse_session_exit(fs->tree.session);
		fuse_session_unmount(fs->tree.session);
	}
	free_notifier(fs);
	if (fs->backend && !stop_enclaves(daemon)) {
		tell_left(daemon);
		workers_abandon(fs->workers);
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

/* The daemon serves: its caller goes on. */
static void report_ready(struct daemon *daemon, int report)
{
	const struct options *options = &daemon->options;
	char text[1024];

	if (report >= 0)
		let_terminal_go();
	snprintf(text, sizeof(text), "%s, version " NEFS_VERSION ", backend=%s, spool=%s",
		options->mountpoint, options->backend.kind, options->spool);
	log_event(daemon->fs.tree.log, &(struct log_event){ .event = "mounted", .error = text });
	sd_notifyf(0, "READY=1\nSTATUS=Serves %s", options->mountpoint);
	if (report >= 0)
		release_caller(report);
}

static int complain(const struct nefs_error *err)
{
	fprintf(stderr, "nefs: %s\n", err->text);
	return EXIT_FAILURE;
}

/* It could not be mounted: told to who called, and to who reads the log; not twice to the same. */
static void tell_failure(const struct daemon *daemon, bool foreground, const struct nefs_error *err)
{
	struct log *log = daemon->fs.tree.log;

	if (!foreground || log_is_stderr(log))
		complain(err);
	if (!log_is_stderr(log))
		log_event(log,
			&(struct log_event){
				.event = "ending", .error = err->text, .errno_code = err->code });
}

/* Mounts, serves, and gives everything back. */
static int serve(struct daemon *daemon, struct fuse_args *args, int report)
{
	struct nefs_error err = { 0 };
	int failed = set_up(daemon, args, &err);

	if (failed) {
		tell_failure(daemon, report < 0, &err);
		tear_down(daemon);
		return failed;
	}
	report_ready(daemon, report);
	while (!daemon->quit) {
		failed = sd_event_run(daemon->fs.event, UINT64_MAX);
		if (failed < 0)
			end(daemon, -failed, "the event loop failed: %s", strerror(-failed));
	}
	tear_down(daemon);
	log_event(daemon->fs.tree.log, &(struct log_event){ .event = "ended" });
	return failed < 0 ? failed : daemon->failure;
}

static int run(struct daemon *daemon, struct fuse_args *args)
{
	struct options *options = &daemon->options;
	struct nefs_error err = { 0 };
	bool foreground;
	int report = -1;

	if (options_parse(args, options, &err))
		return complain(&err);
	if (options->help) {
		options_print_help("nefs");
		return EXIT_SUCCESS;
	}
	if (options->version) {
		printf("nefs %s (libfuse %s)\n", NEFS_VERSION, fuse_pkgversion());
		return EXIT_SUCCESS;
	}
	signal(SIGPIPE, SIG_IGN);
	foreground = options->foreground || options->debug;
	if (log_open(&(struct log_options){ .foreground = foreground,
			     .debug = options->debug,
			     .mount = options->mountpoint },
		    &daemon->fs.tree.log, &err))
		return complain(&err);
	nefs_raise_fd_limit(geteuid() == 0 ? ROOT_FDS : 0);
	if (!foreground) {
		report = become_daemon();
		if (report < 0) {
			nefs_error_set(&err, -report, "cannot go into the background: %s",
				strerror(-report));
			return complain(&err);
		}
	}
	return serve(daemon, args, report) ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	/* The journal's ring alone is larger than a comfortable stack frame. */
	struct daemon *daemon = calloc(1, sizeof(*daemon));
	int status = EXIT_FAILURE;

	if (daemon && hold_standard_fds()) {
		daemon->fs.spool.directory = -1;
		status = run(daemon, &args);
		log_close(daemon->fs.tree.log);
		options_release(&daemon->options);
	}
	free(daemon);
	fuse_opt_free_args(&args);
	return status;
}
