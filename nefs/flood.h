/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What one writer may put into a text that others' records are in, too: so many at once, and so many as time goes by.
 * What is beyond that is left out and counted, and some seconds later it is told how many they were. So
 * nobody's flood takes the place of what others have to say. Loop thread.
 */
#ifndef NEFS_FLOOD_H
#define NEFS_FLOOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* A record counts as one for each begun so many bytes. */
#define FLOOD_RECORD_SIZE 512

/* Time gives a writer another record each so often. */
#define FLOOD_USEC (2ULL * 1000 * 1000)

/* Once something was left out, nothing that was asked for is taken for so long. More than two times the above. */
#define FLOOD_SILENCE_USEC (5ULL * 1000 * 1000)

struct flood;

/* Tells how many were left out; that record is taken in any case. */
typedef void flood_tell(struct flood *flood, unsigned int count);

struct flood_limits {
	unsigned int burst; /* at once, after a time without any */
	unsigned int
		reserve; /* of these: only for what nobody asked for, and cannot be repeated at will */
};

/* Zeroed, and then the first three members set. */
struct flood {
	sd_event *event;
	const struct flood_limits *limits;
	flood_tell *tell;
	uint64_t
		spent_until; /* CLOCK_MONOTONIC usec: time will have given back by then what was taken */
	unsigned int left_out;	/* and not told yet */
	sd_event_source *timer; /* armed: silence */
};

/*
 * May a record of so many bytes be written now? If not it is counted. asked: somebody did what it tells of, and could
 * do so again and again.
 */
bool flood_admit(struct flood *flood, size_t size, bool asked);

/* How much of the burst is taken, in usec of the time that gives it back: 0 is none. */
uint64_t flood_spent(const struct flood *flood);

/* Tells what was left out, if anything was: its text, or the writer's place, ends. */
void flood_flush(struct flood *flood);

/* Tells nothing any more. */
void flood_release(struct flood *flood);

#endif
