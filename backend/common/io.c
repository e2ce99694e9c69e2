/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <nefs/io.h>
#include <unistd.h>

int nefs_pread_all(int fd, void *data, size_t size, uint64_t offset)
{
	char *at = data;

	while (size > 0) {
		ssize_t got = pread(fd, at, size, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -ENODATA;
		at += got;
		size -= (size_t)got;
		offset += (uint64_t)got;
	}
	return 0;
}

int nefs_pwrite_all(int fd, const void *data, size_t size, uint64_t offset)
{
	const char *at = data;

	while (size > 0) {
		ssize_t done = pwrite(fd, at, size, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		at += done;
		size -= (size_t)done;
		offset += (uint64_t)done;
	}
	return 0;
}

int nefs_write_all(int fd, const void *data, size_t size)
{
	const char *at = data;

	while (size > 0) {
		ssize_t done = write(fd, at, size);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		at += done;
		size -= (size_t)done;
	}
	return 0;
}
