/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fake_fuse.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

static int answer(fuse_req_t req, enum fake_reply reply)
{
	req->answers++;
	req->reply = reply;
	return req->gone ? -ENOENT : 0;
}

void fake_interrupt(struct fuse_req *req)
{
	req->interrupted = true;
	if (req->on_interrupt)
		req->on_interrupt(req, req->interrupt_data);
}

void *fuse_req_userdata(fuse_req_t req)
{
	return req->tree;
}

const struct fuse_ctx *fuse_req_ctx(fuse_req_t req)
{
	return &req->context;
}

int fuse_req_interrupted(fuse_req_t req)
{
	return req->interrupted;
}

void fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t function, void *data)
{
	req->on_interrupt = function;
	req->interrupt_data = data;
}

int fuse_reply_err(fuse_req_t req, int error)
{
	req->error = error;
	return answer(req, REPLY_ERROR);
}

void fuse_reply_none(fuse_req_t req)
{
	answer(req, REPLY_NONE);
}

int fuse_reply_buf(fuse_req_t req, const char *data, size_t size)
{
	req->size = size;
	if (size)
		memcpy(req->data, data, size < sizeof(req->data) ? size : sizeof(req->data));
	return answer(req, REPLY_BUFFER);
}

int fuse_reply_data(fuse_req_t req, struct fuse_bufvec *data, enum fuse_buf_copy_flags flags)
{
	size_t size = data->buf[0].size < sizeof(req->data) ? data->buf[0].size : sizeof(req->data);
	ssize_t got = pread(data->buf[0].fd, req->data, size, data->buf[0].pos);

	if (got < 0)
		return fuse_reply_err(req, errno);
	req->size = (size_t)got;
	return answer(req, REPLY_BUFFER);
}

int fuse_reply_write(fuse_req_t req, size_t count)
{
	req->size = count;
	return answer(req, REPLY_WRITE);
}

int fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *entry)
{
	req->entry = *entry;
	return answer(req, REPLY_ENTRY);
}

int fuse_reply_create(
	fuse_req_t req, const struct fuse_entry_param *entry, const struct fuse_file_info *info)
{
	req->entry = *entry;
	req->info = *info;
	return answer(req, REPLY_CREATE);
}

int fuse_reply_open(fuse_req_t req, const struct fuse_file_info *info)
{
	req->info = *info;
	return answer(req, REPLY_OPEN);
}

int fuse_reply_attr(fuse_req_t req, const struct stat *attributes, double timeout)
{
	req->attributes = *attributes;
	req->timeout = timeout;
	return answer(req, REPLY_ATTRIBUTES);
}

int fuse_reply_poll(fuse_req_t req, unsigned int events)
{
	req->events = events;
	return answer(req, REPLY_POLL);
}

int fuse_reply_statfs(fuse_req_t req, const struct statvfs *statfs)
{
	req->statfs = *statfs;
	return answer(req, REPLY_STATFS);
}

int fuse_lowlevel_notify_poll(struct fuse_pollhandle *poll)
{
	poll->notified++;
	return 0;
}

void fuse_pollhandle_destroy(struct fuse_pollhandle *poll)
{
	poll->destroyed++;
}

int fuse_lowlevel_notify_inval_inode(
	struct fuse_session *session, fuse_ino_t ino, off_t offset, off_t length)
{
	session->invalidated++;
	session->last = ino;
	return 0;
}
