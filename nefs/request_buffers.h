/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The buffers that requests are received in. What is written by one is gone when the next is received; who
 * needs it for longer keeps it, as a rule without copying: the next request is received in another buffer.
 * Loop thread; what is kept may be read in any.
 */
#ifndef NEFS_REQUEST_BUFFERS_H
#define NEFS_REQUEST_BUFFERS_H

#include <fuse_lowlevel.h>
#include <sys/queue.h>
#include <sys/types.h>

/* What is kept of a write. */
struct kept_data {
	LIST_ENTRY(kept_data) siblings;
	const char *data;
	size_t size;
	uid_t owner;
	struct fuse_buf buffer; /* mem NULL: a copy follows */
	char copy[];
};

LIST_HEAD(kept_list, kept_data);

/* Zeroed: none. */
struct request_buffers {
	struct fuse_buf
		current; /* libfuse's, for fuse_session_receive_buf; mem is NULL while it has none */
	struct kept_list kept, spare;
	unsigned int spares;
	size_t bytes; /* kept */
};

/* Before a request is received: libfuse need not allocate another, if one was given back. */
void request_buffers_prepare(struct request_buffers *buffers);

/*
 * Keeps data, all or a part of what was written by the request that is served, or data from elsewhere, which is
 * copied. owner: whose write it is. Where much is kept already (all writers' disk stalls), or much by this owner,
 * it is no more than a few KiB of it: kept->size is the length. NULL: out of memory.
 */
struct kept_data *request_buffers_keep(
	struct request_buffers *buffers, uid_t owner, const char *data, size_t size);

/* It is not needed any more. NULL is allowed. */
void request_buffers_give_back(struct request_buffers *buffers, struct kept_data *kept);

/* Frees all that is not kept. */
void request_buffers_release(struct request_buffers *buffers);

#endif
