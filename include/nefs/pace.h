/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pace of long work that reads, hashes or copies a lot: between two pieces, none of which takes longer than
 * some milliseconds, it lets others have the CPU, and sees whether anybody still wants what it makes.
 */
#ifndef NEFS_PACE_H
#define NEFS_PACE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Whoever has the work done fills this in; the work gets a pointer. Any thread. */
struct nefs_pace {
	atomic_bool cancelled; /* it is to end. Whoever sets this waits for no answer */
	/* Waits for a turn: 0, or -ECANCELED, and then there is none. NULL: no need to wait. */
	int (*begin)(struct nefs_pace *pace);
	void (*end)(struct nefs_pace *pace); /* the turn is over; with begin only */
};

/* Is it to end? pace may be NULL in all of these: nobody can ask for that then, and nobody waits. */
static inline bool nefs_pace_cancelled(const struct nefs_pace *pace)
{
	return pace && atomic_load_explicit(&pace->cancelled, memory_order_relaxed);
}

/* Before a piece. 0 or -ECANCELED. */
static inline int nefs_pace_begin(struct nefs_pace *pace)
{
	if (nefs_pace_cancelled(pace))
		return -ECANCELED;
	return pace && pace->begin ? pace->begin(pace) : 0;
}

/* Behind it, if nefs_pace_begin returned 0. */
static inline void nefs_pace_end(struct nefs_pace *pace)
{
	if (pace && pace->begin)
		pace->end(pace);
}

#endif
