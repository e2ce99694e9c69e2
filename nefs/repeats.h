/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Equal records are one, with a count: a loop that is refused each time, or does a few refused things in turn, costs a
 * journal no more than a record now and then. A journal only grows, so the first is written at once, and how many
 * more there were when another comes, or some seconds later. Loop thread.
 */
#ifndef NEFS_REPEATS_H
#define NEFS_REPEATS_H

#include "journal.h"
#include <nefs/error.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

/* How long more of the same are counted before that is told. */
#define REPEATS_USEC (3ULL * 1000 * 1000)

/* So many different ones are known again. */
#define REPEATS_KEPT 8

struct repeat;

TAILQ_HEAD(repeat_queue, repeat);

typedef void repeats_write(void *owner, const struct journal_event *event);

/* Zeroed, and then repeats_init. */
struct repeats {
	sd_event *event;
	repeats_write *write;
	void *owner;
	struct repeat_queue
		known; /* the last ones, since anything else happened; the oldest first */
	unsigned int known_count;
	sd_event_source *timer; /* armed: some are counted and not told */
};

/* write tells of a record, by its owner. */
void repeats_init(struct repeats *repeats, sd_event *event, repeats_write *write, void *owner);

/* Writes a record, or counts it: only what was refused or has failed, and says why, is counted. */
void repeats_add(struct repeats *repeats, const struct journal_event *event);

/*
 * The record of a refusal; uid is (uid_t)-1 if nobody asked for what was refused, and whoever it came of by then is its
 * writer.
 */
void repeats_add_refusal(struct repeats *repeats, const char *file, uid_t uid, uid_t writer,
	const struct nefs_error *err);

/* Tells how many there were. */
void repeats_flush(struct repeats *repeats);

/* Tells nothing any more. */
void repeats_release(struct repeats *repeats);

#endif
