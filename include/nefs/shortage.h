/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that is short for a moment: who serves others goes on, and says so, though not each time.
 */
#ifndef NEFS_SHORTAGE_H
#define NEFS_SHORTAGE_H

#include <nefs/log.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* What has been told of it, zeroed at first. One thread's. */
struct nefs_shortage {
	struct log *log;     /* NULL: nobody is told */
	uint64_t told_usec;  /* CLOCK_MONOTONIC; 0: not yet */
	unsigned int untold; /* since then */
};

/* There was no memory for this. A line in the log, at most every 10 s, with how often it was. Never waits. */
void nefs_shortage_met(struct nefs_shortage *shortage, const char *what);

/* The same, and the calling thread rests for 10 ms, so that what is tried again later does not spin. */
void nefs_shortage_rest(struct nefs_shortage *shortage, const char *what);

/*
 * A turn of the loop, as sd_event_run(3), which needs memory itself when there is more to do than ever before.
 * Without it the loop rests for 10 ms, the turn counts as one without an event (0), and the next one finds
 * what this one has left. A negative errno is any other failure. The loop's thread.
 */
int nefs_event_run(sd_event *event, uint64_t usec, struct nefs_shortage *shortage);

/* Such turns until sd_event_exit(3): its code, or a negative errno, as sd_event_loop(3) returns. */
int nefs_event_loop(sd_event *event, struct nefs_shortage *shortage);

#endif
