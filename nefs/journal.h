/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The records of the journals: a JSON object a line for each event. Where they go is the caller's: to
 * the root's journal and to the enclave's own (text_log.h), the same line in both. Loop thread.
 */
#ifndef NEFS_JOURNAL_H
#define NEFS_JOURNAL_H

#include <nefs/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* Longest line: a sentence of NEFS_ERROR_TEXT_MAX bytes of which each is six in JSON, and the rest. */
#define JOURNAL_LINE_MAX (8 * NEFS_ERROR_TEXT_MAX)

/* Zeroed at first. */
struct journal {
	uint64_t seq;  /* of the last record; from 1 */
	time_t second; /* what `date` says; 0: nothing */
	char date[32]; /* of that second: 2026-11-25T12:34:56 */
	char line[JOURNAL_LINE_MAX];
};

/* What a record says; members that are 0 or NULL do not appear. */
struct journal_event {
	const char *event;    /* "created", "removed", ... */
	const char *enclave;  /* its name; NULL, and null: nefs itself, or its root */
	const char *old_name; /* renamed: what it was called before */
	uint64_t cid;
	uint64_t slot;
	bool has_slot;
	const char *error;
	int errno_code; /* positive; told of what was refused */
	/* refused: */
	const char *file; /* that was written */
	uid_t uid;
	bool has_uid;
	unsigned int count; /* how many there were since the record before */
	/* Not told: */
	uid_t writer; /* whose doing it is; root, or whose nefs it is, writes as much as it likes */
	bool asked;   /* and it is a thing that they can do again and again */
};

/*
 * The line of an event, with its newline, valid until the next call; *size is its length. It takes the next
 * seq.
 */
const char *journal_line(struct journal *journal, const struct journal_event *event, size_t *size);

#endif
