/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The yardstick: a libfuse filesystem that answers what the bench asks and does nothing else, with
 * nefs's cache times and flags. bare_fs [--changes] MOUNTPOINT, in the foreground.
 *
 * --changes: each byte that comes in on its standard input is a change of `state`, which wakes who polls
 * it, as kernfs does: the shortest way there is from an fd of the daemon's to a poller.
 */
#include <errno.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CACHE_SECONDS 3600.0

enum { INO_WEB = 2, INO_STATE, INO_MEMORY, INO_NEW };

static const char content[] = "running\n";

/* Who waits for a change, of which there may be one at a time. */
struct bare {
	pthread_mutex_t mutex;
	/* everything below */
	struct fuse_pollhandle *poller;
	bool changed;
};

static void fill(fuse_ino_t ino, struct stat *attributes)
{
	memset(attributes, 0, sizeof(*attributes));
	attributes->st_ino = ino;
	attributes->st_mode = ino <= INO_WEB || ino >= INO_NEW ? S_IFDIR | 0755 : S_IFREG | 0644;
	attributes->st_nlink = 1;
	attributes->st_size = sizeof(content) - 1;
}

static void reply_entry(fuse_req_t req, fuse_ino_t ino)
{
	struct fuse_entry_param entry = {
		.ino = ino, .attr_timeout = CACHE_SECONDS, .entry_timeout = CACHE_SECONDS
	};

	fill(ino, &entry.attr);
	fuse_reply_entry(req, &entry);
}

static void bare_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (parent == FUSE_ROOT_ID && strcmp(name, "web") == 0)
		reply_entry(req, INO_WEB);
	else if (parent == INO_WEB && strcmp(name, "state") == 0)
		reply_entry(req, INO_STATE);
	else if (parent == INO_WEB && strcmp(name, "memory") == 0)
		reply_entry(req, INO_MEMORY);
	else
		fuse_reply_err(req, ENOENT);
}

static void bare_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	struct stat attributes;

	(void)info;
	fill(ino, &attributes);
	fuse_reply_attr(req, &attributes, CACHE_SECONDS);
}

static void bare_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	(void)ino;
	info->direct_io = 1;
	fuse_reply_open(req, info);
}

static void bare_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
	(void)ino;
	(void)size;
	(void)info;
	fuse_reply_buf(req, content, offset ? 0 : sizeof(content) - 1);
}

static void bare_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
	struct fuse_file_info *info)
{
	(void)ino;
	(void)data;
	(void)offset;
	(void)info;
	fuse_reply_write(req, size);
}

static void bare_poll(
	fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info, struct fuse_pollhandle *handle)
{
	(void)ino;
	(void)info;
	if (handle)
		fuse_pollhandle_destroy(handle);
	fuse_reply_poll(req, POLLIN | POLLOUT);
}

/* ---- Changes ---- */

/* A read takes note of the change. */
static void changes_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
	struct bare *bare = fuse_req_userdata(req);

	pthread_mutex_lock(&bare->mutex);
	bare->changed = false;
	pthread_mutex_unlock(&bare->mutex);
	bare_read(req, ino, size, offset, info);
}

static void changes_poll(
	fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info, struct fuse_pollhandle *handle)
{
	struct bare *bare = fuse_req_userdata(req);
	bool changed;

	(void)ino;
	(void)info;
	pthread_mutex_lock(&bare->mutex);
	changed = bare->changed;
	if (handle) {
		if (bare->poller)
			fuse_pollhandle_destroy(bare->poller);
		bare->poller = handle;
	}
	pthread_mutex_unlock(&bare->mutex);
	fuse_reply_poll(req, POLLIN | POLLOUT | (changed ? POLLERR | POLLPRI : 0));
}

static void *change_at_each_byte(void *data)
{
	struct bare *bare = data;
	char byte;

	while (read(STDIN_FILENO, &byte, 1) == 1) {
		pthread_mutex_lock(&bare->mutex);
		bare->changed = true;
		if (bare->poller)
			fuse_lowlevel_notify_poll(bare->poller);
		pthread_mutex_unlock(&bare->mutex);
	}
	return NULL;
}

/* Its signals are the main thread's. */
static int start_changes(struct bare *bare)
{
	pthread_t thread;
	sigset_t all, old;
	int failed;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	failed = pthread_create(&thread, NULL, change_at_each_byte, bare);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!failed)
		pthread_detach(thread);
	return failed;
}

static void bare_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	(void)parent;
	(void)name;
	(void)mode;
	reply_entry(req, INO_NEW);
}

static void bare_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent;
	(void)name;
	fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops bare_operations = {
	.lookup = bare_lookup,
	.getattr = bare_getattr,
	.open = bare_open,
	.read = bare_read,
	.write = bare_write,
	.poll = bare_poll,
	.mkdir = bare_mkdir,
	.rmdir = bare_rmdir,
};

int main(int argc, char **argv)
{
	struct fuse_lowlevel_ops operations = bare_operations;
	struct bare bare = { .mutex = PTHREAD_MUTEX_INITIALIZER };
	bool changes = argc == 3 && strcmp(argv[1], "--changes") == 0;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *session;

	if (argc != 2 + changes || fuse_opt_add_arg(&args, "bare_fs") ||
		fuse_opt_add_arg(&args, "-odefault_permissions"))
		return 2;
	if (changes) {
		operations.read = changes_read;
		operations.poll = changes_poll;
	}
	session = fuse_session_new(&args, &operations, sizeof(operations), &bare);
	if (!session || fuse_set_signal_handlers(session) ||
		fuse_session_mount(session, argv[argc - 1]) || (changes && start_changes(&bare)))
		return 1;
	fuse_session_loop(session);
	fuse_session_unmount(session);
	fuse_remove_signal_handlers(session);
	fuse_session_destroy(session);
	fuse_opt_free_args(&args);
	return 0;
}
