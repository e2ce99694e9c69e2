/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mount: how it is made, its requests, and how it goes. */
#include "claim.h"
#include "daemon.h"
#include "fuse_messages.h"
#include "mount_point.h"
#include "mount_table.h"
#include "notifier.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <nefs/cleanup.h>
#include <nefs/log.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Requests that are served before the loop looks for anything else. */
#define IN_A_ROW 16

/* For a request that must be served: its object, and what a close allocates. */
#define RESERVE (64U << 10)

#define TRIES_MAX 1000

/* umount -f aborts the connection a moment before the mount is gone. */
#define UMOUNT_MS 1000

/* The connection gives no more requests: 0 or a negative errno of reading it. */
static void end_of_requests(struct daemon *daemon, int got)
{
	const char *mountpoint = daemon->options.mountpoint;

	/* It is said already, and the loop is run on. */
	if (daemon->quit)
		return;
	/* Unmounted: 0 or ENODEV, and ECONNABORTED if that came amid a read (fs/fuse/dev.c). */
	if (got != 0 && got != -ENODEV && got != -ECONNABORTED) {
		daemon->broken = true;
		daemon->status = EXIT_MOUNT;
		daemon_end(daemon, -got, "the mount on %s broke: %s", mountpoint, strerror(-got));
	} else if (!daemon->gone && !mount_point_left(mountpoint, daemon->device, UMOUNT_MS)) {
		/* /sys/fs/fuse/connections, or umount -f of a mount that is in use. */
		daemon->status = EXIT_MOUNT;
		daemon_end(daemon, ECONNABORTED, "the connection of the mount on %s was aborted",
			mountpoint);
	} else {
		daemon->gone = true;
		daemon_end(daemon, 0, "%s was unmounted", mountpoint);
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

/* What is in a request stands, whatever is answered: nobody asks for it again. */
static bool must_be_served(const struct fuse_buf *request)
{
	const struct fuse_in_header *header = request->mem;

	if (request->flags & FUSE_BUF_IS_FD)
		return false;
	switch (header->opcode) {
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return true;
	default:
		return false;
	}
}

/*
 * Without memory libfuse answers ENOMEM, which is right for whoever waits for an answer. But a file that was closed
 * would stay open, and who was interrupted would sleep on: that is tried again, with memory kept for it.
 */
static void process(struct daemon *daemon)
{
	struct fuse_session *session = daemon->fs.tree.session;
	struct fuse_buf *request = &daemon->buffers.current;
	unsigned int refused = fuse_messages_refused(), before;
	/* A write's buffer may be another's afterwards. */
	bool must = must_be_served(request);
	int tries = 0;

	fuse_session_process_buf(session, request);
	if (fuse_messages_refused() == refused)
		return;
	nefs_shortage_met(&daemon->shortage, "a request");
	if (!must)
		return;
	free(nefs_take_ptr(daemon->reserve));
	do {
		before = fuse_messages_refused();
		fuse_session_process_buf(session, request);
	} while (fuse_messages_refused() != before && ++tries < TRIES_MAX);
	daemon->reserve = malloc(RESERVE);
}

/* libfuse wants no more of it: FUSE_INIT, the first request, failed. It has said why. */
static void end_of_session(struct daemon *daemon)
{
	daemon->status = EXIT_MOUNT;
	daemon_end(daemon, EPROTO,
		"libfuse and the kernel do not agree on the mount on %s (FUSE_INIT); see what libfuse "
		"says, and leave out the mount options that it names",
		daemon->options.mountpoint);
}

static int on_request(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct daemon *daemon = userdata;
	struct fuse_session *session = daemon->fs.tree.session;
	struct fuse_buf *request = &daemon->buffers.current;
	bool unawaited;
	int got, count = 0;

	/*
	 * One at a time: a request usually comes alone, and asking in vain costs a system call. Behind
	 * one that nobody waits for the next is mostly there already.
	 */
	do {
		request_buffers_prepare(&daemon->buffers);
		got = fuse_session_receive_buf(session, request);
		unawaited = got > 0 && is_unawaited(request);
		if (got > 0)
			process(daemon);
		daemon->fs.tree.caller = TREE_NO_CALLER;
	} while (unawaited && ++count < IN_A_ROW);
	/* There was none for libfuse's buffer, or for the kernel's: it is asked again. */
	if (got == -ENOMEM)
		nefs_shortage_rest(&daemon->shortage, "a request");
	else if (got <= 0 && got != -EAGAIN && got != -EINTR)
		end_of_requests(daemon, got);
	else if (fuse_session_exited(session))
		end_of_session(daemon);
	else if (got > 0)
		daemon->answers = true;
	return 0;
}

/* Some mount has come or gone. Where ours has gone, another daemon may have the spool directory. */
static int on_mounts(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct daemon *daemon = userdata;

	if (mount_table_lists(fd, daemon->device))
		return 0;
	/* In this order: whoever waits for the directory may get the mount's number, too. */
	daemon->gone = true;
	daemon_let_go(daemon, NULL);
	return 0;
}

/* Hears of it when the mount is gone, though it may be in use, or in another namespace, for long. */
static int watch_mounts(struct daemon *daemon)
{
	int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC), failed;

	/* Without /proc it is heard of at the end. */
	if (fd < 0)
		return 0;
	failed =
		sd_event_add_io(daemon->fs.event, &daemon->mounts, fd, EPOLLPRI, on_mounts, daemon);
	if (failed < 0)
		close(fd);
	else
		sd_event_source_set_io_fd_own(daemon->mounts, 1);
	return daemon_name_source(failed, daemon->mounts, "mounts");
}

int daemon_make_session(struct daemon *daemon, struct fuse_args *args, struct nefs_error *err)
{
	struct tree *tree = &daemon->fs.tree;

	daemon->status = EXIT_SYSTEM;
	if (options_add_mount(&daemon->options, args))
		return nefs_error_set(err, ENOMEM, "out of memory");
	tree->session = fuse_session_new(args, &tree_operations, sizeof(tree_operations), tree);
	if (tree->session)
		return 0;
	daemon->status = EXIT_USAGE;
	return nefs_error_set(err, EINVAL,
		"libfuse refuses these options, see above; nefs -h lists those of nefs");
}

/* Whoever mounts should know, and not only who reads the log. */
static void tell_hidden(const struct daemon *daemon)
{
	const char *point = daemon->options.mountpoint;
	struct log *log = daemon->fs.tree.log;

	log_line(log, LOG_WARNING, "nefs: what is in %s is hidden until nefs is unmounted", point);
	if (daemon->caller && !log_is_stderr(log))
		fprintf(stderr, "nefs: what is in %s is hidden until nefs is unmounted\n", point);
}

int daemon_mount(struct daemon *daemon, struct nefs_error *err)
{
	const char *point = daemon->options.mountpoint;
	struct tree *tree = &daemon->fs.tree;
	int failed, fd;

	daemon->reserve = malloc(RESERVE);
	if (!daemon->reserve)
		return nefs_error_set(err, ENOMEM, "out of memory");
	daemon->status = EXIT_MOUNT;
	failed = mount_point_clear(point, err);
	if (failed)
		return failed;
	if (!mount_point_is_empty(point))
		tell_hidden(daemon);
	if (fuse_session_mount(tree->session, point))
		return mount_point_explain(point, err);
	daemon->mounted = true;
	failed = mount_device(point, &daemon->device);
	if (failed)
		return nefs_error_set(
			err, -failed, "cannot mount on %s: %s", point, strerror(-failed));
	daemon->mark = claim_mount(daemon->device);
	failed = mount_point_alone(point, daemon->device, err);
	if (failed)
		return failed;
	fd = fuse_session_fd(tree->session);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	daemon->fs.spool.requests = fd;
	failed = sd_event_add_io(
		daemon->fs.event, &daemon->requests, fd, EPOLLIN, on_request, daemon);
	failed = daemon_name_source(failed, daemon->requests, "requests");
	if (failed >= 0)
		failed = watch_mounts(daemon);
	if (failed < 0)
		return nefs_error_set(
			err, -failed, "cannot watch the mount: %s", strerror(-failed));
	return notifier_new(point, tree->log, &tree->notifier, err);
}

/* Has the connection ended? Then a mount with its number may be another one by now. */
static bool is_cut(const struct fuse_session *session)
{
	struct pollfd fuse = { .fd = fuse_session_fd((struct fuse_session *)session) };

	return poll(&fuse, 1, 0) == 1 && fuse.revents & POLLERR;
}

/* Gives the connection up: what libfuse finds in its place has ended, so that it unmounts nothing. */
static bool cut(struct fuse_session *session)
{
	int ends[2], result;

	if (pipe2(ends, O_CLOEXEC))
		return false;
	close(ends[0]);
	result = dup3(ends[1], fuse_session_fd(session), O_CLOEXEC);
	close(ends[1]);
	return result >= 0;
}

void daemon_unmount(struct daemon *daemon)
{
	const char *point = daemon->options.mountpoint;
	struct tree *tree = &daemon->fs.tree;

	if (!daemon->mounted)
		return;
	tree_drop_requests(tree);
	fuse_session_exit(tree->session);
	/*
	 * libfuse would take down whatever is there by now, and run programs to do so; not if the connection has
	 * ended, when it leaves the mount.
	 */
	if (is_cut(tree->session) || cut(tree->session))
		fuse_session_unmount(tree->session);
	if (!daemon->gone)
		mount_point_drop(point, daemon->device, &daemon->unmounter);
}
