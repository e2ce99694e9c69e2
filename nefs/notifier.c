/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "notifier.h"
#include "control.h"
#include "enclave.h"
#include "fs.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <nefs/cleanup.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More changes than this waiting means that nobody can be reading them: the oldest are dropped. */
#define TOUCHES_MAX 65536

struct touch {
	STAILQ_ENTRY(touch) siblings;
	char path[]; /* relative to the mount */
};

struct notifier {
	char *mountpoint;
	pthread_t thread;
	pthread_mutex_t lock; /* everything below */
	pthread_cond_t more;
	STAILQ_HEAD(, touch) queue;
	unsigned int queued;
	bool closing;
};

static void touch_file(const struct notifier *notifier, const struct touch *touch)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_NOW } };
	char path[PATH_MAX];
	int length;

	length = snprintf(path, sizeof(path), "%s/%s", notifier->mountpoint, touch->path);
	/* A failure means that the enclave was removed or renamed meanwhile, or the mount is gone. */
	if (length > 0 && (size_t)length < sizeof(path))
		utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

static void *notifier_main(void *argument)
{
	struct notifier *notifier = argument;

	pthread_mutex_lock(&notifier->lock);
	while (!notifier->closing) {
		struct touch *touch = STAILQ_FIRST(&notifier->queue);

		if (!touch) {
			pthread_cond_wait(&notifier->more, &notifier->lock);
			continue;
		}
		STAILQ_REMOVE_HEAD(&notifier->queue, siblings);
		notifier->queued--;
		pthread_mutex_unlock(&notifier->lock);
		touch_file(notifier, touch);
		free(touch);
		pthread_mutex_lock(&notifier->lock);
	}
	pthread_mutex_unlock(&notifier->lock);
	return NULL;
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
	STAILQ_INIT(&notifier->queue);
	pthread_mutex_init(&notifier->lock, NULL);
	pthread_cond_init(&notifier->more, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&notifier->thread, NULL, notifier_main, notifier);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed) {
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
	pthread_cond_signal(&notifier->more);
	pthread_mutex_unlock(&notifier->lock);
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
	pthread_cond_signal(&notifier->more);
	pthread_mutex_unlock(&notifier->lock);
	pthread_join(notifier->thread, NULL);
	while ((touch = STAILQ_FIRST(&notifier->queue))) {
		STAILQ_REMOVE_HEAD(&notifier->queue, siblings);
		free(touch);
	}
	pthread_cond_destroy(&notifier->more);
	pthread_mutex_destroy(&notifier->lock);
	free(notifier->mountpoint);
	free(notifier);
}
