/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal: the last JOURNAL_RECORDS events of all enclaves, a JSON object a line each. An
 * enclave's own journal is the part of it that carries its id, whatever it was called then.
 * Loop thread.
 */
#ifndef NEFS_JOURNAL_H
#define NEFS_JOURNAL_H

#include <nefs/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_RECORDS 4096

/* The id of "all enclaves"; enclaves count from 1. */
#define JOURNAL_ALL 0

struct journal_record {
	uint64_t seq;
	uint64_t enclave;
	char *line; /* with its newline */
	size_t size;
};

struct journal {
	struct journal_record records[JOURNAL_RECORDS]; /* record seq is at seq % JOURNAL_RECORDS */
	uint64_t next;					/* seq of the next record; from 1 */
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

/*
 * Appends a record and returns true. If the ring was full, *dropped_enclave and *dropped_seq name
 * the record that gave way, else 0. Out of memory: the record is lost, false.
 */
bool journal_append(struct journal *journal, const struct journal_event *event,
	uint64_t *dropped_enclave, uint64_t *dropped_seq);

/* The oldest seq still there. */
uint64_t journal_oldest(const struct journal *journal);

/* The first record of an enclave (or of all) with a seq >= from, or NULL. */
const struct journal_record *journal_find(
	const struct journal *journal, uint64_t enclave, uint64_t from);

void journal_release(struct journal *journal);

#endif
