/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "follow.h"
#include <errno.h>
#include <string.h>

int follow_open(const struct follow_kind *kind, struct handle *handle)
{
	uint64_t oldest = text_log_oldest(kind->log(handle->node));

	handle->position = kind->begin ? kind->begin(handle->node) : oldest;
	if (handle->position < oldest)
		handle->position = oldest;
	return 0;
}

/* The part of this piece that ends with the last line that fits; all that fits if none does. */
static size_t whole_lines(const char *data, size_t got, size_t size)
{
	const char *end;

	if (got <= size)
		return got;
	end = memrchr(data, '\n', size);
	return end ? (size_t)(end - data) + 1 : size;
}

void follow_read(const struct follow_kind *kind, fuse_req_t req, struct handle *handle, size_t size,
	off_t offset)
{
	const struct text_log *log = kind->log(handle->node);
	const char *data = NULL;
	size_t got;

	if (handle->position < text_log_oldest(log)) {
		/* Told once, as /dev/kmsg does. */
		handle->position = text_log_oldest(log);
		fuse_reply_err(req, EPIPE);
		return;
	}
	got = text_log_peek(log, handle->position, &data);
	if (!got && !(kind->ended && kind->ended(handle->node))) {
		handle_park_read(req, handle, size, offset);
		return;
	}
	if (kind->lines)
		got = whole_lines(data, got, size);
	else if (got > size)
		got = size;
	handle->position += got;
	fuse_reply_buf(req, data, got);
}

bool follow_readable(const struct follow_kind *kind, struct handle *handle)
{
	const struct text_log *log = kind->log(handle->node);

	return handle->position < text_log_end(log) || (kind->ended && kind->ended(handle->node));
}
