/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files of the spool: images and staged files. A small one is in memory, so that what sets a value never waits for a
 * disk; a larger one is a nameless file in the spool directory, whose I/O is workers' (spool_job.h). Loop thread.
 *
 * To close a large file gives back its pages or blocks, some 100 ms for each GiB, and waits for its disk: a
 * worker does that, too.
 */
#ifndef NEFS_SPOOL_FILE_H
#define NEFS_SPOOL_FILE_H

#include "quota.h"
#include "spool.h"
#include <stdbool.h>
#include <sys/types.h>

/* The largest file: far above any EIF, far below what makes arithmetic wrap. */
#define SPOOL_FILE_MAX (1ULL << 40)

/* The largest that is in memory: no value of a control file is larger. Bytes. */
#define SPOOL_SMALL 4096

/* Of each file so much of its beginning is at hand, wherever it is: bytes. */
#define SPOOL_HEAD 1024

struct spool_job;

STAILQ_HEAD(spool_job_list, spool_job);

/* An fd on its way to a worker. */
struct spool_closing {
	struct work work;		    /* first */
	LIST_ENTRY(spool_closing) siblings; /* in spool->closing, until somebody begins with it */
	struct spool *spool;
	struct spool_file *file; /* freed with it; NULL: that goes on without its bytes */
	int fd;			 /* by spool->lock; -1: somebody has begun with it */
};

struct spool_file {
	struct spool_closing closing; /* first */
	struct spool *spool;
	int fd;	      /* the same for as long as the file is there, wherever its bytes are */
	bool on_disk; /* else in memory: it has no more than SPOOL_SMALL bytes */
	bool running; /* a job is under way, and may change both */
	uint64_t size;
	uid_t owner;
	struct quota_user *user; /* for whom it is counted (QUOTA_FDS), and its bytes; or NULL */
	uint64_t
		counted; /* bytes (QUOTA_BYTES): of the spool's disk, and of writes under way at most */
	uint64_t reserved; /* of these: for writes that are under way */
	unsigned int refs; /* of those who use it as a file */
	unsigned int jobs; /* not done */
	struct spool_job_list queue;
	char head[SPOOL_HEAD]; /* its beginning; zeros behind its size */
};

/* An empty file with one reference, of this user's; EDQUOT, EMFILE, ENOMEM, ... with a sentence. */
int spool_file_new(
	struct spool *spool, uid_t owner, struct spool_file **file, struct nefs_error *err);

/* It is another user's from now on, with its bytes: 0 or -ENOMEM, and nothing has changed. */
int spool_file_chown(struct spool_file *file, uid_t owner);

void spool_file_ref(struct spool_file *file);
void spool_file_unref(struct spool_file *file); /* NULL is allowed */

/*
 * Gives back what a file holds, though somebody still reads it, for whom it ends here. Its references
 * stay.
 */
void spool_file_abandon(struct spool_file *file);

/* A job of it was counted in `jobs` and is done: frees it, if that was the last that kept it. */
void spool_file_job_done(struct spool_file *file);

/*
 * Closes what is given up, here and now, and waits for what others are closing: false if there was nothing, and no
 * room was made. In a worker.
 */
bool spool_reclaim(struct spool *spool);

/* A file in memory, without a name: its fd, or a negative errno. Any thread. */
int spool_memory(struct nefs_error *err);

#endif
