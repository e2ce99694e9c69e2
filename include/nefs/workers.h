/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pool of threads for what may block: ioctls, huge pages, reading and hashing images.
 *
 * The loop thread submits a piece of work; run() is called in some worker, then done() in the
 * loop thread again. State therefore needs no locks: run() may touch only what the work object
 * itself owns, done() may touch everything.
 *
 * How long a piece takes is often in the hands of a user: by the size of an image, by what an enclave does.
 * So it has an owner, and no owner's pieces take the threads from another's:
 *
 * - There are lanes, each with threads of its own: what gives back is never behind what takes.
 * - Within a lane owners are served in turn, one piece each, however many of them one owner has queued.
 * - A user has at most a share of a lane's threads at work: an eighth (of those that read whole images a 32nd),
 *   and of what other users leave never more than half, so that many of them do not fill it either. An eighth
 *   of all is root's, whatever they do, and a 16th theirs, whatever root does.
 * - What reads, hashes or copies a lot does it by its pace: of all pieces of work together as many as half of
 *   the CPUs do so at a time, owners in turn.
 * - Work can be cancelled, which ends it at its next piece, too.
 */
#ifndef NEFS_WORKERS_H
#define NEFS_WORKERS_H

#include <nefs/error.h>
#include <nefs/pace.h>
#include <nefs/pacing.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

struct log;
struct workers;

enum work_lane {
	/* A start: its image or its device may make it long. */
	WORK_DATA,
	/* A request of the spool's disk: the kernel holds locks meanwhile, so it is behind no start. */
	WORK_SPOOL,
	/* Reads a whole image for what is told of it, for minutes: nobody's start is behind that. */
	WORK_REPORT,
	/* Gives back: a stop, the end of a failed start, a file's pages. Its device may make it long. */
	WORK_RELEASE,
	WORK_LANES
};

TAILQ_HEAD(work_list, work);

/* Embed it in the object that the work is about; it must stay valid until done() was called. */
struct work {
	void (*run)(struct work *work);	 /* in a worker thread; may block */
	void (*done)(struct work *work); /* in the loop thread; may free the object */
	const char *what;		 /* for the log: "starting an enclave"; NULL: work */
	uid_t owner;			 /* whose data it is about; 0: root's or nefs's own */
	enum work_lane lane;
	struct nefs_pace
		pace; /* the pool fills it in: for whatever run() calls and may take long */
	/* The pool's. */
	struct workers *pool;
	TAILQ_ENTRY(work) siblings; /* its lane's at work, or those done */
	struct turn turn;	    /* while it is queued */
	struct pacer pacer;
	bool queued;
	uint64_t began; /* CLOCK_MONOTONIC usec */
	bool told;
};

/*
 * Makes a pool whose done() calls are dispatched by event. Threads are started when work finds
 * none idle, up to max_threads in a lane, and all but one of each lane end after some idle seconds: a device
 * that holds one worker for 120 s (docs/facts/driver.md §1) must not hold up the others. They run at a lower
 * scheduling priority than the loop. Loop thread. ENOMEM, EMFILE.
 */
int workers_new(
	sd_event *event, unsigned int max_threads, struct workers **pool, struct nefs_error *err);

/*
 * Queues work; never blocks and never fails once the pool exists (if no thread can be started,
 * the work waits for one that runs; workers_new starts the first of each lane). It is not cancelled then,
 * whatever it was before. Loop thread.
 */
void workers_submit(struct workers *pool, struct work *work);

/*
 * Cancels work that was submitted and whose done() has not been called yet: if it was not begun, it never
 * is. done() is called in any case, and never from inside this. Loop thread.
 */
void work_cancel(struct workers *pool, struct work *work);

/* Was it cancelled? In done(): it may have run to its end all the same, or not at all. Any thread. */
static inline bool work_cancelled(const struct work *work)
{
	return nefs_pace_cancelled(&work->pace);
}

/*
 * For a process that ends: cancels all that was or will be submitted, but what gives back (WORK_RELEASE).
 * Loop thread.
 */
void workers_wind_up(struct workers *pool);

/*
 * How long a thread without work waits before it ends: milliseconds, 10,000 by default. For waits that
 * begin from now on. The last thread of a lane waits for ever, without a look at the clock. Loop thread.
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
