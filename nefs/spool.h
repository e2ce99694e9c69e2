/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The spool directory: where images and staged files are. They have no names there, so that nothing is left behind
 * however the daemon ends. Files: spool_file.h.
 *
 * Its disk may be slow, or not answer at all: once the loop runs, only workers touch it.
 */
#ifndef NEFS_SPOOL_H
#define NEFS_SPOOL_H

#include "parked.h"
#include <nefs/error.h>
#include <nefs/workers.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/statvfs.h>
#include <systemd/sd-event.h>

struct quota;
struct request_buffers;

LIST_HEAD(closing_list, spool_closing);

/* How much room there is, as far as it is known (spool_answer_statfs). Loop thread. */
struct spool_room {
	struct work work;
	int directory;
	int failed;		/* of the query: 0 or a positive errno */
	struct statvfs found;	/* by the query that a worker is at */
	struct statvfs known;	/* by the last that was answered */
	bool asked;		/* a worker is at one */
	sd_event_source *timer; /* ends the wait for it */
	struct parked_list waiting;
};

/* One zeroed but for the directory, -1, can be given up and closed. */
struct spool {
	int directory;	/* fd */
	bool in_memory; /* its disk is none, and never waited for */
	int requests;	/* fd that polls as readable while requests wait; 0: it is not known */
	struct workers *workers;	 /* that do the I/O; NULL: whoever asks for it does it */
	sd_event *event;		 /* NULL: as without workers */
	struct request_buffers *buffers; /* that writes come in; NULL: they are copied */
	struct quota *quota;		 /* what users have of it; NULL: nothing is counted */
	struct spool_room room;
	pthread_mutex_t naming; /* held in workers, while a file has a name for a moment */

	pthread_mutex_t lock; /* everything below; held for moments only */
	pthread_cond_t closed;
	struct closing_list closing; /* what is given up, and not being closed yet */
	unsigned int being_closed;
};

/*
 * Opens the spool directory, made with mode 0700 if it isn't there, locks it (claim.h) and tries to
 * write. The workers must outlast every file's last reference. 0 or a negative errno (EBUSY: another
 * daemon's), and then directory is -1. Blocks: before the loop runs.
 */
int spool_open(
	struct spool *spool, const char *path, struct workers *workers, struct nefs_error *err);

/*
 * Lets another daemon have the directory, too. `remove` (NULL: it stays) is its path, to be removed with the
 * directory above it, as far as they are empty and nobody else's by now: no file can be made in it then.
 */
void spool_give_up(struct spool *spool, const char *remove);
void spool_close(struct spool *spool);

/*
 * Is what is read and written as quickly done here and now, as it is in memory and no request waits? Behind the
 * hand-over to a worker and back an image is written a quarter more slowly. Loop thread.
 */
bool spool_is_idle(const struct spool *spool);

/* A file without a name: its fd, or a negative errno. In a worker. */
int spool_nameless(struct spool *spool, struct nefs_error *err);

/* Is there room for so many bytes more, now? 0, ENOSPC or another negative errno. In a worker. */
int spool_check_room(const struct spool *spool, uint64_t bytes);

/*
 * Answers STATFS with how much room there is; by what was known before, if the directory does not answer within a
 * second or the caller gets a signal. Loop thread.
 */
void spool_answer_statfs(fuse_req_t req, struct spool *spool);

#endif
