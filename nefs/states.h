/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The states of an enclave, and what each of them means: a table. Nobody else decides whether an
 * enclave is starting, may be changed, or has something to say.
 *
 *	init/stopped/failed/crashed --start--> starting --> booting --> running --stop--> stopping
 *	starting, booting --stop--> stopping		starting, booting --> failed
 *	running --> crashed				stopping --> stopped
 *
 * What has ended may still be given back by the device. A start that comes meanwhile is `queued`
 * until that is done; one that comes amid a stop waits in `recycling`, and is queued then.
 *
 *	init/stopped/failed/crashed --start, not released yet--> queued --released--> starting
 *	stopping --start--> recycling --ended--> queued		queued --stop--> stopped
 *							recycling --stop--> stopping
 */
#ifndef NEFS_STATES_H
#define NEFS_STATES_H

#include "counters.h"
#include <stdbool.h>

enum enclave_state {
	STATE_INIT,
	STATE_QUEUED,	/* to be started as soon as the last launch is released */
	STATE_STARTING, /* the device has not started it yet */
	STATE_BOOTING,	/* the device has; its heartbeat is awaited */
	STATE_RUNNING,
	STATE_STOPPING,
	STATE_RECYCLING, /* the same, and a start is wanted behind it */
	STATE_STOPPED,
	STATE_FAILED,  /* it never ran */
	STATE_CRASHED, /* it ran, and ended by itself */
	STATES,
};

struct state_meaning {
	const char *name;     /* in `state` and `wait` */
	const char *event;    /* the journal's word when it is entered; NULL: none */
	enum counter counter; /* what that counts */
	bool active;	      /* its names are frozen: rmdir and unlink are EBUSY */
	bool runs;	      /* what it was started with is in force: others are pending */
	bool changing;	      /* `wait` sleeps */
	bool started;	      /* `start` reads 1 */
	bool settles;	      /* entering it sets or clears `error` */
};

/* What a state means. The strings are constants. Any thread. */
const struct state_meaning *state_meaning(enum enclave_state state);

#endif
