/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests whose answer has to wait. Reads may wait as long as they like; a write or rename of
 * `start` waits a bounded time (design.md §3). A signal to the caller answers EINTR.
 */
#ifndef NEFS_PARKED_H
#define NEFS_PARKED_H

#include "node.h"

struct parked {
	LIST_ENTRY(parked) siblings;
	fuse_req_t req;
	struct handle *handle; /* reads: tried again with it; else NULL */
	size_t size;	       /* reads: asked for; writes: to be confirmed */
	off_t offset;
	/* Answers the request with this result (0 or a negative errno); not for reads. */
	void (*answer)(struct parked *parked, int result);
	void *context; /* for answer */
	int kind;      /* for the owner of the list */
};

/*
 * Parks a request on a list. If its caller was interrupted already, or memory is short, it is
 * answered at once and NULL is returned.
 */
struct parked *parked_add(struct parked_list *list, fuse_req_t req);

/* Takes it off its list and frees it; its request must be answered by the caller. */
void parked_remove(struct parked *parked);

/* Tries each parked read of the node again. */
void parked_retry(struct node *node);

/* Answers all of a handle's parked reads with an errno. */
void parked_drop(struct handle *handle, int error);

#endif
