/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "interrupts.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/bell.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A write to anything else could block or do harm. Without /proc there is nothing to go by. */
static bool is_eventfd(int fd)
{
	static const char wanted[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(wanted)];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = readlink(path, target, sizeof(target));
	if (length < 0)
		return errno == ENOENT && fcntl(fd, F_GETFD) >= 0;
	return length == sizeof(wanted) - 1 && memcmp(target, wanted, sizeof(wanted) - 1) == 0;
}

void interrupts_init(struct interrupts *interrupts)
{
	pthread_mutex_init(&interrupts->lock, NULL);
	for (unsigned int i = 0; i < NE_PCI_VECTORS; i++)
		interrupts->eventfds[i] = -1;
}

int interrupts_assign(struct interrupts *interrupts, unsigned int vector, int eventfd)
{
	int old;

	if (eventfd >= 0) {
		if (!is_eventfd(eventfd) ||
			fcntl(eventfd, F_SETFL, fcntl(eventfd, F_GETFL) | O_NONBLOCK))
			return -EINVAL;
	}
	pthread_mutex_lock(&interrupts->lock);
	old = interrupts->eventfds[vector];
	interrupts->eventfds[vector] = eventfd;
	pthread_mutex_unlock(&interrupts->lock);
	if (old >= 0)
		close(old);
	return 0;
}

void interrupts_clear(struct interrupts *interrupts)
{
	for (unsigned int i = 0; i < NE_PCI_VECTORS; i++)
		interrupts_assign(interrupts, i, -1);
}

void interrupts_raise(struct interrupts *interrupts, unsigned int vector)
{
	struct pollfd room = { .events = POLLOUT };

	pthread_mutex_lock(&interrupts->lock);
	/*
	 * A counter that is full has been signalled: nobody waits for the client. O_NONBLOCK alone
	 * would not do, as the client can take it away again.
	 */
	room.fd = interrupts->eventfds[vector];
	if (room.fd >= 0 && poll(&room, 1, 0) == 1 && (room.revents & POLLOUT))
		nefs_bell_ring(room.fd);
	pthread_mutex_unlock(&interrupts->lock);
}

void interrupts_destroy(struct interrupts *interrupts)
{
	interrupts_clear(interrupts);
	pthread_mutex_destroy(&interrupts->lock);
}
