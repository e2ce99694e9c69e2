/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream of a log (text_log.h): what comes, read like a pipe by a name that no listing shows. The
 * offset of a read means nothing; a reader has a place of its own, which its handle keeps. Loop thread.
 */
#ifndef NEFS_FOLLOW_H
#define NEFS_FOLLOW_H

#include "node.h"
#include "text_log.h"

/* Of one kind of log: what its rows' callbacks ask for. */
struct follow_kind {
	struct text_log *(*log)(struct node *node);
	/* Will nothing more come? NULL: never. */
	bool (*ended)(struct node *node);
	/* Where a new reader begins: a position, which may be gone already. NULL: with the oldest. */
	uint64_t (*begin)(struct node *node);
	/* A read gives whole lines, unless not even one fits. */
	bool lines;
};

/* Prepares a handle. */
int follow_open(const struct follow_kind *kind, struct handle *handle);

/*
 * Answers a read, now or when there is more. EPIPE, once, for a reader whose next byte is gone: it goes on
 * with the oldest there is.
 */
void follow_read(const struct follow_kind *kind, fuse_req_t req, struct handle *handle, size_t size,
	off_t offset);

/* Would a read give something, its end and EPIPE included? */
bool follow_readable(const struct follow_kind *kind, struct handle *handle);

#endif
