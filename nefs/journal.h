/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal: the last JOURNAL_RECORDS events of all enclaves, a JSON object a line each. An
 * enclave's own journal is the part of it that carries its id, whatever it was called then; its
 * chain leads from one of its records to the next. Loop thread.
 */
#ifndef NEFS_JOURNAL_H
#define NEFS_JOURNAL_H

#include <nefs/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define JOURNAL_RECORDS 4096

/* A line that is not longer lies in the ring, whose size is the same from the start. */
#define JOURNAL_LINE 192

struct journal_record {
	uint64_t seq;
	uint64_t enclave; /* its id */
	uint64_t next;	  /* seq of the same enclave's next record; 0: none yet */
	char *line;	  /* with its newline, not terminated: text, or malloc'ed if it is longer */
	size_t size;
	char text[JOURNAL_LINE];
};

struct journal {
	struct journal_record records[JOURNAL_RECORDS]; /* record seq is at seq % JOURNAL_RECORDS */
	uint64_t next;					/* seq of the next record; from 1 */
	time_t second;					/* what `date` says; 0: nothing */
	char date[32];					/* of that second: 2026-11-25T12:34:56 */
};

/* The records of one enclave: sequence numbers, 0 for none. */
struct journal_chain {
	uint64_t first, last; /* those in the ring */
	uint64_t dropped;     /* the newest that fell out of it */
};

/* What a record says; members that are 0 or NULL do not appear. */
struct journal_event {
	const char *event;    /* "created", "removed", ... */
	const char *enclave;  /* its name */
	const char *old_name; /* renamed: what it was called before */
	uint64_t id;	      /* the enclave's */
	uint64_t cid;
	uint64_t slot;
	bool has_slot;
	const char *error;
};

/* An empty one, zeroed before. Takes the memory of all records now: it does not grow by what happens. */
void journal_init(struct journal *journal);

/*
 * Appends a record to the ring and to its enclave's chain (NULL: nobody can read that any more). If the ring was full, *dropped is the
 * record that gave way (its line is gone), for journal_dropped; else its seq is 0. Out of memory: the
 * record is lost, false.
 */
bool journal_append(struct journal *journal, struct journal_chain *chain,
	const struct journal_event *event, struct journal_record *dropped);

/* Takes a record that gave way out of the chain of the enclave that it was about. */
void journal_dropped(struct journal_chain *chain, const struct journal_record *dropped);

/* The oldest seq still there. */
uint64_t journal_oldest(const struct journal *journal);

/* The newest seq that fell out of the ring; of a chain, or (NULL) of all. 0: none. */
uint64_t journal_lost(const struct journal *journal, const struct journal_chain *chain);

/* The first record of a chain, or (NULL) of all, with a seq >= from; NULL if there is none. */
const struct journal_record *journal_find(
	const struct journal *journal, const struct journal_chain *chain, uint64_t from);

void journal_release(struct journal *journal);

#endif
