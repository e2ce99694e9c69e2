/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "spool.h"
#include "claim.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <nefs/cleanup.h>
#include <nefs/clock.h>
#include <nefs/paced_read.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* How long STATFS waits for the disk: microseconds. */
#define ROOM_USEC 1000000

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

/*
 * On a filesystem that can make none without a name: this one is gone before the next is made. One that is there is
 * of a daemon that died in between.
 */
static int open_named(struct spool *spool)
{
	static const char name[] = ".nameless";
	int fd;

	pthread_mutex_lock(&spool->naming);
	unlinkat(spool->directory, name, 0);
	fd = openat(spool->directory, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		unlinkat(spool->directory, name, 0);
	pthread_mutex_unlock(&spool->naming);
	return fd;
}

int spool_nameless(struct spool *spool, struct nefs_error *err)
{
	int fd = openat(spool->directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		fd = open_named(spool);
	return fd < 0 ? nefs_error_set(err, errno, "cannot make a file in the spool directory: %s",
				strerror(errno))
		      : fd;
}

/* What can be known at the mount is not found at the first image. */
static int try_directory(struct spool *spool, const char *path, struct nefs_error *err)
{
	NEFS_AUTO_CLOSE int fd = spool_nameless(spool, NULL);
	int failed = fd < 0 ? -fd : 0;

	if (!failed &&
		(pwrite(fd, "", 1, 0) != 1 || fstatvfs(spool->directory, &spool->room.known)))
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
	LIST_INIT(&spool->room.waiting);
	LIST_INIT(&spool->closing);
	pthread_mutex_init(&spool->naming, NULL);
	pthread_mutex_init(&spool->lock, NULL);
	pthread_cond_init(&spool->closed, NULL);
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
	spool->in_memory = !failed && nefs_is_in_memory(spool->directory);
	return failed;
}

bool spool_is_idle(const struct spool *spool)
{
	struct pollfd requests = { .fd = spool->requests, .events = POLLIN };

	return spool->in_memory && spool->requests > 0 && poll(&requests, 1, 0) == 0;
}

/* ---- room ---- */

int spool_check_room(const struct spool *spool, uint64_t bytes)
{
	struct statvfs status;

	if (fstatvfs(spool->directory, &status))
		return -errno;
	return bytes / status.f_frsize >= status.f_bavail ? -ENOSPC : 0;
}

static void run_room(struct work *work)
{
	struct spool_room *room = (struct spool_room *)work;

	room->failed = fstatvfs(room->directory, &room->found) ? errno : 0;
}

static void answer_room(struct parked *parked, int result)
{
	const struct spool_room *room = parked->context;
	struct statvfs status = room->known;

	status.f_namemax = NAME_MAX;
	if (result)
		fuse_reply_err(parked->req, -result);
	else
		fuse_reply_statfs(parked->req, &status);
}

/* By what is known. */
static void end_wait(struct spool_room *room, int error)
{
	parked_drop(&room->waiting, NULL, error);
	if (room->timer)
		sd_event_source_set_enabled(room->timer, SD_EVENT_OFF);
}

static void room_done(struct work *work)
{
	struct spool_room *room = (struct spool_room *)work;

	room->asked = false;
	if (!room->failed)
		room->known = room->found;
	end_wait(room, room->failed);
}

static int on_room_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	end_wait(userdata, 0);
	return 0;
}

/* Those who wait are answered in time: 0 or a negative errno. */
static int bound_wait(struct spool *spool)
{
	struct spool_room *room = &spool->room;
	uint64_t until = nefs_now_usec() + ROOM_USEC;
	int failed;

	if (room->timer) {
		sd_event_source_set_time(room->timer, until);
		return sd_event_source_set_enabled(room->timer, SD_EVENT_ONESHOT);
	}
	failed = spool->event ? sd_event_add_time(spool->event, &room->timer, CLOCK_MONOTONIC,
					until, 0, on_room_timer, room)
			      : -ENODEV;
	if (failed >= 0)
		sd_event_source_set_description(room->timer, "room of the spool");
	return failed;
}

void spool_answer_statfs(fuse_req_t req, struct spool *spool)
{
	struct spool_room *room = &spool->room;
	struct parked *parked;
	bool first = LIST_EMPTY(&room->waiting);

	parked = parked_add(&room->waiting, req);
	if (!parked)
		return;
	parked->context = room;
	parked->answer = answer_room;
	if (!room->asked) {
		room->asked = true;
		room->directory = spool->directory;
		room->work = (struct work){ .run = run_room,
			.done = room_done,
			.what = "a look at the spool's room",
			.lane = WORK_SPOOL };
		if (!spool->workers) {
			run_room(&room->work);
			room_done(&room->work);
			return;
		}
		workers_submit(spool->workers, &room->work);
	}
	if (first && bound_wait(spool) < 0)
		end_wait(room, 0);
}

/* ---- the end ---- */

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
	spool->room.timer = sd_event_source_disable_unref(spool->room.timer);
}
