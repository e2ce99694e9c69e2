/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "notifier.h"
#include "control.h"
#include "enclave.h"
#include "fs.h"
#include "own_mount.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <nefs/cleanup.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* More changes than this waiting means that nobody can be reading them: the oldest are dropped. */
#define TOUCHES_MAX 65536

struct touch {
	STAILQ_ENTRY(touch) siblings;
	char path[]; /* relative to the mount */
};

struct notifier {
	char *mountpoint;
	struct own_mount own; /* the thread's, once it runs */
	int more;	      /* an eventfd: the queue is longer, or it is time to close */
	pthread_t thread;
	pthread_mutex_t lock; /* everything below */
	STAILQ_HEAD(, touch) queue;
	unsigned int queued;
	bool closing;
};

static void touch_file(const struct notifier *notifier, const struct touch *touch)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_NOW } };
	char path[PATH_MAX];
	int length;

	/* A failure means that the enclave was removed or renamed meanwhile, or the mount is gone. */
	if (notifier->own.root >= 0) {
		utimensat(notifier->own.root, touch->path, times, AT_SYMLINK_NOFOLLOW);
		return;
	}
	length = snprintf(path, sizeof(path), "%s/%s", notifier->mountpoint, touch->path);
	if (length > 0 && (size_t)length < sizeof(path))
		utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

/* The next of the queue, or NULL: there is none, or nobody wants it any more. */
static struct touch *next_touch(struct notifier *notifier, bool *closing)
{
	struct touch *touch;

	pthread_mutex_lock(&notifier->lock);
	*closing = notifier->closing;
	touch = *closing ? NULL : STAILQ_FIRST(&notifier->queue);
	if (touch) {
		STAILQ_REMOVE_HEAD(&notifier->queue, siblings);
		notifier->queued--;
	}
	pthread_mutex_unlock(&notifier->lock);
	return touch;
}

/* Waits, if there is nothing to do, for more; gives the mount back once it has been unmounted. */
static void look_around(struct notifier *notifier, bool idle)
{
	struct pollfd fds[] = {
		{ .fd = notifier->more, .events = POLLIN },
		{ .fd = notifier->own.changes, .events = POLLPRI },
	};
	uint64_t count;

	if (poll(fds, sizeof(fds) / sizeof(fds[0]), idle ? -1 : 0) <= 0)
		return;
	if (fds[0].revents && read(notifier->more, &count, sizeof(count)) < 0) {
		/* Somebody's wake-up was taken already. */
	}
	if (fds[1].revents && !own_mount_lasts(&notifier->own))
		own_mount_close(&notifier->own);
}

static void *notifier_main(void *argument)
{
	struct notifier *notifier = argument;
	bool closing = false;

	while (!closing) {
		struct touch *touch = next_touch(notifier, &closing);

		if (touch)
			touch_file(notifier, touch);
		if (!closing)
			look_around(notifier, !touch);
		free(touch);
	}
	own_mount_close(&notifier->own);
	return NULL;
}

static void wake(const struct notifier *notifier)
{
	if (eventfd_write(notifier->more, 1)) {
		/* The counter is full: the thread has been woken often enough. */
	}
}

int notifier_new(const char *mountpoint, struct notifier **result, struct nefs_error *err)
{
	NEFS_AUTO_FREE struct notifier *notifier = calloc(1, sizeof(*notifier));
	sigset_t all, before;
	int failed;

	if (notifier)
		notifier->mountpoint = strdup(mountpoint);
	if (!notifier || !notifier->mountpoint)
		return nefs_error_set(err, ENOMEM, "out of memory for the notifier");
	notifier->more = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (notifier->more < 0) {
		failed = errno;
		free(notifier->mountpoint);
		return nefs_error_set(
			err, failed, "cannot make the notifier's eventfd: %s", strerror(failed));
	}
	STAILQ_INIT(&notifier->queue);
	pthread_mutex_init(&notifier->lock, NULL);
	/* Without it, paths do, too, but for an umount in the very moment of a change. */
	own_mount_open(&notifier->own, mountpoint);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&notifier->thread, NULL, notifier_main, notifier);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed) {
		own_mount_close(&notifier->own);
		close(notifier->more);
		free(notifier->mountpoint);
		return nefs_error_set(
			err, failed, "cannot start the notifier thread: %s", strerror(failed));
	}
	*result = nefs_take_ptr(notifier);
	return 0;
}

void notifier_touch(struct node *node)
{
	struct notifier *notifier = node->directory->fs->notifier;
	const char *directory =
		enclave_is(node->directory) ? enclave_of(node->directory)->name : "";
	size_t length = strlen(directory) + 1 + strlen(node->control->name) + 1;
	struct touch *touch, *oldest = NULL;

	if (!notifier || node->directory->removed || node->hidden)
		return;
	touch = malloc(sizeof(*touch) + length);
	if (!touch)
		return;
	snprintf(touch->path, length, "%s%s%s", directory, *directory ? "/" : "",
		node->control->name);
	pthread_mutex_lock(&notifier->lock);
	STAILQ_INSERT_TAIL(&notifier->queue, touch, siblings);
	if (++notifier->queued > TOUCHES_MAX) {
		oldest = STAILQ_FIRST(&notifier->queue);
		STAILQ_REMOVE_HEAD(&notifier->queue, siblings);
		notifier->queued--;
	}
	pthread_mutex_unlock(&notifier->lock);
	wake(notifier);
	free(oldest);
}

void notifier_forget(struct notifier *notifier, const char *enclave)
{
	size_t length = strlen(enclave);
	STAILQ_HEAD(, touch) kept = STAILQ_HEAD_INITIALIZER(kept);
	struct touch *touch;

	if (!notifier)
		return;
	pthread_mutex_lock(&notifier->lock);
	while ((touch = STAILQ_FIRST(&notifier->queue))) {
		STAILQ_REMOVE_HEAD(&notifier->queue, siblings);
		if (strncmp(touch->path, enclave, length) == 0 && touch->path[length] == '/') {
			notifier->queued--;
			free(touch);
		} else {
			STAILQ_INSERT_TAIL(&kept, touch, siblings);
		}
	}
	STAILQ_CONCAT(&notifier->queue, &kept);
	pthread_mutex_unlock(&notifier->lock);
}

void notifier_free(struct notifier *notifier)
{
	struct touch *touch;

	if (!notifier)
		return;
	pthread_mutex_lock(&notifier->lock);
	notifier->closing = true;
	pthread_mutex_unlock(&notifier->lock);
	wake(notifier);
	pthread_join(notifier->thread, NULL);
	while ((touch = STAILQ_FIRST(&notifier->queue))) {
		STAILQ_REMOVE_HEAD(&notifier->queue, siblings);
		free(touch);
	}
	close(notifier->more);
	pthread_mutex_destroy(&notifier->lock);
	free(notifier->mountpoint);
	free(notifier);
}
