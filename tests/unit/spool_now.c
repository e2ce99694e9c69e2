/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "spool_now.h"

struct job {
	struct spool_job job; /* first */
	bool done;
};

static void on_done(struct spool_job *job)
{
	((struct job *)job)->done = true;
}

#define NEW_JOB                                                                                    \
	{                                                                                          \
		.job.done = on_done                                                                \
	}

static ssize_t wait_for(struct job *job, struct nefs_error *err)
{
	/* done() is not the last that is done with it, but it is in the same turn of the loop. */
	while (!job->done)
		sd_event_run(job->job.file->spool->event, UINT64_MAX);
	if (err)
		*err = job->job.err;
	return job->job.result;
}

ssize_t spool_write_now(struct spool_file *file, const char *data, size_t size, off_t offset,
	struct nefs_error *err)
{
	struct job job = NEW_JOB;

	spool_write(&job.job, file, data, size, offset);
	return wait_for(&job, err);
}

int spool_resize_now(struct spool_file *file, uint64_t size, struct nefs_error *err)
{
	struct job job = NEW_JOB;

	spool_resize(&job.job, file, size);
	return (int)wait_for(&job, err);
}

int spool_allocate_now(
	struct spool_file *file, uint64_t size, bool keeps_size, struct nefs_error *err)
{
	struct job job = NEW_JOB;

	spool_allocate(&job.job, file, size, keeps_size);
	return (int)wait_for(&job, err);
}

int spool_punch_now(
	struct spool_file *file, uint64_t offset, uint64_t length, struct nefs_error *err)
{
	struct job job = NEW_JOB;

	spool_punch(&job.job, file, offset, length);
	return (int)wait_for(&job, err);
}
