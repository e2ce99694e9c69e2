/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long news takes, in microseconds:
 *
 *	news epoll ROUNDS
 *		from the close of a socket to the end of an epoll_wait(2) on its other one
 *	news poll ROUNDS BYTES FILE
 *		from a byte that is written to BYTES to the end of a poll(2) for POLLPRI on FILE
 *	news crash ROUNDS PID DIRECTORY SOURCE TRIGGER TEXT
 *		from TEXT, written to TRIGGER ("@" in it is the enclave's slot), to news of it in the
 *		enclave's `SOURCE`: state and events by poll(2), journal by a read(2) that sleeps. PID is
 *		nefs's. In every other round the enclave's own fd is watched, too, in a copy of it, which
 *		tells the device's part from ours: that fd hangs up when the device has told the driver.
 *
 * A line each: what, rounds, p50, p90, the longest. `whole` is of the rounds where nothing but SOURCE
 * was watched.
 */
#include "samples.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SETTLE_USEC  3000 /* until a watcher surely sleeps */
#define WAIT_SECONDS 30
#define FDS_MAX	     (1 << 20)

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int open_or_fail(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		fail(path);
	return fd;
}

static void print_samples(const char *what, struct samples *samples)
{
	printf("%s %zu %.0f %.0f %.0f\n", what, samples->count, samples_percentile(samples, 50),
		samples_percentile(samples, 90), samples_percentile(samples, 100));
}

/* A thread that watches one fd, and when it saw something. */
struct watcher {
	pthread_t thread;
	int fd;
	double (*watch)(int fd); /* sleeps; the time of the news */
	sem_t seen;
	double when;
};

static void *watch_once(void *data)
{
	struct watcher *watcher = data;

	watcher->when = watcher->watch(watcher->fd);
	sem_post(&watcher->seen);
	return NULL;
}

static void start_watching(struct watcher *watcher, int fd, double (*watch)(int fd))
{
	*watcher = (struct watcher){ .fd = fd, .watch = watch };
	sem_init(&watcher->seen, 0, 0);
	if (pthread_create(&watcher->thread, NULL, watch_once, watcher))
		fail("a thread");
}

static double seen_at(struct watcher *watcher)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_SECONDS;
	while (sem_timedwait(&watcher->seen, &until)) {
		if (errno != EINTR)
			fail("no news came");
	}
	pthread_join(watcher->thread, NULL);
	return watcher->when;
}

/* What an enclave's fd says without being asked is that it hung up. */
static double watch_hang_up(int fd)
{
	struct epoll_event event = { .events = 0 };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	double when;

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) ||
		epoll_wait(epoll, &event, 1, -1) != 1)
		fail("epoll");
	when = now_usec();
	close(epoll);
	return when;
}

static double watch_change(int fd)
{
	struct pollfd watched = { .fd = fd, .events = POLLPRI | POLLERR };
	double when;
	char text[4096];

	if (poll(&watched, 1, -1) != 1)
		fail("poll");
	when = now_usec();
	if (pread(fd, text, sizeof(text), 0) < 0)
		fail("pread");
	return when;
}

static double watch_journal(int fd)
{
	char text[65536];
	double when;
	ssize_t size;

	do {
		size = read(fd, text, sizeof(text) - 1);
		when = now_usec();
		if (size <= 0)
			fail("the journal");
		text[size] = '\0';
	} while (!strstr(text, "\"crashed\""));
	return when;
}

static void epoll_rounds(int rounds)
{
	struct samples times = { 0 };

	for (int i = 0; i < rounds; i++) {
		struct watcher watcher;
		double begin;
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			fail("socketpair");
		start_watching(&watcher, pair[0], watch_hang_up);
		usleep(SETTLE_USEC);
		begin = now_usec();
		close(pair[1]);
		samples_add(&times, seen_at(&watcher) - begin);
		close(pair[0]);
	}
	print_samples("epoll", &times);
}

static void poll_rounds(int rounds, const char *bytes, const char *path)
{
	int out = open_or_fail(bytes, O_WRONLY), fd = open_or_fail(path, O_RDONLY);
	struct samples times = { 0 };

	for (int i = 0; i < rounds; i++) {
		struct watcher watcher;
		char text[64];
		double begin;

		if (pread(fd, text, sizeof(text), 0) < 0)
			fail(path);
		start_watching(&watcher, fd, watch_change);
		usleep(SETTLE_USEC);
		begin = now_usec();
		if (write(out, "", 1) != 1)
			fail(bytes);
		samples_add(&times, seen_at(&watcher) - begin);
	}
	print_samples("poll", &times);
}

/* ---- Crashes ---- */

struct crash {
	pid_t pid;
	const char *directory, *source, *text;
	int trigger, journal;
	ino_t *before; /* of each fd that nefs had; 0: it had none */
	struct samples device, ours, whole;
};

static void get(const struct crash *crash, const char *name, char *text, size_t room)
{
	char path[512];
	ssize_t size;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", crash->directory, name);
	fd = open_or_fail(path, O_RDONLY);
	size = read(fd, text, room - 1);
	if (size < 0)
		fail(path);
	text[size] = '\0';
	text[strcspn(text, "\n")] = '\0';
	close(fd);
}

/* Waits until the file says so. */
static void until(const struct crash *crash, const char *name, const char *wanted)
{
	double end = now_usec() + WAIT_SECONDS * 1e6;
	char text[64];

	for (get(crash, name, text, sizeof(text)); strcmp(text, wanted) != 0;
		get(crash, name, text, sizeof(text))) {
		if (now_usec() > end) {
			fprintf(stderr, "%s is '%s'\n", name, text);
			exit(1);
		}
		usleep(200);
	}
}

static bool is_enclave(const char *link)
{
	/* The driver's, or the simulated device's. */
	return strstr(link, "ne-vm") || strncmp(link, "/dev/shm/nefs-", 14) == 0;
}

/* Notes nefs's fds in `before`; or returns a copy of the enclave's that was not there before. */
static int look_at_fds(const struct crash *crash, bool find)
{
	char path[64], link[256];
	struct dirent *entry;
	int pidfd, copy = -1;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", crash->pid);
	fds = opendir(path);
	if (!fds)
		fail(path);
	if (!find)
		memset(crash->before, 0, FDS_MAX * sizeof(crash->before[0]));
	while (copy < 0 && (entry = readdir(fds))) {
		int fd = atoi(entry->d_name);
		struct stat status;
		ssize_t length;

		if (entry->d_name[0] == '.' || fd >= FDS_MAX ||
			fstatat(dirfd(fds), entry->d_name, &status, 0))
			continue;
		if (!find) {
			crash->before[fd] = status.st_ino;
			continue;
		}
		if (crash->before[fd] == status.st_ino)
			continue;
		length = readlinkat(dirfd(fds), entry->d_name, link, sizeof(link) - 1);
		if (length < 0)
			continue;
		link[length] = '\0';
		if (!is_enclave(link))
			continue;
		pidfd = (int)syscall(SYS_pidfd_open, crash->pid, 0);
		copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
		if (copy < 0)
			fail("pidfd_getfd");
		close(pidfd);
	}
	closedir(fds);
	if (find && copy < 0) {
		fprintf(stderr, "nefs has no fd of this enclave\n");
		exit(1);
	}
	return copy;
}

static void start(const struct crash *crash)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/start", crash->directory);
	fd = open_or_fail(path, O_WRONLY);
	if (write(fd, "1", 1) != 1)
		fail(path);
	close(fd);
	until(crash, "state", "running");
}

static void pull_trigger(const struct crash *crash, const char *slot)
{
	const char *hole = strchr(crash->text, '@');
	char text[256], answer[4096];
	int size;

	if (hole)
		size = snprintf(text, sizeof(text), "%.*s%s%s\n", (int)(hole - crash->text),
			crash->text, slot, hole + 1);
	else
		size = snprintf(text, sizeof(text), "%s", crash->text);
	if (write(crash->trigger, text, (size_t)size) != size)
		fail(text);
	/* A device answers, and reads on once that has been read. */
	if (hole && read(crash->trigger, answer, sizeof(answer)) < 0)
		fail("the device");
}

static void one_crash(struct crash *crash, bool apart)
{
	struct watcher news, device;
	double begin, hung_up, told;
	char path[512], slot[64];
	int file = -1, own = -1;

	until(crash, "slot", "");
	if (apart) {
		/*
		 * What is told at once may be closed a moment later. A simulated device's fds have inodes of
		 * their own, so that one that was closed and is there again is no matter; Linux's share one.
		 */
		usleep(20 * SETTLE_USEC);
		look_at_fds(crash, false);
	}
	start(crash);
	get(crash, "slot", slot, sizeof(slot));
	if (crash->journal >= 0) {
		start_watching(&news, crash->journal, watch_journal);
	} else {
		snprintf(path, sizeof(path), "%s/%s", crash->directory, crash->source);
		file = open_or_fail(path, O_RDONLY);
		get(crash, crash->source, path, sizeof(path));
		if (pread(file, path, sizeof(path), 0) < 0)
			fail(crash->source);
		start_watching(&news, file, watch_change);
	}
	if (apart) {
		own = look_at_fds(crash, true);
		start_watching(&device, own, watch_hang_up);
	}
	usleep(SETTLE_USEC);
	begin = now_usec();
	pull_trigger(crash, slot);
	if (apart) {
		hung_up = seen_at(&device);
		close(own);
		told = seen_at(&news);
		samples_add(&crash->device, hung_up - begin);
		samples_add(&crash->ours, told - hung_up);
	} else {
		samples_add(&crash->whole, seen_at(&news) - begin);
	}
	if (file >= 0)
		close(file);
	until(crash, "state", "crashed");
}

static void crash_rounds(int rounds, char **words)
{
	struct crash crash = { .pid = atoi(words[0]),
		.directory = words[1],
		.source = words[2],
		.text = words[4],
		.trigger = open_or_fail(words[3], strchr(words[4], '@') ? O_RDWR : O_WRONLY),
		.journal = -1,
		.before = calloc(FDS_MAX, sizeof(ino_t)) };
	char path[512];

	if (!crash.before)
		fail("memory");
	if (strcmp(crash.source, "journal") == 0) {
		/* The stream has a name of its own where `journal` is text with an end. */
		snprintf(path, sizeof(path), "%s/journal.follow", crash.directory);
		crash.journal = open(path, O_RDONLY | O_CLOEXEC);
		snprintf(path, sizeof(path), "%s/journal", crash.directory);
		if (crash.journal < 0)
			crash.journal = open_or_fail(path, O_RDONLY);
	}
	for (int i = 0; i < 2 * rounds; i++)
		one_crash(&crash, i & 1);
	print_samples("device", &crash.device);
	print_samples("ours", &crash.ours);
	print_samples("whole", &crash.whole);
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[2]) : 0;

	if (rounds < 1)
		return 2;
	if (argc == 3 && strcmp(argv[1], "epoll") == 0)
		epoll_rounds(rounds);
	else if (argc == 5 && strcmp(argv[1], "poll") == 0)
		poll_rounds(rounds, argv[3], argv[4]);
	else if (argc == 8 && strcmp(argv[1], "crash") == 0)
		crash_rounds(rounds, argv + 3);
	else
		return 2;
	return 0;
}
