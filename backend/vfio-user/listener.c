/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "listener.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG 16

static int new_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* Makes way: 0 if the path is free now. */
static int replace_stale(
	const char *path, const struct sockaddr_un *address, struct nefs_error *err)
{
	NEFS_AUTO_CLOSE int probe = -1;
	struct stat there;

	if (lstat(path, &there))
		return 0;
	if (!S_ISSOCK(there.st_mode))
		return nefs_error_set(err, EEXIST,
			"%s exists and is no socket: give another path, or remove it", path);
	probe = new_socket();
	if (probe < 0)
		return nefs_error_set(err, errno, "cannot make a socket: %s", strerror(errno));
	/* EAGAIN: it listens, and its backlog is full. */
	if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
		errno != ECONNREFUSED)
		return nefs_error_set(err, EADDRINUSE,
			"somebody listens on %s: end that server first, or give another path",
			path);
	return unlink(path) && errno != ENOENT ? nefs_error_set(err, errno,
							 "cannot replace %s, which nobody listens "
							 "on any more: %s",
							 path, strerror(errno))
					       : 0;
}

static int bind_to(const char *path, struct nefs_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	NEFS_AUTO_CLOSE int fd = -1;
	mode_t mask;
	int failed;

	if (strlen(path) >= sizeof(address.sun_path))
		return nefs_error_set(err, ENAMETOOLONG,
			"the path of a socket has at most %zu characters, and %s has %zu",
			sizeof(address.sun_path) - 1, path, strlen(path));
	strcpy(address.sun_path, path);
	failed = replace_stale(path, &address, err);
	if (failed)
		return failed;
	fd = new_socket();
	mask = umask(0177);
	failed = fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) ? errno : 0;
	umask(mask);
	if (!failed && listen(fd, BACKLOG))
		failed = errno;
	if (failed)
		return nefs_error_set(
			err, failed, "cannot make the socket %s: %s", path, strerror(failed));
	return nefs_take_fd(&fd);
}

static int open_spare(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int listener_open(struct listener *listener, const char *path, struct nefs_error *err)
{
	int fd = bind_to(path, err);

	*listener = LISTENER_NONE;
	if (fd < 0)
		return fd;
	listener->fd = fd;
	listener->spare = open_spare();
	return 0;
}

int listener_accept(struct listener *listener)
{
	int peer = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (peer >= 0 || (errno != EMFILE && errno != ENFILE) || listener->spare < 0)
		return peer;
	close(listener->spare);
	peer = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (peer >= 0)
		close(peer);
	listener->spare = open_spare();
	return -1;
}

void listener_close(struct listener *listener)
{
	if (listener->fd >= 0)
		close(listener->fd);
	if (listener->spare >= 0)
		close(listener->spare);
	*listener = LISTENER_NONE;
}
