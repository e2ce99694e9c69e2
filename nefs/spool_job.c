/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "spool_job.h"
#include "request_buffers.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <nefs/io.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* ---- in a worker, but for files in memory ---- */

/* A file is to have so many bytes, and the kernel lets this process make none of that size. */
static int too_large(struct nefs_error *err, uint64_t size)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) || limit.rlim_cur == RLIM_INFINITY ||
		size <= limit.rlim_cur)
		return nefs_error_set(err, EFBIG,
			"%llu bytes are more than a file in the spool directory can have; choose "
			"another with -o spool=DIR",
			(unsigned long long)size);
	return nefs_error_set(err, EFBIG,
		"%llu bytes are more than nefs may write to a file, %llu: start it with a higher limit "
		"(ulimit -f, LimitFSIZE=)",
		(unsigned long long)size, (unsigned long long)limit.rlim_cur);
}

/* Its first bytes, as many as it keeps, to a file elsewhere, which has its fd's number then. */
static int move_to(struct spool_job *job, int fd, size_t size, bool on_disk)
{
	struct spool_file *file = job->file;
	char bytes[SPOOL_SMALL];
	int failed = nefs_pread_all(file->fd, bytes, size, 0);

	if (!failed)
		failed = nefs_pwrite_all(fd, bytes, size, 0);
	if (!failed && dup3(fd, file->fd, O_CLOEXEC) < 0)
		failed = -errno;
	if (!failed)
		job->on_disk = on_disk;
	return failed;
}

static int move_to_disk(struct spool_job *job)
{
	struct spool *spool = job->file->spool;
	NEFS_AUTO_CLOSE int fd = spool_nameless(spool, &job->err);
	int failed;

	if (fd == -ENOSPC && !job->at_once && spool_reclaim(spool)) {
		nefs_error_clear(&job->err);
		fd = spool_nameless(spool, &job->err);
	}
	if (fd < 0)
		return fd;
	failed = move_to(job, fd, (size_t)job->file->size, true);
	if (failed == -ENOSPC && !job->at_once && spool_reclaim(spool))
		failed = move_to(job, fd, (size_t)job->file->size, true);
	return failed ? nefs_error_set(&job->err, -failed,
				"cannot move a file to the spool directory: %s; make room there, or "
				"choose another with -o spool=DIR",
				strerror(-failed))
		      : 0;
}

static int move_to_memory(struct spool_job *job)
{
	NEFS_AUTO_CLOSE int fd = spool_memory(&job->err);
	size_t stays = (size_t)(job->size < job->file->size ? job->size : job->file->size);
	int failed = fd < 0 ? fd : move_to(job, fd, stays, false);

	if (failed && fd >= 0)
		nefs_error_set(&job->err, -failed, "cannot resize the file: %s", strerror(-failed));
	return failed;
}

static ssize_t write_file(struct spool_job *job)
{
	struct spool_file *file = job->file;
	const size_t size = (size_t)job->size;
	const off_t offset = (off_t)job->offset;
	ssize_t written;
	int failed = 0;

	if (!job->on_disk && job->offset + job->size > SPOOL_SMALL)
		failed = move_to_disk(job);
	if (failed)
		return failed;
	written = pwrite(file->fd, job->data, size, offset);
	if (written < 0 && errno == ENOSPC && job->on_disk && !job->at_once &&
		spool_reclaim(file->spool))
		written = pwrite(file->fd, job->data, size, offset);
	if (written >= 0)
		return written;
	if (errno == EFBIG)
		return too_large(&job->err, job->offset + job->size);
	return nefs_error_set(&job->err, errno,
		"writing %zu bytes at %lld to the spool directory failed: %s; make room there, or choose "
		"another with -o spool=DIR",
		size, (long long)offset, strerror(errno));
}

static int resize_file(struct spool_job *job)
{
	const uint64_t size = job->size;
	int failed = 0;

	if (!job->on_disk && size > SPOOL_SMALL) {
		failed = move_to_disk(job);
	} else if (job->on_disk && size <= SPOOL_SMALL) {
		failed = move_to_memory(job);
		/* Then what is gone is gone, and must not fail any more. */
		if (!failed && size <= job->file->size)
			return 0;
	}
	if (failed || !ftruncate(job->file->fd, (off_t)size))
		return failed;
	if (errno == EFBIG)
		return too_large(&job->err, size);
	return nefs_error_set(&job->err, errno, "cannot resize the file: %s", strerror(errno));
}

static int allocate(struct spool_job *job)
{
	const struct spool_file *file = job->file;
	int failed = 0;

	if (job->size <= file->size) {
		job->size = file->size;
		return 0;
	}
	if (job->size > SPOOL_SMALL)
		failed = spool_check_room(file->spool, job->size - file->size);
	if (failed)
		return nefs_error_set(&job->err, -failed,
			"there is no room for %llu bytes in the spool directory: %s; make room there, or "
			"choose another with -o spool=DIR",
			(unsigned long long)job->size, strerror(-failed));
	if (job->keeps_size)
		job->size = file->size;
	else
		failed = resize_file(job);
	return failed;
}

static int punch(struct spool_job *job)
{
	const struct spool_file *file = job->file;

	if (job->offset >= file->size)
		job->offset = file->size;
	if (job->size > file->size - job->offset)
		job->size = file->size - job->offset;
	if (!job->size)
		return 0;
	if (!fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)job->offset,
		    (off_t)job->size))
		return 0;
	return nefs_error_set(&job->err, errno, "cannot make a hole of %llu bytes in the file: %s",
		(unsigned long long)job->size, strerror(errno));
}

/* Bytes of the disk that the file takes; those in memory are counted as files. */
static uint64_t bytes_taken(const struct spool_job *job)
{
	struct stat status;

	if (!job->on_disk)
		return 0;
	/* What cannot be found out stays as it was. */
	return fstat(job->file->fd, &status) ? job->taken : (uint64_t)status.st_blocks * 512;
}

static void run_job(struct work *work)
{
	struct spool_job *job = (struct spool_job *)work;

	switch (job->kind) {
	case SPOOL_WRITE:
		job->result = write_file(job);
		break;
	case SPOOL_RESIZE:
		job->result = resize_file(job);
		break;
	case SPOOL_ALLOCATE:
		job->result = allocate(job);
		break;
	case SPOOL_PUNCH:
		job->result = punch(job);
		break;
	}
	job->taken = bytes_taken(job);
}

/* ---- in the loop ---- */

/* The part of a file's head that these bytes are: its length. */
static size_t head_part(uint64_t offset, uint64_t size)
{
	if (offset >= SPOOL_HEAD)
		return 0;
	return size < SPOOL_HEAD - offset ? (size_t)size : (size_t)(SPOOL_HEAD - offset);
}

static void resized(struct spool_file *file, uint64_t size)
{
	if (size < SPOOL_HEAD)
		memset(file->head + size, 0, (size_t)(SPOOL_HEAD - size));
	file->size = size;
}

/* What is counted of it: what it takes, and what others that are under way may. */
static void settle(const struct spool_job *job)
{
	struct spool_file *file = job->file;
	uint64_t now;

	file->reserved -= job->reserved;
	now = job->taken + file->reserved;
	quota_adjust(file->user, QUOTA_BYTES, file->counted, now);
	file->counted = now;
}

/* What the file is by now. */
static void take_over(const struct spool_job *job)
{
	struct spool_file *file = job->file;

	settle(job);
	file->on_disk = job->on_disk;
	if (job->result < 0)
		return;
	switch (job->kind) {
	case SPOOL_WRITE:
		if (job->offset < SPOOL_HEAD)
			memcpy(file->head + job->offset, job->data,
				head_part(job->offset, (uint64_t)job->result));
		if (job->result > 0 && job->offset + (uint64_t)job->result > file->size)
			file->size = job->offset + (uint64_t)job->result;
		break;
	case SPOOL_RESIZE:
	case SPOOL_ALLOCATE:
		resized(file, job->size);
		break;
	case SPOOL_PUNCH:
		if (job->offset < SPOOL_HEAD)
			memset(file->head + job->offset, 0, head_part(job->offset, job->size));
		break;
	}
}

static void begin_next(struct spool_file *file);

static void job_done(struct work *work)
{
	struct spool_job *job = (struct spool_job *)work;
	struct spool_file *file = job->file;
	struct kept_data *kept = job->kept;

	STAILQ_REMOVE_HEAD(&file->queue, siblings);
	take_over(job);
	job->done(job);
	if (kept && file->spool->buffers)
		request_buffers_give_back(file->spool->buffers, kept);
	file->running = false;
	if (!STAILQ_EMPTY(&file->queue))
		begin_next(file);
	spool_file_job_done(file);
}

/* Can it be done without a look at the disk? */
static bool is_quick(const struct spool_job *job)
{
	const struct spool_file *file = job->file;
	uint64_t end = job->kind == SPOOL_WRITE ? job->offset + job->size : job->size;

	return !file->on_disk && (job->kind == SPOOL_PUNCH || end <= SPOOL_SMALL);
}

/* What its data is in is another's as soon as this returns. */
static bool keep_data(struct spool_job *job)
{
	struct request_buffers *buffers = job->file->spool->buffers;

	if (!buffers)
		return true;
	job->kept = request_buffers_keep(buffers, job->file->owner, job->data, (size_t)job->size);
	if (!job->kept)
		return false;
	job->data = job->kept->data;
	job->size = job->kept->size;
	return true;
}

/* What cannot end but with room made for it, which may take a while. */
static bool needs_worker(struct spool_job *job)
{
	if (!job->at_once || job->result != -ENOSPC || !keep_data(job))
		return false;
	job->at_once = false;
	job->result = -ECANCELED;
	nefs_error_clear(&job->err);
	return true;
}

static void begin_next(struct spool_file *file)
{
	struct spool_job *job = STAILQ_FIRST(&file->queue);
	struct workers *workers = file->spool->workers;

	file->running = true;
	job->on_disk = file->on_disk;
	/* Unless it is run. */
	job->taken = file->counted - file->reserved;
	job->result = -ECANCELED;
	job->work.run = run_job;
	job->work.done = job_done;
	job->work.what = "the spool's disk";
	job->work.owner = file->owner;
	job->work.lane = WORK_SPOOL;
	if (!workers || job->at_once || is_quick(job)) {
		run_job(&job->work);
		if (!needs_worker(job)) {
			job_done(&job->work);
			return;
		}
	}
	workers_submit(workers, &job->work);
}

/* It ends here. */
static void refuse(struct spool_job *job, int result)
{
	struct request_buffers *buffers = job->file->spool->buffers;
	struct kept_data *kept = job->kept;

	job->result = result;
	job->done(job);
	if (kept && buffers)
		request_buffers_give_back(buffers, kept);
}

static bool is_at_once(const struct spool_job *job)
{
	const struct spool_file *file = job->file;

	return !file->running && (is_quick(job) || spool_is_idle(file->spool));
}

static uint64_t round_up(uint64_t bytes)
{
	return (bytes + SPOOL_SMALL - 1) / SPOOL_SMALL * SPOOL_SMALL;
}

/*
 * What a write may take of the disk at most: all that it touches, as far as a file of that size is not counted
 * already. 0, or -EDQUOT if that is more than its user may have.
 */
static int reserve(struct spool_job *job)
{
	struct spool_file *file = job->file;
	uint64_t end = job->offset + job->size, begin = job->offset, all, most;
	int failed;

	if (!file->user || is_quick(job))
		return 0;
	/* One that moves to the disk brings its beginning along. */
	most = round_up(end) - begin / SPOOL_SMALL * SPOOL_SMALL;
	if (!file->on_disk && begin)
		most += SPOOL_SMALL;
	all = round_up(end > file->size ? end : file->size);
	if (file->counted >= all)
		return 0;
	if (most > all - file->counted)
		most = all - file->counted;
	failed = quota_charge(file->user, QUOTA_BYTES, most, &job->err);
	if (failed)
		return failed;
	job->reserved = most;
	file->reserved += most;
	file->counted += most;
	return 0;
}

static void submit(struct spool_job *job)
{
	struct spool_file *file = job->file;

	file->jobs++;
	STAILQ_INSERT_TAIL(&file->queue, job, siblings);
	if (!file->running)
		begin_next(file);
}

void spool_write(
	struct spool_job *job, struct spool_file *file, const char *data, size_t size, off_t offset)
{
	job->kind = SPOOL_WRITE;
	job->file = file;
	job->data = data;
	job->offset = (uint64_t)offset;
	job->size = size;
	if (offset < 0 || (uint64_t)offset > SPOOL_FILE_MAX ||
		size > SPOOL_FILE_MAX - (uint64_t)offset)
		refuse(job,
			nefs_error_set(&job->err, EFBIG,
				"a write of %zu bytes at %lld is beyond the largest size of a file "
				"here, 1 TiB",
				size, (long long)offset));
	else if (!(job->at_once = is_at_once(job)) && !keep_data(job))
		refuse(job, nefs_error_set(&job->err, ENOMEM,
				    "out of memory for a write of %zu bytes", size));
	else if (reserve(job))
		refuse(job, -job->err.code);
	else
		submit(job);
}

/* One that may make the file larger, up to so many bytes. */
static void begin_sized(
	struct spool_job *job, enum spool_job_kind kind, struct spool_file *file, uint64_t size)
{
	job->kind = kind;
	job->file = file;
	job->size = size;
	if (size > SPOOL_FILE_MAX)
		refuse(job, nefs_error_set(
				    &job->err, EFBIG, "the largest size of a file here is 1 TiB"));
	else
		submit(job);
}

void spool_resize(struct spool_job *job, struct spool_file *file, uint64_t size)
{
	begin_sized(job, SPOOL_RESIZE, file, size);
}

void spool_allocate(struct spool_job *job, struct spool_file *file, uint64_t size, bool keeps_size)
{
	job->keeps_size = keeps_size;
	begin_sized(job, SPOOL_ALLOCATE, file, size);
}

void spool_punch(struct spool_job *job, struct spool_file *file, uint64_t offset, uint64_t length)
{
	job->kind = SPOOL_PUNCH;
	job->file = file;
	job->offset = offset;
	job->size = length;
	submit(job);
}

int spool_fill(struct spool_file *file, const char *text, size_t size, struct nefs_error *err)
{
	ssize_t written;

	errno = E2BIG;
	written = size > SPOOL_SMALL ? -1 : pwrite(file->fd, text, size, 0);
	if (written < 0 || (size_t)written != size)
		return nefs_error_set(err, written < 0 ? errno : ENOSPC,
			"cannot write %zu bytes to a file in memory: %s", size,
			strerror(written < 0 ? errno : ENOSPC));
	memcpy(file->head, text, head_part(0, size));
	file->size = size;
	return 0;
}

ssize_t spool_contents(const struct spool_file *file, char *text, size_t size)
{
	int failed;

	if (file->running)
		return -EBUSY;
	if (file->on_disk)
		return -E2BIG;
	if (size > file->size)
		size = (size_t)file->size;
	failed = nefs_pread_all(file->fd, text, size, 0);
	return failed ? failed : (ssize_t)size;
}

/* ---- reads ---- */

struct spool_read {
	struct work work; /* first */
	fuse_req_t req;
	struct spool_file *file;
	size_t size;
	off_t offset;
	bool answered;
};

/* Any thread: it is libfuse's to answer in. */
static void reply(fuse_req_t req, const struct spool_file *file, size_t size, off_t offset)
{
	struct fuse_bufvec data = FUSE_BUFVEC_INIT(size);

	data.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	data.buf[0].fd = file->fd;
	data.buf[0].pos = offset;
	/* Not spliced: when that fails half-way libfuse answers nothing (docs/facts/memory.md). */
	fuse_reply_data(req, &data, FUSE_BUF_NO_SPLICE);
}

static void run_read(struct work *work)
{
	struct spool_read *read = (struct spool_read *)work;

	read->answered = true;
	reply(read->req, read->file, read->size, read->offset);
}

static void read_done(struct work *work)
{
	struct spool_read *read = (struct spool_read *)work;

	if (!read->answered)
		fuse_reply_err(read->req, ECANCELED);
	spool_file_job_done(read->file);
	free(read);
}

void spool_reply(fuse_req_t req, struct spool_file *file, size_t size, off_t offset)
{
	struct spool_read *read;

	if (offset < 0 || (uint64_t)offset >= file->size) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	if (size > file->size - (uint64_t)offset)
		size = (size_t)(file->size - (uint64_t)offset);
	if (!file->spool->workers ||
		(!file->running && (!file->on_disk || spool_is_idle(file->spool)))) {
		reply(req, file, size, offset);
		return;
	}
	read = malloc(sizeof(*read));
	if (!read) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*read = (struct spool_read){
		.work = { .run = run_read,
			.done = read_done,
			.what = "a read of the spool",
			.lane = WORK_SPOOL,
			.owner = file->owner },
		.req = req,
		.file = file,
		.size = size,
		.offset = offset,
	};
	file->jobs++;
	workers_submit(file->spool->workers, &read->work);
}
