/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "spool_file.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int spool_memory(struct nefs_error *err)
{
	int fd = memfd_create("nefs-staged", MFD_CLOEXEC);

	return fd < 0 ? nefs_error_set(err, errno, "cannot make a file in memory: %s%s",
				strerror(errno),
				errno == EMFILE ? ": raise the limit of open files (LimitNOFILE=)"
						: "")
		      : fd;
}

int spool_file_new(
	struct spool *spool, uid_t owner, struct spool_file **result, struct nefs_error *err)
{
	NEFS_AUTO_FREE struct spool_file *file = calloc(1, sizeof(*file));
	int failed = 0;

	if (!file)
		return nefs_error_set(err, ENOMEM, "out of memory for a staged file");
	if (spool->quota)
		failed = quota_take(spool->quota, owner, QUOTA_FDS, &file->user, err);
	if (failed)
		return failed;
	file->spool = spool;
	file->owner = owner;
	file->refs = 1;
	STAILQ_INIT(&file->queue);
	file->fd = spool_memory(err);
	if (file->fd < 0) {
		quota_give(file->user, QUOTA_FDS);
		return file->fd;
	}
	*result = nefs_take_ptr(file);
	return 0;
}

int spool_file_chown(struct spool_file *file, uid_t owner)
{
	struct quota_user *before = quota_user_ref(file->user);
	int failed = 0;

	if (file->spool->quota)
		failed = quota_chown(file->spool->quota, owner, QUOTA_FDS, &file->user, NULL);
	if (!failed) {
		quota_move(before, file->user, QUOTA_BYTES, file->counted);
		file->owner = owner;
	}
	quota_user_put(before);
	return failed;
}

/* ---- closing ---- */

/* Whoever takes it closes it. Lock held. */
static int take_fd(struct spool *spool, struct spool_closing *closing)
{
	int fd = closing->fd;

	if (fd < 0)
		return fd;
	closing->fd = -1;
	LIST_REMOVE(closing, siblings);
	spool->being_closed++;
	return fd;
}

/* The lock is held before and behind it. */
static void close_taken(struct spool *spool, int fd)
{
	pthread_mutex_unlock(&spool->lock);
	/* One that was abandoned is still open elsewhere. */
	if (ftruncate(fd, 0)) {
		/* Then it goes with its last fd. */
	}
	close(fd);
	pthread_mutex_lock(&spool->lock);
	spool->being_closed--;
	pthread_cond_broadcast(&spool->closed);
}

static void run_closing(struct work *work)
{
	struct spool_closing *closing = (struct spool_closing *)work;
	struct spool *spool = closing->spool;
	int fd;

	pthread_mutex_lock(&spool->lock);
	fd = take_fd(spool, closing);
	if (fd >= 0)
		close_taken(spool, fd);
	pthread_mutex_unlock(&spool->lock);
}

static void closing_done(struct work *work)
{
	struct spool_closing *closing = (struct spool_closing *)work;

	if (closing->file)
		free(closing->file);
	else
		free(closing);
}

bool spool_reclaim(struct spool *spool)
{
	struct spool_closing *closing;
	bool any;

	pthread_mutex_lock(&spool->lock);
	any = spool->being_closed || !LIST_EMPTY(&spool->closing);
	while ((closing = LIST_FIRST(&spool->closing)))
		close_taken(spool, take_fd(spool, closing));
	while (spool->being_closed)
		pthread_cond_wait(&spool->closed, &spool->lock);
	pthread_mutex_unlock(&spool->lock);
	return any;
}

/* Has a worker close it. */
static void give_back(struct spool *spool, struct spool_closing *closing, uid_t owner)
{
	closing->work.run = run_closing;
	closing->work.done = closing_done;
	closing->work.what = "giving a file of the spool back";
	closing->work.owner = owner;
	closing->work.lane = WORK_RELEASE;
	closing->spool = spool;
	pthread_mutex_lock(&spool->lock);
	LIST_INSERT_HEAD(&spool->closing, closing, siblings);
	pthread_mutex_unlock(&spool->lock);
	if (spool->workers) {
		workers_submit(spool->workers, &closing->work);
		return;
	}
	run_closing(&closing->work);
	closing_done(&closing->work);
}

static void free_if_unused(struct spool_file *file)
{
	if (file->refs || file->jobs)
		return;
	/* Its room is there for others now: who finds none has what is given up closed first. */
	quota_release(file->user, QUOTA_BYTES, file->counted);
	quota_give(file->user, QUOTA_FDS);
	if (!file->on_disk) {
		close(file->fd);
		free(file);
		return;
	}
	file->closing.file = file;
	file->closing.fd = file->fd;
	give_back(file->spool, &file->closing, file->owner);
}

void spool_file_ref(struct spool_file *file)
{
	file->refs++;
}

void spool_file_unref(struct spool_file *file)
{
	if (!file)
		return;
	file->refs--;
	free_if_unused(file);
}

void spool_file_job_done(struct spool_file *file)
{
	file->jobs--;
	free_if_unused(file);
}

void spool_file_abandon(struct spool_file *file)
{
	struct spool_closing *closing = NULL;

	/* Without another fd, or memory, it goes with the last reference. */
	if (file->on_disk)
		closing = malloc(sizeof(*closing));
	if (!closing)
		return;
	*closing = (struct spool_closing){ .fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0) };
	if (closing->fd < 0) {
		free(closing);
		return;
	}
	quota_adjust(file->user, QUOTA_BYTES, file->counted, file->reserved);
	file->counted = file->reserved;
	give_back(file->spool, closing, file->owner);
}
