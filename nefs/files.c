/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The requests about open files. */
#include "control.h"
#include "enclave.h"
#include "fs.h"
#include "operations.h"
#include "parked.h"
#include "streams.h"
#include "values.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

static struct handle *handle_of(const struct fuse_file_info *info)
{
	return (struct handle *)(uintptr_t)info->fh;
}

/* Is it a pipe in all but name? */
static bool is_stream(const struct node *node)
{
	return node->control && node->control->ops && node->control->ops->readable;
}

int file_open(struct node *node, struct fuse_file_info *info)
{
	struct nefs_error err = { 0 };
	struct handle *handle;

	if (fs_gone(node))
		return ENODEV;
	handle = handle_new(node, info->flags);
	if (!handle)
		return ENOMEM;
	if (node->kind == NODE_STAGED) {
		struct spool_file *file = staged_of(node)->file;

		if (info->flags & O_TRUNC && file->refs == 1)
			spool_truncate(file, 0, &err);
	} else if (node->control->ops && node->control->ops->open) {
		node->control->ops->open(handle, &err);
		if (err.code)
			control_outcome(node->directory, node->control->name, &err);
	}
	if (err.code) {
		handle_free(handle);
		return err.code;
	}
	info->fh = (uintptr_t)handle;
	info->direct_io = 1;
	info->nonseekable = is_stream(node);
	return 0;
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	int failed = file_open(node_from_id(fuse_req_userdata(req), ino), info);

	if (failed)
		fuse_reply_err(req, failed);
	else if (fuse_reply_open(req, info) == -ENOENT)
		handle_free(handle_of(info)); /* the caller was interrupted: no RELEASE will come */
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	(void)ino;
	handle_free(handle_of(info));
	fuse_reply_err(req, 0);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
	struct handle *handle = handle_of(info);
	struct node *node = handle->node;

	(void)ino;
	if (node->kind == NODE_STAGED) {
		struct fuse_bufvec data = FUSE_BUFVEC_INIT(size);

		data.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
		data.buf[0].fd = staged_of(node)->file->fd;
		data.buf[0].pos = offset;
		fuse_reply_data(req, &data, FUSE_BUF_SPLICE_MOVE);
		return;
	}
	if (fs_gone(node)) {
		fuse_reply_err(req, ENODEV);
		return;
	}
	/* O_NONBLOCK may have been changed by fcntl(2) since the open. */
	handle->flags = info->flags;
	if (node->control->ops && node->control->ops->read)
		node->control->ops->read(req, handle, size, offset);
	else
		control_read_text(req, handle, size, offset);
}

static void answer_write(struct parked *parked, int result)
{
	if (result)
		fuse_reply_err(parked->req, -result);
	else
		fuse_reply_write(parked->req, parked->size);
}

void file_park_write(fuse_req_t req, struct node *node, const char *text, size_t size)
{
	struct enclave *enclave = enclave_of(node->directory);
	struct parked *parked;

	(void)text;
	parked = enclave_park(enclave, req,
		enclave->state == STATE_STOPPING && !enclave->start_queued ? PARKED_STOP
									   : PARKED_START);
	if (!parked)
		return;
	parked->size = size;
	parked->answer = answer_write;
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
	struct fuse_file_info *info)
{
	struct handle *handle = handle_of(info);
	struct node *node = handle->node;
	struct nefs_error err = { 0 };
	ssize_t result;

	(void)ino;
	if (node->kind == NODE_STAGED) {
		struct spool_file *file = staged_of(node)->file;

		/* Once it was renamed over `image` it is not this writer's any more. */
		if (info->flags & O_APPEND)
			offset = (off_t)file->size;
		result = file->refs > 1 ? -EBUSY : spool_write(file, data, size, offset, NULL);
	} else if (fs_gone(node)) {
		result = -ENODEV;
	} else if (size == 0) {
		result = 0;
	} else if (node->control->ops && node->control->ops->write) {
		result = node->control->ops->write(handle, data, size, offset, &err);
		control_outcome(node->directory, node->control->name, &err);
	} else {
		result = control_store(node, data, size);
		if (result == STORE_PARKED && !(info->flags & O_NONBLOCK)) {
			file_park_write(req, node, data, size);
			return;
		}
		if (result >= 0)
			result = (ssize_t)size;
	}
	if (result < 0) {
		fuse_reply_err(req, (int)-result);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &node->mtime);
	node->ctime = node->mtime;
	fuse_reply_write(req, (size_t)result);
}

void op_poll(
	fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info, struct fuse_pollhandle *poll)
{
	struct handle *handle = handle_of(info);

	(void)ino;
	/* Only the newest poll handle of an open is of use. */
	if (poll) {
		if (handle->poll)
			fuse_pollhandle_destroy(handle->poll);
		handle->poll = poll;
	}
	fuse_reply_poll(req, control_poll(handle));
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *info)
{
	(void)ino;
	(void)datasync;
	(void)info;
	/* Staged files live as long as the daemon: there is nothing that a sync could save. */
	fuse_reply_err(req, 0);
}
