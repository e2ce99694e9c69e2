/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "parked.h"
#include "quota.h"
#include <errno.h>
#include <stdlib.h>

/* Answers a request that is on no list any more, and frees it. */
static void answer(struct parked *parked, int result)
{
	if (parked->answer)
		parked->answer(parked, result);
	else
		fuse_reply_err(parked->req, -result);
	quota_give(parked->user, QUOTA_PARKED);
	free(parked);
}

/* The caller got a signal: libfuse calls this from the loop, while it reads INTERRUPT. */
static void on_interrupt(fuse_req_t req, void *data)
{
	struct parked *parked = data;

	LIST_REMOVE(parked, siblings);
	/* A write or rename has done its part: it only waited to tell how that went on. */
	answer(parked, parked->answer ? 0 : -EINTR);
}

struct parked *parked_keep(struct parked_list *list, fuse_req_t req)
{
	struct parked *parked = calloc(1, sizeof(*parked));

	if (!parked)
		return NULL;
	parked->req = req;
	LIST_INSERT_HEAD(list, parked, siblings);
	fuse_req_interrupt_func(req, on_interrupt, parked);
	return parked;
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
	parked = parked_keep(list, req);
	if (!parked)
		fuse_reply_err(req, ENOMEM);
	return parked;
}

void parked_retry(struct parked_list *list, void (*again)(const struct parked *waiting))
{
	struct parked_list waiting = LIST_HEAD_INITIALIZER(waiting);
	struct parked *parked;

	/* To a list of its own, oldest first: a read that still has to wait parks itself anew. */
	while ((parked = LIST_FIRST(list))) {
		LIST_REMOVE(parked, siblings);
		LIST_INSERT_HEAD(&waiting, parked, siblings);
	}
	/*
	 * Their interrupt function stays set: nothing can interrupt a request before it is answered
	 * or parked anew, as both happen in the loop thread.
	 */
	while ((parked = LIST_FIRST(&waiting))) {
		struct parked copy = *parked;

		LIST_REMOVE(parked, siblings);
		quota_give(parked->user, QUOTA_PARKED);
		free(parked);
		again(&copy);
	}
}

void parked_drop(struct parked_list *list, const struct handle *handle, int error)
{
	struct parked *parked = LIST_FIRST(list);

	while (parked) {
		struct parked *next = LIST_NEXT(parked, siblings);

		if (!handle || parked->handle == handle) {
			LIST_REMOVE(parked, siblings);
			answer(parked, -error);
		}
		parked = next;
	}
}

void parked_answer(struct parked_list *list, int kind, int result)
{
	struct parked *parked = LIST_FIRST(list);

	while (parked) {
		struct parked *next = LIST_NEXT(parked, siblings);

		if (parked->kind == kind) {
			LIST_REMOVE(parked, siblings);
			answer(parked, result);
		}
		parked = next;
	}
}
