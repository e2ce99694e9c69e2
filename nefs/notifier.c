/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "notifier.h"
#include "own_mount.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <nefs/bell.h>
#include <nefs/cleanup.h>
#include <nefs/clock.h>
#include <nefs/log.h>
#include <nefs/shortage.h>
#include <nefs/thread.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

/* More changes than this waiting means that nobody can be reading them: the oldest are dropped. */
#define ERRANDS_MAX 65536

/* Where memory is short: half a second, and whoever watches hears of it later. */
#define TRIES_MAX    50
#define TRY_AGAIN_MS 10

/* Errands that were allocated at once, for when there is no memory; each has room for any path in the mount. */
#define SPARES	   64
#define SPARE_TEXT 1024

/* Between two rounds of touching what changes all the time. */
#define SOON_USEC 20000

/* What the thread is to do. */
struct errand {
	STAILQ_ENTRY(errand) siblings;
	struct fuse_session *session; /* drop pages, or bury a name; NULL: touch a file */
	fuse_ino_t ino;		      /* the file, or the directory that the name is in */
	bool look;		      /* stat(2) the file */
	bool rotated;		      /* repeat a rotation of the file */
	bool spare;		      /* it goes back to the others */
	uint64_t number;	      /* of those to touch soon */
	char text[]; /* the name ("": drop pages), or the file's path relative to the mount */
};

STAILQ_HEAD(errand_queue, errand);

struct notifier {
	char *mountpoint;
	struct log *log;
	bool told;		       /* the thread's: that touching fails */
	struct own_mount own;	       /* the thread's, once it runs */
	int more;		       /* rung: the queue is longer, or it is time to close */
	int ended;		       /* rung: the thread will do nothing any more */
	atomic_int repeating;	       /* the thread's id while it repeats a rotation; else 0 */
	atomic_uint_fast64_t begun;    /* the newest errand that is not in the queue any more */
	uint64_t numbers;	       /* the loop's: given to errands */
	struct nefs_shortage shortage; /* the loop's */
	struct errand *spare_memory;
	pthread_t thread;
	pthread_mutex_t lock; /* everything below */
	struct errand_queue spares;
	struct errand_queue queue;
	struct errand_queue soon;     /* touches that may wait until soon_usec */
	const struct errand *running; /* the thread's present one; or NULL */
	struct errand *again;	      /* the same by the path that it has since then; or NULL */
	uint64_t soon_usec;	      /* CLOCK_MONOTONIC */
	unsigned int queued;	      /* in both */
	bool closing;
};

/*
 * Most failures mean that the file was removed or renamed meanwhile, or that the mount is gone. Others are
 * told once: whoever watches by inotify would wait in vain.
 */
static void tell_failure(struct notifier *notifier, const char *file)
{
	if (notifier->told || errno == ENOENT || errno == ENODEV || errno == ENOTCONN ||
		errno == ECONNABORTED || errno == ESTALE)
		return;
	notifier->told = true;
	log_line(notifier->log, LOG_WARNING,
		"nefs: cannot touch %s, so watchers by inotify(7) hear nothing of it: %s", file,
		strerror(errno));
}

/*
 * Where a file is: a path, and what it is relative to. buffer is for a path that has to be made. False: it
 * would be too long, or would lead to files that are not ours: the mount was taken down, and who had one of
 * its files open still has it.
 */
static bool locate(const struct notifier *notifier, const char *file, char buffer[PATH_MAX],
	int *directory, const char **path)
{
	int length;

	if (notifier->own.over)
		return false;
	*directory = notifier->own.root >= 0 ? notifier->own.root : AT_FDCWD;
	*path = file;
	if (notifier->own.root >= 0)
		return true;
	*path = buffer;
	length = snprintf(buffer, PATH_MAX, "%s/%s", notifier->mountpoint, file);
	return length > 0 && length < PATH_MAX;
}

/* Is it only memory that was short, nefs's or the kernel's? Then it is tried again after a moment. */
static bool try_again(unsigned int *tries)
{
	if (errno != ENOMEM || ++*tries > TRIES_MAX)
		return false;
	poll(NULL, 0, TRY_AGAIN_MS);
	return true;
}

/* False: there is no file of that path (any more). */
static bool touch_file(struct notifier *notifier, const char *file)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_NOW } };
	unsigned int tries = 0;
	char buffer[PATH_MAX];
	const char *path;
	int directory;

	if (!locate(notifier, file, buffer, &directory, &path))
		return true;
	while (utimensat(directory, path, times, AT_SYMLINK_NOFOLLOW))
		if (!try_again(&tries)) {
			tell_failure(notifier, file);
			return errno != ENOENT;
		}
	return true;
}

static void look_at_file(struct notifier *notifier, const char *file)
{
	char buffer[PATH_MAX];
	struct stat status;
	const char *path;
	int directory;

	if (locate(notifier, file, buffer, &directory, &path))
		fstatat(directory, path, &status, AT_SYMLINK_NOFOLLOW);
}

/* The directory that a file is in, whatever it will be called a moment later; name is the file's. -1: errno. */
static int open_directory(struct notifier *notifier, const char *file, const char **name)
{
	char buffer[PATH_MAX], parent[PATH_MAX];
	const char *path, *slash;
	int root;

	if (!locate(notifier, file, buffer, &root, &path)) {
		errno = ENODEV;
		return -1;
	}
	slash = strrchr(path, '/');
	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 1,
		slash ? path : ".");
	slash = strrchr(file, '/');
	*name = slash ? slash + 1 : file;
	return openat(root, parent, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/*
 * What has happened is repeated for those who watch: it is the answers that make it look so. False: there is no
 * directory of that path (any more).
 */
static bool rotate_file(struct notifier *notifier, const char *file)
{
	NEFS_AUTO_CLOSE int directory = -1;
	unsigned int tries = 0;
	char older[NAME_MAX + 1];
	const char *name;

	while ((directory = open_directory(notifier, file, &name)) < 0)
		if (!try_again(&tries)) {
			tell_failure(notifier, file);
			return errno != ENOENT;
		}
	snprintf(older, sizeof(older), "%s.1", name);
	/* Between the two the directory may get another name. */
	atomic_store(&notifier->repeating, gettid());
	while (renameat(directory, name, directory, older))
		if (!try_again(&tries)) {
			tell_failure(notifier, file);
			break;
		}
	/* In any case: what began is not left half done. */
	while (mknodat(directory, name, S_IFREG | 0400, 0) && try_again(&tries))
		;
	atomic_store(&notifier->repeating, 0);
	return true;
}

/* False: what it is about is not there. */
static bool run_errand(struct notifier *notifier, const struct errand *errand)
{
	if (errand->rotated)
		return rotate_file(notifier, errand->text);
	if (errand->look)
		look_at_file(notifier, errand->text);
	else if (!errand->session)
		return touch_file(notifier, errand->text);
	else if (!*errand->text)
		fuse_lowlevel_notify_inval_inode(errand->session, errand->ino, 0, 0);
	else
		fuse_lowlevel_notify_inval_entry(
			errand->session, errand->ino, errand->text, strlen(errand->text));
	return true;
}

/* The lock is held. */
static void free_errand(struct notifier *notifier, struct errand *errand)
{
	if (errand && errand->spare)
		STAILQ_INSERT_HEAD(&notifier->spares, errand, siblings);
	else
		free(errand);
}

static void drop_errand(struct notifier *notifier, struct errand *errand)
{
	pthread_mutex_lock(&notifier->lock);
	free_errand(notifier, errand);
	pthread_mutex_unlock(&notifier->lock);
}

/* missed: its file was not there. If it has another path by now it is the next errand. */
static void finish_errand(struct notifier *notifier, struct errand *errand, bool missed)
{
	pthread_mutex_lock(&notifier->lock);
	if (missed && notifier->again) {
		STAILQ_INSERT_HEAD(&notifier->queue, notifier->again, siblings);
		notifier->queued++;
	} else {
		free_errand(notifier, notifier->again);
	}
	notifier->again = NULL;
	notifier->running = NULL;
	free_errand(notifier, errand);
	pthread_mutex_unlock(&notifier->lock);
}

/* Takes the oldest errand, which there is, from the queue. The lock is held. */
static void take_first(struct notifier *notifier)
{
	const struct errand *first = STAILQ_FIRST(&notifier->queue);

	if (first->number)
		atomic_store(&notifier->begun, first->number);
	STAILQ_REMOVE_HEAD(&notifier->queue, siblings);
	notifier->queued--;
}

/* The next of the queue, or NULL: there is none, or nobody wants it any more. */
static struct errand *next_errand(struct notifier *notifier, bool *closing)
{
	struct errand *errand;

	pthread_mutex_lock(&notifier->lock);
	*closing = notifier->closing;
	if (STAILQ_EMPTY(&notifier->queue) && !STAILQ_EMPTY(&notifier->soon)) {
		uint64_t now = nefs_now_usec();

		if (now >= notifier->soon_usec) {
			STAILQ_CONCAT(&notifier->queue, &notifier->soon);
			notifier->soon_usec = now + SOON_USEC;
		}
	}
	errand = *closing ? NULL : STAILQ_FIRST(&notifier->queue);
	if (errand)
		take_first(notifier);
	notifier->running = errand;
	pthread_mutex_unlock(&notifier->lock);
	return errand;
}

/* How long there is nothing to do, for poll(2). */
static int idle_milliseconds(struct notifier *notifier)
{
	uint64_t now = nefs_now_usec();
	int milliseconds = -1;

	pthread_mutex_lock(&notifier->lock);
	if (!STAILQ_EMPTY(&notifier->queue))
		milliseconds = 0;
	else if (!STAILQ_EMPTY(&notifier->soon))
		milliseconds = now >= notifier->soon_usec
				       ? 0
				       : (int)((notifier->soon_usec - now + 999) / 1000);
	pthread_mutex_unlock(&notifier->lock);
	return milliseconds;
}

/* Waits, if there is nothing to do, for more; gives the mount back once it has been unmounted. */
static void wait_for_more(struct notifier *notifier, bool idle)
{
	struct pollfd fds[] = {
		{ .fd = notifier->more, .events = POLLIN },
		{ .fd = notifier->own.changes, .events = POLLPRI },
	};

	if (poll(fds, sizeof(fds) / sizeof(fds[0]), idle ? idle_milliseconds(notifier) : 0) <= 0)
		return;
	if (fds[0].revents)
		nefs_bell_silence(notifier->more);
	if (fds[1].revents && !own_mount_lasts(&notifier->own))
		own_mount_close(&notifier->own);
}

static void *notifier_main(void *argument)
{
	struct notifier *notifier = argument;
	bool closing = false;

	while (!closing) {
		struct errand *errand = next_errand(notifier, &closing);

		if (errand)
			finish_errand(notifier, errand, !run_errand(notifier, errand));
		if (!closing)
			wait_for_more(notifier, !errand);
	}
	own_mount_close(&notifier->own);
	nefs_bell_ring(notifier->ended);
	return NULL;
}

/* Gives back what is not the thread's, the object excepted. */
static void release(struct notifier *notifier)
{
	if (notifier->more >= 0)
		close(notifier->more);
	if (notifier->ended >= 0)
		close(notifier->ended);
	free(notifier->spare_memory);
	free(notifier->mountpoint);
}

static int make_spares(struct notifier *notifier)
{
	const size_t size = sizeof(struct errand) + SPARE_TEXT;
	char *memory = calloc(SPARES, size);

	STAILQ_INIT(&notifier->spares);
	notifier->spare_memory = (struct errand *)memory;
	for (unsigned int i = 0; memory && i < SPARES; i++) {
		struct errand *errand = (struct errand *)(memory + i * size);

		errand->spare = true;
		STAILQ_INSERT_TAIL(&notifier->spares, errand, siblings);
	}
	return memory ? 0 : -ENOMEM;
}

int notifier_new(
	const char *mountpoint, struct log *log, struct notifier **result, struct nefs_error *err)
{
	NEFS_AUTO_FREE struct notifier *notifier = calloc(1, sizeof(*notifier));
	int failed;

	if (notifier)
		notifier->mountpoint = strdup(mountpoint);
	if (!notifier || !notifier->mountpoint || make_spares(notifier)) {
		if (notifier)
			free(notifier->mountpoint);
		return nefs_error_set(err, ENOMEM, "out of memory for the notifier");
	}
	notifier->log = log;
	notifier->shortage.log = log;
	notifier->more = nefs_bell_new();
	notifier->ended = notifier->more < 0 ? notifier->more : nefs_bell_new();
	if (notifier->ended < 0) {
		failed = -notifier->ended;
		release(notifier);
		return nefs_error_set(
			err, failed, "cannot make the notifier's bells: %s", strerror(failed));
	}
	STAILQ_INIT(&notifier->queue);
	STAILQ_INIT(&notifier->soon);
	pthread_mutex_init(&notifier->lock, NULL);
	/* Without it, paths do, too, but for an umount in the very moment of a change. */
	own_mount_open(&notifier->own, mountpoint);
	failed = -nefs_thread_start(&notifier->thread, notifier_main, notifier);
	if (failed) {
		own_mount_close(&notifier->own);
		release(notifier);
		return nefs_error_set(
			err, failed, "cannot start the notifier thread: %s", strerror(failed));
	}
	*result = nefs_take_ptr(notifier);
	return 0;
}

/* NULL: there is no memory, and no spare one either. The lock is held. */
static struct errand *take_spare(struct notifier *notifier, size_t text)
{
	struct errand *errand = STAILQ_FIRST(&notifier->spares);

	if (!errand || text > SPARE_TEXT)
		return NULL;
	STAILQ_REMOVE_HEAD(&notifier->spares, siblings);
	*errand = (struct errand){ .spare = true };
	return errand;
}

/* locked: the lock is held by the caller. */
static struct errand *make_errand(
	struct notifier *notifier, const char *directory, const char *name, bool locked)
{
	size_t size = strlen(directory) + strlen(name) + 1;
	struct errand *errand = calloc(1, sizeof(*errand) + size);

	if (!errand) {
		if (!locked)
			pthread_mutex_lock(&notifier->lock);
		errand = take_spare(notifier, size);
		if (!locked)
			pthread_mutex_unlock(&notifier->lock);
	}
	if (errand)
		snprintf(errand->text, size, "%s%s", directory, name);
	else
		nefs_shortage_met(&notifier->shortage, "word to who watches by inotify(7)");
	return errand;
}

static struct errand *new_errand(struct notifier *notifier, const char *path)
{
	return make_errand(notifier, path, "", false);
}

/* Puts it into one of the queues; NULL: there was no memory for it. */
static void enqueue_in(struct notifier *notifier, struct errand_queue *queue, struct errand *errand)
{
	struct errand *oldest = NULL;
	bool first;

	if (!errand)
		return;
	pthread_mutex_lock(&notifier->lock);
	first = STAILQ_EMPTY(queue);
	STAILQ_INSERT_TAIL(queue, errand, siblings);
	if (++notifier->queued > ERRANDS_MAX && !STAILQ_EMPTY(&notifier->queue)) {
		oldest = STAILQ_FIRST(&notifier->queue);
		take_first(notifier);
	}
	pthread_mutex_unlock(&notifier->lock);
	/* It goes to sleep only after it has found the queue empty. */
	if (first)
		nefs_bell_ring(notifier->more);
	if (oldest)
		drop_errand(notifier, oldest);
}

static void enqueue(struct notifier *notifier, struct errand *errand)
{
	enqueue_in(notifier, &notifier->queue, errand);
}

void notifier_touch(struct notifier *notifier, const char *path)
{
	enqueue(notifier, new_errand(notifier, path));
}

uint64_t notifier_touch_soon(struct notifier *notifier, const char *path)
{
	struct errand *errand = new_errand(notifier, path);

	if (!errand)
		return 0;
	errand->number = ++notifier->numbers;
	enqueue_in(notifier, &notifier->soon, errand);
	return notifier->numbers;
}

bool notifier_has_begun(const struct notifier *notifier, uint64_t errand)
{
	return errand <= atomic_load(&notifier->begun);
}

void notifier_look(struct notifier *notifier, const char *path)
{
	struct errand *errand = new_errand(notifier, path);

	if (errand)
		errand->look = true;
	enqueue(notifier, errand);
}

void notifier_rotated(struct notifier *notifier, const char *path)
{
	struct errand *errand = new_errand(notifier, path);

	if (errand)
		errand->rotated = true;
	enqueue(notifier, errand);
}

bool notifier_repeats(const struct notifier *notifier, pid_t caller)
{
	return caller && caller == atomic_load(&notifier->repeating);
}

/* What is told by a node id, not by a path. */
static void enqueue_told(
	struct notifier *notifier, struct fuse_session *session, fuse_ino_t ino, const char *text)
{
	struct errand *errand = new_errand(notifier, text);

	if (errand) {
		errand->session = session;
		errand->ino = ino;
	}
	enqueue(notifier, errand);
}

void notifier_bury(struct notifier *notifier, struct fuse_session *session, fuse_ino_t directory,
	const char *name)
{
	enqueue_told(notifier, session, directory, name);
}

void notifier_drop_pages(struct notifier *notifier, struct fuse_session *session, fuse_ino_t file)
{
	enqueue_told(notifier, session, file, "");
}

/* Is it about a file below this path? */
static bool is_below(const struct errand *errand, const char *path)
{
	size_t length = strlen(path);

	return !errand->session && strncmp(errand->text, path, length) == 0 &&
	       errand->text[length] == '/';
}

/* The same errand, of a file that is below another path now. NULL: out of memory. The lock is held. */
static struct errand *moved_errand(struct notifier *notifier, const struct errand *errand,
	const char *path, const char *new_path)
{
	struct errand *moved = make_errand(notifier, new_path, errand->text + strlen(path), true);

	if (moved) {
		moved->number = errand->number;
		moved->rotated = errand->rotated;
		moved->look = errand->look;
	}
	return moved;
}

/* The lock is held. */
static void move(struct notifier *notifier, struct errand_queue *queue, const char *path,
	const char *new_path)
{
	struct errand_queue kept = STAILQ_HEAD_INITIALIZER(kept);
	struct errand *errand;

	while ((errand = STAILQ_FIRST(queue))) {
		STAILQ_REMOVE_HEAD(queue, siblings);
		if (is_below(errand, path)) {
			struct errand *moved =
				new_path ? moved_errand(notifier, errand, path, new_path) : NULL;

			free_errand(notifier, errand);
			errand = moved;
		}
		if (errand)
			STAILQ_INSERT_TAIL(&kept, errand, siblings);
		else
			notifier->queued--;
	}
	STAILQ_CONCAT(queue, &kept);
}

/* What the thread is at may be too late for the old path. The lock is held. */
static void move_running(struct notifier *notifier, const char *path, const char *new_path)
{
	const struct errand *running = notifier->again ? notifier->again : notifier->running;
	struct errand *moved = NULL;

	if (!running || !is_below(running, path))
		return;
	if (new_path)
		moved = moved_errand(notifier, running, path, new_path);
	free_errand(notifier, notifier->again);
	notifier->again = moved;
}

void notifier_moved(struct notifier *notifier, const char *path, const char *new_path)
{
	pthread_mutex_lock(&notifier->lock);
	move(notifier, &notifier->queue, path, new_path);
	move(notifier, &notifier->soon, path, new_path);
	move_running(notifier, path, new_path);
	pthread_mutex_unlock(&notifier->lock);
}

int notifier_close(struct notifier *notifier)
{
	pthread_mutex_lock(&notifier->lock);
	notifier->closing = true;
	pthread_mutex_unlock(&notifier->lock);
	nefs_bell_ring(notifier->more);
	return notifier->ended;
}

void notifier_free(struct notifier *notifier)
{
	struct errand *errand;

	if (!notifier)
		return;
	notifier_close(notifier);
	pthread_join(notifier->thread, NULL);
	STAILQ_CONCAT(&notifier->queue, &notifier->soon);
	while ((errand = STAILQ_FIRST(&notifier->queue))) {
		STAILQ_REMOVE_HEAD(&notifier->queue, siblings);
		free_errand(notifier, errand);
	}
	pthread_mutex_destroy(&notifier->lock);
	release(notifier);
	free(notifier);
}
