/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is done to files of the spool: at once, where they are in memory and stay there, else by a worker, as the disk
 * may be slow. What changes a file is done one after the other. A job's outcome is told in the loop, by done().
 */
#ifndef NEFS_SPOOL_JOB_H
#define NEFS_SPOOL_JOB_H

#include "spool_file.h"
#include <fuse_lowlevel.h>

struct kept_data;

enum spool_job_kind {
	SPOOL_WRITE,
	SPOOL_RESIZE,
	SPOOL_ALLOCATE,
	SPOOL_PUNCH,
};

/* Embed it, zeroed, in the object that the request is about. It is the caller's again in done(). */
struct spool_job {
	struct work work; /* first */
	STAILQ_ENTRY(spool_job) siblings;
	struct spool_file *file; /* there until done() returns */
	enum spool_job_kind kind;
	const char *data; /* to be written */
	struct kept_data *kept;
	bool at_once;	       /* by the loop, unless room has to be made for it */
	uint64_t offset, size; /* bytes */
	bool keeps_size;       /* SPOOL_ALLOCATE: only asks for the room */
	bool on_disk;	       /* where the file is by now */
	uint64_t reserved;     /* bytes that it may take of the disk; counted until it is done */
	uint64_t taken;	       /* bytes that the file takes by now */
	/* In the loop, once; before what asked for the job returns, or later. */
	void (*done)(struct spool_job *job);
	ssize_t result; /* bytes written, 0, or a negative errno */
	struct nefs_error err;
};

/*
 * pwrite(2), or a part of it: the file may be larger then. EDQUOT for what its user may not have. EFBIG beyond SPOOL_FILE_MAX or a limit of file size. One that
 * finds no room has what is given up closed first, whose room the caller counts on. data is needed until this returns.
 */
void spool_write(struct spool_job *job, struct spool_file *file, const char *data, size_t size,
	off_t offset);

/* ftruncate(2). */
void spool_resize(struct spool_job *job, struct spool_file *file, uint64_t size);

/* Is there room for a file of so many bytes? Then (keeps_size: even so not) it gets that size, if it is larger. */
void spool_allocate(struct spool_job *job, struct spool_file *file, uint64_t size, bool keeps_size);

/* Makes zeros of these bytes, as far as there are any, and gives their room back. */
void spool_punch(struct spool_job *job, struct spool_file *file, uint64_t offset, uint64_t length);

/* Writes all of an empty file that is not larger than SPOOL_SMALL: 0 or a negative errno, at once. */
int spool_fill(struct spool_file *file, const char *text, size_t size, struct nefs_error *err);

/*
 * What a file in memory holds, up to so many bytes: their number, at once. EBUSY while it is being changed,
 * E2BIG for one that is larger than SPOOL_SMALL.
 */
ssize_t spool_contents(const struct spool_file *file, char *text, size_t size);

/* Answers READ with what the file holds there. */
void spool_reply(fuse_req_t req, struct spool_file *file, size_t size, off_t offset);

#endif
