/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <nefs/number.h>
#include <string.h>
#include <unistd.h>

int sysfs_read_text(int dir, const char *path, char *text, size_t size)
{
	NEFS_AUTO_CLOSE int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return -errno;
	got = read(fd, text, size - 1);
	if (got < 0)
		return -errno;
	text[got] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

int sysfs_read_number(int dir, const char *path, uint64_t *number)
{
	char text[32];
	int failed = sysfs_read_text(dir, path, text, sizeof(text));

	if (failed < 0)
		return failed;
	return nefs_number_parse(text, SIZE_MAX, NUMBER_DECIMAL, 0, UINT64_MAX, number);
}
