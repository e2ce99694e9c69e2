/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many threads read, hash and copy at once, and whose turn it is. Each of them takes a whole CPU for
 * as long as it is let; with one for each CPU the loop, and whoever asked it something, would have to wait until
 * the scheduler takes one away, which are milliseconds instead of microseconds. Owners take turns, piece by piece,
 * however many threads one of them has at it. Any thread.
 */
#ifndef NEFS_PACING_H
#define NEFS_PACING_H

#include <nefs/pace.h>
#include <nefs/turns.h>
#include <pthread.h>

struct pacing {
	pthread_mutex_t lock; /* everything below */
	unsigned int max;
	unsigned int now;   /* have their turn */
	struct turns turns; /* those that wait */
};

/* Somebody who waits, or may do so. */
struct pacer {
	struct turn turn;      /* owner: the caller's to set */
	pthread_cond_t *waits; /* NULL: does not */
	bool has_turn;	       /* it was not called off */
};

void pacing_init(struct pacing *pacing, unsigned int max);
void pacing_release(struct pacing *pacing);

/* Waits for a turn. 0, or -ECANCELED: *cancelled is set, or pacing_cancel was called meanwhile. */
int pacing_begin(struct pacing *pacing, struct pacer *pacer, const atomic_bool *cancelled);

/* The turn is over. */
void pacing_end(struct pacing *pacing);

/* It need not wait any longer, if it does. */
void pacing_cancel(struct pacing *pacing, struct pacer *pacer);

#endif
