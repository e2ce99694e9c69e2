/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The requests about open files: what a file is decides its node's ops. */
#include "control.h"
#include "operations.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>

static struct handle *handle_of(const struct fuse_file_info *info)
{
	return (struct handle *)(uintptr_t)info->fh;
}

/* The handle of a request; O_NONBLOCK (of reads) and O_APPEND may have been changed since the open. */
static struct handle *handle_now(const struct fuse_file_info *info)
{
	struct handle *handle = handle_of(info);

	handle->flags = info->flags;
	return handle;
}

/* Is it a pipe in all but name? */
static bool is_stream(const struct node *node)
{
	return node->control && node->control->ops && node->control->ops->readable;
}

/*
 * A caller has too many open files. Whose directory it is, and who may write there, finds that in `error`; anybody
 * else may open what is readable as often as they like, and gets one line in the log.
 */
static void tell_too_many(
	struct node *node, int flags, struct quota_user *user, struct nefs_error *err)
{
	const struct tree *tree = node->directory->tree;
	bool writes = (flags & O_ACCMODE) != O_RDONLY;

	if (node->name && (writes || tree->caller == node->directory->node.uid))
		control_outcome(node->directory, node->name, err);
	else if (quota_is_news(user, QUOTA_FILES))
		node_log_refusal(node, tree->caller, err);
}

/* An open file of the caller's. 0 or a negative errno. */
static int new_handle(struct node *node, int flags, struct handle **handle)
{
	struct tree *tree = node->directory->tree;
	struct quota_user *user;
	struct nefs_error err = { 0 };
	int failed = quota_user_get(&tree->quota, tree->caller, &user, &err);

	if (failed)
		return failed;
	failed = quota_charge(user, QUOTA_FILES, 1, &err);
	if (failed) {
		tell_too_many(node, flags, user, &err);
		quota_user_put(user);
		return failed;
	}
	*handle = handle_new(node, flags);
	if (*handle)
		(*handle)->user = user;
	else
		quota_give(user, QUOTA_FILES);
	return *handle ? 0 : -ENOMEM;
}

int file_open(struct node *node, struct fuse_file_info *info)
{
	bool locked = node_page_locked(node);
	struct handle *handle;
	int failed;

	if (node_gone(node))
		return ENODEV;
	failed = new_handle(node, info->flags, &handle);
	if (failed)
		return -failed;
	failed = node->ops->open(handle);
	if (failed) {
		handle_free(handle);
		return -failed;
	}
	info->fh = (uintptr_t)handle;
	/*
	 * An open drops the pages that the kernel has of the file, and so does mmap(2) of a direct_io one:
	 * behind a page that a read waits for, both would sleep where even SIGKILL cannot reach.
	 */
	info->keep_cache = locked;
	info->direct_io = !locked || info->flags & O_NONBLOCK;
	info->nonseekable = is_stream(node);
	return 0;
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	struct node *node = node_from_id(op_begin(req), ino);
	int failed = node ? file_open(node, info) : ESTALE;

	if (failed)
		fuse_reply_err(req, failed);
	else if (fuse_reply_open(req, info) == -ENOENT)
		handle_free(handle_of(info)); /* the caller was interrupted: no RELEASE will come */
}

/* A directory that is open stays what it is, without its name, too, and counts as a file does. */
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	struct node *node = node_from_id(op_begin(req), ino);
	struct handle *handle;
	int failed = node && !node_gone(node) ? new_handle(node, info->flags, &handle) : -ENOENT;

	if (failed) {
		fuse_reply_err(req, -failed);
		return;
	}
	info->fh = (uintptr_t)handle;
	if (fuse_reply_open(req, info) == -ENOENT)
		handle_free(handle);
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	handle_free(handle_of(info));
	fuse_reply_err(req, 0);
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	struct handle *handle = handle_of(info);

	/* RELEASE comes from the kernel: what it finds wanting is the opener's. */
	op_tree(req)->caller = handle->opener;
	if (handle->node->ops->close && !handle->gone)
		handle->node->ops->close(handle);
	handle_free(handle);
	fuse_reply_err(req, 0);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
	struct handle *handle = handle_now(info);

	/*
	 * Only a direct read says whose it is (FUSE_READ_LOCKOWNER): page faults, sendfile(2) and splice(2)
	 * fill the page cache.
	 */
	handle->paging = info->lock_owner == 0;
	if (handle->paging)
		handle->node->paged = true;
	/* A stream has no places that a page could be of. */
	if (handle->gone)
		fuse_reply_err(req, ENODEV);
	else if (handle->paging && is_stream(handle->node))
		fuse_reply_err(req, EINVAL);
	else
		handle->node->ops->read(req, handle, size, offset);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
	struct fuse_file_info *info)
{
	struct handle *handle = handle_now(info);

	/*
	 * The kernel writes pages by itself. And who has a program of root's say something to a file of
	 * his own (`su 2>memory`) has said it himself.
	 */
	handle->paging = info->writepage;
	if (op_begin(req)->caller == 0 || handle->paging)
		op_tree(req)->caller = handle->opener;
	if (handle->gone)
		fuse_reply_err(req, ENODEV);
	else
		handle->node->ops->write(req, handle, data, size, offset);
}

void op_poll(
	fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info, struct fuse_pollhandle *poll)
{
	struct handle *handle = handle_of(info);

	/* Only the newest poll handle of an open is of use. */
	if (poll) {
		if (handle->poll)
			fuse_pollhandle_destroy(handle->poll);
		handle->poll = poll;
	}
	fuse_reply_poll(req, handle->gone ? POLLIN | POLLOUT | POLLERR | POLLHUP
					  : handle->node->ops->poll(handle));
}

struct allocation {
	struct node_end end; /* first */
	fuse_req_t req;
};

static void allocated(struct node_end *end, int result)
{
	struct allocation *allocation = (struct allocation *)end;

	fuse_reply_err(allocation->req, -result);
	free(allocation);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
	struct fuse_file_info *info)
{
	struct handle *handle = handle_of(info);
	const struct node_ops *ops = handle->node->ops;
	struct allocation *allocation = NULL;
	int result = -EOPNOTSUPP;

	op_begin(req);
	/* The kernel has seen to it that both are positive, and their sum, too. */
	if (handle->gone) {
		result = -ENODEV;
	} else if (ops->allocate) {
		allocation = malloc(sizeof(*allocation));
		result = -ENOMEM;
	}
	if (!allocation) {
		fuse_reply_err(req, -result);
		return;
	}
	*allocation = (struct allocation){ .end.done = allocated, .req = req };
	result = ops->allocate(
		handle->node, mode, (uint64_t)offset, (uint64_t)length, &allocation->end);
	if (result != NODE_LATER)
		allocated(&allocation->end, result);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *info)
{
	/* Staged files live as long as the daemon: there is nothing that a sync could save. */
	fuse_reply_err(req, 0);
}
