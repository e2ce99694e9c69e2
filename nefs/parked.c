/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "parked.h"
#include "control.h"
#include <errno.h>
#include <stdlib.h>

/* The caller got a signal: libfuse calls this from the loop, while it reads INTERRUPT. */
static void on_interrupt(fuse_req_t req, void *data)
{
	struct parked *parked = data;
	void (*answer)(struct parked *, int) = parked->answer;

	LIST_REMOVE(parked, siblings);
	if (answer)
		answer(parked, -EINTR);
	else
		fuse_reply_err(req, EINTR);
	free(parked);
}

struct parked *parked_add(struct parked_list *list, fuse_req_t req)
{
	struct parked *parked;

	/*
	 * Asked first, because fuse_req_interrupt_func calls back at once for an interrupted
	 * request and touches it afterwards: an answer from in there would free it too early.
	 */
	if (fuse_req_interrupted(req)) {
		fuse_reply_err(req, EINTR);
		return NULL;
	}
	parked = calloc(1, sizeof(*parked));
	if (!parked) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	parked->req = req;
	LIST_INSERT_HEAD(list, parked, siblings);
	fuse_req_interrupt_func(req, on_interrupt, parked);
	return parked;
}

void parked_remove(struct parked *parked)
{
	/*
	 * The interrupt function stays set: nothing can interrupt the request before the caller of
	 * this answers it or parks it anew, as both happen in the loop thread.
	 */
	LIST_REMOVE(parked, siblings);
	free(parked);
}

void parked_retry(struct node *node)
{
	struct parked_list waiting = node->parked;
	struct parked *parked;

	/* Onto a list of its own: a read that still has to wait parks itself anew. */
	LIST_INIT(&node->parked);
	if (!LIST_EMPTY(&waiting))
		LIST_FIRST(&waiting)->siblings.le_prev = &LIST_FIRST(&waiting);
	while ((parked = LIST_FIRST(&waiting))) {
		fuse_req_t req = parked->req;
		struct handle *handle = parked->handle;
		size_t size = parked->size;
		off_t offset = parked->offset;

		parked_remove(parked);
		node->control->ops->read(req, handle, size, offset);
	}
}

void parked_drop(struct handle *handle, int error)
{
	struct parked *parked = LIST_FIRST(&handle->node->parked);

	while (parked) {
		struct parked *next = LIST_NEXT(parked, siblings);

		if (parked->handle == handle) {
			fuse_req_t req = parked->req;

			parked_remove(parked);
			fuse_reply_err(req, error);
		}
		parked = next;
	}
}
