/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pool of threads for what may block: ioctls, huge pages, reading and hashing images.
 *
 * The loop thread submits a piece of work; run() is called in some worker, then done() in the
 * loop thread again. State therefore needs no locks: run() may touch only what the work object
 * itself owns, done() may touch everything.
 */
#ifndef NEFS_WORKERS_H
#define NEFS_WORKERS_H

#include <nefs/error.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct log;
struct workers;

/* Embed it in the object that the work is about; it must stay valid until done() was called. */
struct work {
	void (*run)(struct work *work);	 /* in a worker thread; may block */
	void (*done)(struct work *work); /* in the loop thread; may free the object */
	const char *what;		 /* for the log: "starting an enclave"; NULL: work */
	/* The pool's. */
	struct work *next;
	uint64_t began; /* CLOCK_MONOTONIC usec */
	bool told;
};

/*
 * Makes a pool whose done() calls are dispatched by event. Threads are started when work finds
 * none idle, up to max_threads, and all but one end after some idle seconds: a device that holds one worker
 * for 120 s (docs/facts/driver.md §1) must not hold up the others. They run at a lower scheduling
 * priority than the loop. Loop thread. ENOMEM, EMFILE.
 */
int workers_new(
	sd_event *event, unsigned int max_threads, struct workers **pool, struct nefs_error *err);

/*
 * Queues work; never blocks and never fails once the pool exists (if no thread can be started,
 * the work waits for one that runs; workers_new starts the first). Loop thread.
 */
void workers_submit(struct workers *pool, struct work *work);

/*
 * How long a thread without work waits before it ends: milliseconds, 10,000 by default. For waits that
 * begin from now on. The last thread waits for ever, without a look at the clock. Loop thread.
 */
void workers_set_idle_ms(struct workers *pool, unsigned int ms);

/*
 * Has the log told once of each piece of work that runs for longer than this, within as long again. The
 * log must outlive the pool. Before any work is submitted. Loop thread. Returns 0 or a negative errno.
 */
int workers_watch(struct workers *pool, struct log *log, unsigned int ms);

/* Pieces of work submitted whose done() has not been called yet. Loop thread. */
unsigned int workers_pending(const struct workers *pool);

/*
 * For a process that is about to _exit while work is stuck: forgets what was queued and not begun, and
 * returns when each thread that is not amid a piece of work has ended and been joined. Nothing but
 * workers_free may follow. Loop thread.
 */
void workers_abandon(struct workers *pool);

/*
 * Ends the pool. Work that was queued but not begun is still run; waits for what runs, calls the
 * missing done()s, and joins all threads. Loop thread. NULL is allowed.
 */
void workers_free(struct workers *pool);

#endif
