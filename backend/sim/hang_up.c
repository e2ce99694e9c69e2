/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hang_up.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * The read end of a FIFO that has no name any more. It is quiet while nobody has opened it for
 * writing since, and hung up once somebody who had has gone (pipe(2)'s read end, opened again
 * through /proc, does not keep quiet: only of a FIFO does Linux note whether there was a writer).
 */
static int new_fifo(void)
{
	char directory[] = "/dev/shm/nefs-XXXXXX", path[sizeof(directory) + sizeof("/fifo")];
	int fd;

	/* A directory of its own, so that nobody else can put something in its place. */
	if (!mkdtemp(directory))
		return -errno;
	snprintf(path, sizeof(path), "%s/fifo", directory);
	fd = mkfifo(path, 0600) ? -1 : open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	unlink(path);
	rmdir(directory);
	return fd;
}

/* A socket connected to nothing. */
static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

int hang_up_new(bool exact)
{
	int fd = exact ? new_fifo() : -1;

	return fd < 0 ? new_socket() : fd;
}

int hang_up(int fd)
{
	char path[sizeof("/proc/self/fd/") + 3 * sizeof(fd)];
	int writer;

	if (shutdown(fd, SHUT_RDWR) == 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	writer = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (writer < 0)
		return -errno;
	close(writer);
	return 0;
}

static int events_of(int fd)
{
	struct pollfd watched = { .fd = fd, .events = POLLIN | POLLOUT | POLLPRI | POLLRDHUP };

	return poll(&watched, 1, 0) < 0 ? -errno : watched.revents;
}

bool hang_up_is_exact(void)
{
	NEFS_AUTO_CLOSE int fd = new_fifo();

	return fd >= 0 && events_of(fd) == 0 && hang_up(fd) == 0 && events_of(fd) == POLLHUP;
}
