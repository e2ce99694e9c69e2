/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a daemon ends: why, what runs, and everything else in reverse order. */
#include "daemon.h"
#include "directory.h"
#include "life.h"
#include "notifier.h"
#include "spool.h"
#include <errno.h>
#include <nefs/cleanup.h>
#include <nefs/clock.h>
#include <nefs/log.h>
#include <nefs/text_stream.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/* How long the end waits for enclaves to stop before it leaves the rest to the kernel. */
#define END_USEC 10000000ULL

/* The same for what is being written to a disk that does not answer, which nobody can read any more. */
#define SPOOL_END_USEC 3000000ULL

int daemon_name_source(int added, sd_event_source *source, const char *name)
{
	return added < 0 ? added : sd_event_source_set_description(source, name);
}

void daemon_end(struct daemon *daemon, int errno_code, const char *format, ...)
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
	/* Whoever waits for the mount would not look into the log. */
	if (daemon->caller && !log_is_stderr(daemon->fs.tree.log))
		fprintf(stderr, "nefs: %s\n", why);
	log_event(daemon->fs.tree.log, &event);
	sd_notifyf(0, "STOPPING=1\nSTATUS=Ending: %s", why);
}

void daemon_let_go(struct daemon *daemon, const char *spool)
{
	if (daemon->mark >= 0)
		close(daemon->mark);
	daemon->mark = -1;
	spool_give_up(&daemon->fs.spool, spool);
}

static int on_time_up(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct daemon *daemon = userdata;

	daemon->stopping = false;
	return 0;
}

/* Runs the loop until there are no enclaves left, and (all) no work either. False if that takes longer than usec. */
static bool run_until_idle(struct daemon *daemon, bool all, uint64_t usec)
{
	struct fs *fs = &daemon->fs;
	sd_event_source *limit = NULL;

	daemon->stopping = true;
	daemon_name_source(sd_event_add_time(fs->event, &limit, CLOCK_MONOTONIC,
				   nefs_now_usec() + usec, 0, on_time_up, daemon),
		limit, "end");
	while (daemon->stopping && (fs->launches || (all && workers_pending(fs->workers))))
		if (nefs_event_run(fs->event, usec, &daemon->shortage) < 0)
			break;
	sd_event_source_disable_unref(limit);
	return !fs->launches && !(all && workers_pending(fs->workers));
}

/* Stops the enclaves, as far as their device lets us. False if some did not stop in time. */
static bool stop_enclaves(struct daemon *daemon)
{
	enclave_stop_all(&daemon->fs);
	/* What is read for nobody any more must not hold up the end. */
	workers_wind_up(daemon->fs.workers);
	return run_until_idle(daemon, false, END_USEC);
}

/* Names those that did not stop: who reads the log must look after them. */
static void tell_left(struct daemon *daemon)
{
	const struct fs *fs = &daemon->fs;
	const struct directory *root = fs->tree.root;
	struct node *node = root ? directory_next(root, 0) : NULL;
	struct text_stream list;

	if (text_stream_open(&list)) {
		log_line(fs->tree.log, LOG_ERR,
			"nefs: %u enclaves did not stop in time, the kernel stops them now",
			fs->launches);
		return;
	}
	fprintf(list.out,
		"%u enclaves did not stop within %llu s, the kernel stops them now:", fs->launches,
		END_USEC / 1000000);
	for (; node; node = directory_next(root, node->ino))
		if (enclave_is(node->directory) && enclave_of(node->directory)->launch)
			fprintf(list.out, " %s", node->name);
	text_stream_end(&list);
	log_event(fs->tree.log,
		&(struct log_event){
			.event = "ended", .errno_code = ETIMEDOUT, .error = list.text });
	text_stream_close(&list);
}

/* Ends at once, whatever threads are amid. */
static _Noreturn void leave(struct daemon *daemon)
{
	workers_abandon(daemon->fs.workers);
	_exit(EXIT_SYSTEM);
}

/* Work on the spool does not end, as its disk does not answer: the kernel gives back what is in there. */
static _Noreturn void leave_spool(struct daemon *daemon)
{
	struct nefs_error err;

	nefs_error_set(&err, ETIMEDOUT,
		"the spool directory %s does not answer: %u reads, writes or removals of files in it were not done "
		"within %llu s, and are left to the kernel; see to its disk",
		daemon->options.spool, workers_pending(daemon->fs.workers),
		SPOOL_END_USEC / 1000000);
	log_event(daemon->fs.tree.log,
		&(struct log_event){ .event = "ended", .errno_code = err.code, .error = err.text });
	leave(daemon);
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
	daemon_name_source(sd_event_add_io(fs->event, &source, notifier_close(fs->tree.notifier),
				   EPOLLIN, on_notifier_ended, &ended),
		source, "notifier");
	while (source && !ended && !daemon->broken)
		if (nefs_event_run(fs->event, UINT64_MAX, &daemon->shortage) < 0)
			break;
	sd_event_source_disable_unref(source);
	/* Else it may be waiting for an answer, which the umount gives it. */
	if (ended)
		free_notifier(fs);
}

void daemon_tear_down(struct daemon *daemon)
{
	struct fs *fs = &daemon->fs;

	close_notifier(daemon);
	sd_event_source_disable_unref(daemon->requests);
	sd_event_source_disable_unref(daemon->mounts);
	daemon_unmount(daemon);
	unmounter_end(&daemon->unmounter);
	free_notifier(fs);
	/* Another daemon can be started while enclaves are stopped here. */
	daemon_let_go(daemon, daemon->options.default_spool ? daemon->options.spool : NULL);
	if (fs->backend && !stop_enclaves(daemon)) {
		tell_left(daemon);
		leave(daemon);
	}
	if (fs->backend && !run_until_idle(daemon, true, SPOOL_END_USEC))
		leave_spool(daemon);
	if (fs->tree.session) {
		fuse_session_destroy(fs->tree.session);
		fs->tree.session = NULL;
	}
	fs_release(fs);
	/* Which gave the images back. */
	if (fs->backend && !run_until_idle(daemon, true, SPOOL_END_USEC))
		leave_spool(daemon);
	backend_close(fs->backend);
	workers_free(fs->workers);
	spool_close(&fs->spool);
	request_buffers_release(&daemon->buffers);
	free(daemon->reserve);
	sd_event_unref(fs->event);
}
