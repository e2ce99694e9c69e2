/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests whose answer has to wait. Reads may wait as long as they like; a write or rename of
 * `start` waits a bounded time (docs/architecture.md §3). A signal to the caller answers a read with EINTR,
 * and ends the wait of the others as that time does. Loop thread.
 */
#ifndef NEFS_PARKED_H
#define NEFS_PARKED_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <sys/queue.h>

struct handle;
struct quota_user;

LIST_HEAD(parked_list, parked);

struct parked {
	LIST_ENTRY(parked) siblings;
	fuse_req_t req;
	struct handle *handle; /* reads: tried again with it; else NULL */
	size_t size;	       /* reads: asked for; writes: to be confirmed */
	off_t offset;
	/* Answers the request with this result (0 or a negative errno); NULL for reads. */
	void (*answer)(struct parked *parked, int result);
	void *context; /* for answer */
	int kind;      /* for the owner of the list */
	bool paging;   /* reads: for the kernel's page cache (node.h) */
	struct quota_user
		*user; /* for whom it is counted (QUOTA_PARKED), until it is answered; or NULL */
};

/*
 * Parks a request on a list. If its caller was interrupted already, or memory is short, it is
 * answered at once and NULL is returned.
 */
struct parked *parked_add(struct parked_list *list, fuse_req_t req);

/* The same for one that was not interrupted; NULL: memory is short, and nobody has answered it. */
struct parked *parked_keep(struct parked_list *list, fuse_req_t req);

/* Tries each parked read of a list again; one that still has to wait parks itself anew. */
void parked_retry(struct parked_list *list, void (*again)(const struct parked *waiting));

/* Answers the parked requests of this handle (NULL: all) with an errno. */
void parked_drop(struct parked_list *list, const struct handle *handle, int error);

/* Answers those of this kind with this result: 0 or a negative errno. */
void parked_answer(struct parked_list *list, int kind, int result);

#endif
