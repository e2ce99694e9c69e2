/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where what has happened is told: in a line of the log, in the root's journal, and in the enclave's own.
 *
 * Log and root's journal are everybody's, so each user has a share of them (flood.h), and an enclave's journal has one
 * for all whose it is not. Root, and whose nefs it is, have no bound. What is left out keeps its seq, so that a gap in
 * the root's journal is as long as its `suppressed` records say. Loop thread.
 */
#ifndef NEFS_RECORDS_H
#define NEFS_RECORDS_H

#include "flood.h"
#include "journal.h"
#include "text_log.h"
#include <sys/queue.h>

struct directory;
struct fs;
struct user_records;

/* Most users whose shares are remembered at once. */
#define RECORDS_USERS_MAX 256

LIST_HEAD(user_records_list, user_records);

/* The mount's; zeroed at first. */
struct records {
	struct journal journal;
	struct user_records_list users;
	unsigned int user_count;
};

/* What is told in an enclave's own journal. */
struct own_records {
	struct directory *directory;
	struct text_log *journal;
	struct flood others; /* what those write who are neither its owner nor root */
};

/* Both stay the caller's, and last as long. */
void own_records_init(
	struct own_records *own, struct directory *directory, struct text_log *journal);

/*
 * Tells of an event, whose `writer` and `asked` say whose share it comes from. own: the enclave's, or NULL: the root
 * itself. A directory that was removed has no journal any more.
 */
void records_write(struct fs *fs, struct own_records *own, const struct journal_event *event);

/* Tells nothing any more of what was left out. */
void own_records_release(struct own_records *own);
void records_release(struct records *records);

#endif
