/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "spool.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* mkdir -p: the parents as usual, the last one private. */
static int make_directories(const char *path)
{
	NEFS_AUTO_FREE char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0755) && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return mkdir(copy, 0700) && errno != EEXIST ? -errno : 0;
}

int spool_open(const char *path, struct nefs_error *err)
{
	NEFS_AUTO_CLOSE int fd = -1;
	struct stat status;
	int failed = make_directories(path);

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

struct spool_file *spool_file_new(int spool, struct nefs_error *err)
{
	struct spool_file *file = calloc(1, sizeof(*file));
	char name[32];

	if (!file) {
		nefs_error_set(err, ENOMEM, "out of memory for a staged file");
		return NULL;
	}
	file->refs = 1;
	file->fd = openat(spool, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (file->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
		/* A filesystem without nameless files. */
		snprintf(name, sizeof(name), ".%p", (void *)file);
		file->fd = openat(spool, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
		if (file->fd >= 0)
			unlinkat(spool, name, 0);
	}
	if (file->fd < 0) {
		nefs_error_set(err, errno, "cannot make a file in the spool directory: %s",
			strerror(errno));
		free(file);
		return NULL;
	}
	return file;
}

void spool_file_ref(struct spool_file *file)
{
	file->refs++;
}

void spool_file_unref(struct spool_file *file)
{
	if (!file || --file->refs)
		return;
	close(file->fd);
	free(file);
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
	if (size > SPOOL_FILE_MAX)
		return nefs_error_set(err, EFBIG, "the largest size of a file here is 1 TiB");
	if (ftruncate(file->fd, (off_t)size))
		return nefs_error_set(err, errno, "cannot resize the file: %s", strerror(errno));
	file->size = size;
	return 0;
}
