/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "spool.h"
#include "claim.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <nefs/workers.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* From this size on it is a worker that closes a file: bytes. */
#define SPOOL_LARGE (1U << 20)

/* mkdir -p: the parents as usual, the last one private. */
static int make_directories(const char *path)
{
	NEFS_AUTO_FREE char *copy = strdup(path);
	size_t length = strlen(path);

	if (!copy)
		return -ENOMEM;
	if (!length)
		return -ENOENT;
	/* A slash at its end would make the last one a parent of nothing. */
	while (length > 1 && copy[length - 1] == '/')
		copy[--length] = '\0';
	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0755) && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return mkdir(copy, 0700) && errno != EEXIST ? -errno : 0;
}

/* Opens the directory, made if need be: its fd, or a negative errno. */
static int open_directory(const char *path, struct nefs_error *err)
{
	NEFS_AUTO_CLOSE int fd = -1;
	struct stat status;
	int failed = make_directories(path);

	/* Another daemon that ended removed the one above. */
	if (failed == -ENOENT)
		failed = make_directories(path);
	if (!failed) {
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 || fstat(fd, &status))
			failed = -errno;
	}
	if (failed)
		return nefs_error_set(err, -failed,
			"cannot use the spool directory %s: %s; choose another with -o spool=DIR",
			path, strerror(-failed));
	if (status.st_uid != geteuid() || status.st_mode & 077)
		return nefs_error_set(err, EPERM,
			"the spool directory %s must belong to the user that runs nefs and be private "
			"(mode 0700), it has mode %04o: images are secret until they run",
			path, (unsigned int)status.st_mode & 07777);
	return nefs_take_fd(&fd);
}

/* Is the directory still the one that the path leads to? */
static bool is_named(int directory, const char *path)
{
	struct stat named, opened;

	return !fstat(directory, &opened) && !stat(path, &named) && named.st_dev == opened.st_dev &&
	       named.st_ino == opened.st_ino;
}

/* A file without a name: its fd, or a negative errno. */
static int open_nameless(const struct spool *spool, struct nefs_error *err)
{
	static const char name[] = ".nameless";
	int fd = openat(spool->directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
		/*
		 * A filesystem that can make none: this name is gone before the next is made. One that is
		 * there is of a daemon that died in between.
		 */
		unlinkat(spool->directory, name, 0);
		fd = openat(spool->directory, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
		if (fd >= 0)
			unlinkat(spool->directory, name, 0);
	}
	return fd < 0 ? nefs_error_set(err, errno, "cannot make a file in the spool directory: %s",
				strerror(errno))
		      : fd;
}

/* What can be known at the mount is not found at the first image. */
static int try_directory(const struct spool *spool, const char *path, struct nefs_error *err)
{
	NEFS_AUTO_CLOSE int fd = open_nameless(spool, NULL);

	int failed = fd < 0 ? -fd : 0;

	if (!failed && pwrite(fd, "", 1, 0) != 1)
		failed = errno;
	return failed ? nefs_error_set(err, failed,
				"the spool directory %s cannot be written: %s; choose another with "
				"-o spool=DIR",
				path, strerror(failed))
		      : 0;
}

int spool_open(
	struct spool *spool, const char *path, struct workers *workers, struct nefs_error *err)
{
	NEFS_AUTO_CLOSE int fd = -1;
	int failed = 0;

	spool->directory = -1;
	spool->workers = workers;
	LIST_INIT(&spool->closing);
	/* One that ended between the opening and the lock may have removed it. */
	do {
		if (fd >= 0)
			close(fd);
		fd = open_directory(path, err);
		if (fd < 0)
			return fd;
		failed = claim_directory(fd, path, err);
	} while (!failed && !is_named(fd, path));
	if (failed)
		return failed;
	spool->directory = fd;
	failed = try_directory(spool, path, err);
	if (failed)
		spool->directory = -1;
	else
		nefs_take_fd(&fd);
	return failed;
}

void spool_give_up(struct spool *spool, const char *remove)
{
	NEFS_AUTO_FREE char *parent = remove ? strdup(remove) : NULL;

	if (spool->directory < 0)
		return;
	/* Not if another daemon has got it meanwhile; and either fails if it is not empty. */
	if (parent && claim_again(spool->directory) && !rmdir(parent) && strrchr(parent, '/')) {
		*strrchr(parent, '/') = '\0';
		rmdir(parent);
	}
	claim_release(spool->directory);
}

void spool_close(struct spool *spool)
{
	if (spool->directory >= 0)
		close(spool->directory);
	spool->directory = -1;
}

int spool_file_new(struct spool *spool, struct spool_file **result, struct nefs_error *err)
{
	NEFS_AUTO_FREE struct spool_file *file = calloc(1, sizeof(*file));

	if (!file)
		return nefs_error_set(err, ENOMEM, "out of memory for a staged file");
	file->spool = spool;
	file->refs = 1;
	file->fd = open_nameless(spool, err);
	if (file->fd < 0)
		return file->fd;
	*result = nefs_take_ptr(file);
	return 0;
}

/* A file's last fd on its way to a worker. */
struct closing {
	struct work work;	      /* first */
	LIST_ENTRY(closing) siblings; /* in spool->closing */
	pthread_mutex_t lock;	      /* everything below; held while it is closed */
	int fd;			      /* -1: closed */
};

static void run_closing(struct work *work)
{
	struct closing *closing = (struct closing *)work;

	pthread_mutex_lock(&closing->lock);
	if (closing->fd >= 0) {
		/* One that was abandoned is still open elsewhere. */
		if (ftruncate(closing->fd, 0)) {
			/* Then it goes with its last fd. */
		}
		close(closing->fd);
	}
	closing->fd = -1;
	pthread_mutex_unlock(&closing->lock);
}

static void closing_done(struct work *work)
{
	struct closing *closing = (struct closing *)work;

	LIST_REMOVE(closing, siblings);
	pthread_mutex_destroy(&closing->lock);
	free(closing);
}

/* Closes what no worker has come to, and waits for what one is at. False: there was nothing. */
static bool close_now(const struct spool *spool)
{
	struct closing *closing;

	LIST_FOREACH(closing, &spool->closing, siblings)
	run_closing(&closing->work);
	return !LIST_EMPTY(&spool->closing);
}

/* Closes the last fd of a file that holds so many bytes. */
static void give_back(struct spool *spool, int fd, uint64_t size)
{
	struct closing *closing = NULL;

	if (spool->workers && size >= SPOOL_LARGE)
		closing = malloc(sizeof(*closing));
	if (!closing) {
		close(fd);
		return;
	}
	*closing = (struct closing){
		.work = { .run = run_closing,
			.done = closing_done,
			.what = "giving an image back",
			.lane = WORK_RELEASE },
		.fd = fd,
	};
	pthread_mutex_init(&closing->lock, NULL);
	LIST_INSERT_HEAD(&spool->closing, closing, siblings);
	workers_submit(spool->workers, &closing->work);
}

void spool_file_ref(struct spool_file *file)
{
	file->refs++;
}

void spool_file_unref(struct spool_file *file)
{
	if (!file || --file->refs)
		return;
	give_back(file->spool, file->fd, file->size);
	free(file);
}

void spool_file_abandon(struct spool_file *file)
{
	int fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);

	/* Without another fd it goes with the last reference. */
	if (fd >= 0 && file->size >= SPOOL_LARGE)
		give_back(file->spool, fd, file->size);
	else if (fd >= 0)
		close(fd);
}

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

ssize_t spool_write(struct spool_file *file, const char *data, size_t size, off_t offset,
	struct nefs_error *err)
{
	ssize_t written;

	if (offset < 0 || (uint64_t)offset > SPOOL_FILE_MAX ||
		size > SPOOL_FILE_MAX - (uint64_t)offset)
		return nefs_error_set(err, EFBIG,
			"a write of %zu bytes at %lld is beyond the largest "
			"size of a file here, 1 TiB",
			size, (long long)offset);
	written = pwrite(file->fd, data, size, offset);
	if (written < 0 && errno == ENOSPC && close_now(file->spool))
		written = pwrite(file->fd, data, size, offset);
	if (written < 0 && errno == EFBIG)
		return too_large(err, (uint64_t)offset + size);
	if (written < 0)
		return nefs_error_set(err, errno,
			"writing %zu bytes at %lld to the spool directory "
			"failed: %s; make room there, or choose another with -o spool=DIR",
			size, (long long)offset, strerror(errno));
	if ((uint64_t)offset + (uint64_t)written > file->size)
		file->size = (uint64_t)offset + (uint64_t)written;
	return written;
}

ssize_t spool_read(const struct spool_file *file, char *data, size_t size, off_t offset)
{
	ssize_t got = pread(file->fd, data, size, offset);

	return got < 0 ? -errno : got;
}

int spool_truncate(struct spool_file *file, uint64_t size, struct nefs_error *err)
{
	int fd = -1;

	if (size > SPOOL_FILE_MAX)
		return nefs_error_set(err, EFBIG, "the largest size of a file here is 1 TiB");
	/* As for the last reference: another takes its place, if there can be one. */
	if (size == 0 && file->size >= SPOOL_LARGE)
		fd = open_nameless(file->spool, NULL);
	if (fd >= 0) {
		give_back(file->spool, file->fd, file->size);
		file->fd = fd;
		file->size = 0;
		return 0;
	}
	if (ftruncate(file->fd, (off_t)size)) {
		if (errno == EFBIG)
			return too_large(err, size);
		return nefs_error_set(err, errno, "cannot resize the file: %s", strerror(errno));
	}
	file->size = size;
	return 0;
}

int spool_punch(struct spool_file *file, uint64_t offset, uint64_t length)
{
	if (offset >= file->size)
		return 0;
	if (length > file->size - offset)
		length = file->size - offset;
	return fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		       (off_t)length)
		       ? -errno
		       : 0;
}

int spool_check_room(const struct spool *spool, uint64_t bytes)
{
	struct statvfs status;

	if (fstatvfs(spool->directory, &status))
		return -errno;
	return bytes / status.f_frsize >= status.f_bavail ? -ENOSPC : 0;
}

void spool_reply(fuse_req_t req, const struct spool_file *file, size_t size, off_t offset)
{
	struct fuse_bufvec data = FUSE_BUFVEC_INIT(size);

	data.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	data.buf[0].fd = file->fd;
	data.buf[0].pos = offset;
	fuse_reply_data(req, &data, FUSE_BUF_SPLICE_MOVE);
}
