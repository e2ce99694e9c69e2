/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all of nefs stands on: the small helpers of backend/common. */
#include "cunit_main.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/addresses.h>
#include <nefs/bell.h>
#include <nefs/clock.h>
#include <nefs/container_of.h>
#include <nefs/io.h>
#include <nefs/list.h>
#include <nefs/paced_read.h>
#include <nefs/process.h>
#include <nefs/thread.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static bool readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLIN);
}

/* ---- bell.h ---- */

static void test_bell(void)
{
	int bell = nefs_bell_new();

	CU_ASSERT_TRUE_FATAL(bell >= 0);
	CU_ASSERT_EQUAL(fcntl(bell, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	CU_ASSERT_FALSE(readable(bell));
	nefs_bell_silence(bell); /* does not wait */
	nefs_bell_ring(bell);
	nefs_bell_ring(bell);
	CU_ASSERT_TRUE(readable(bell));
	nefs_bell_silence(bell);
	CU_ASSERT_FALSE(readable(bell));
	/* A counter that is full: ringing does not wait for anybody. */
	CU_ASSERT_EQUAL(eventfd_write(bell, UINT64_MAX - 1), 0);
	nefs_bell_ring(bell);
	CU_ASSERT_TRUE(readable(bell));
	nefs_bell_silence(bell);
	CU_ASSERT_FALSE(readable(bell));
	close(bell);
}

/* ---- clock.h ---- */

static void test_clock(void)
{
	static const uint64_t waits[] = { 0, 1, 999, 1000, 1999, 120000 };

	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		uint64_t before = nefs_now_usec(), usec;
		struct timespec until = nefs_deadline_ms(waits[i]);
		uint64_t after = nefs_now_usec();

		CU_ASSERT_TRUE(until.tv_nsec >= 0 && until.tv_nsec < 1000000000L);
		usec = (uint64_t)until.tv_sec * 1000000U + (uint64_t)until.tv_nsec / 1000U;
		CU_ASSERT_TRUE(usec >= before + waits[i] * 1000U);
		CU_ASSERT_TRUE(usec <= after + waits[i] * 1000U);
	}
}

/* ---- thread.h ---- */

static void *all_blocked(void *argument)
{
	sigset_t mask;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	*(bool *)argument = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGUSR1) == 1;
	return argument;
}

static void test_thread(void)
{
	sigset_t before, after;
	pthread_t thread;
	bool blocked = false;
	void *result = NULL;

	pthread_sigmask(SIG_SETMASK, NULL, &before);
	CU_ASSERT_EQUAL_FATAL(nefs_thread_start(&thread, all_blocked, &blocked), 0);
	CU_ASSERT_EQUAL(pthread_join(thread, &result), 0);
	CU_ASSERT_PTR_EQUAL(result, &blocked);
	CU_ASSERT_TRUE(blocked);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	CU_ASSERT_EQUAL(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
	CU_ASSERT_EQUAL(sigismember(&after, SIGUSR1), 0);
}

/* ---- io.h ---- */

static void test_files(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	char read[8] = "";

	CU_ASSERT_TRUE_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(nefs_write_all(fd, "abc", 3), 0);
	CU_ASSERT_EQUAL(nefs_write_all(fd, "def", 3), 0);
	CU_ASSERT_EQUAL(nefs_pwrite_all(fd, "XY", 2, 1), 0);
	CU_ASSERT_EQUAL(nefs_pread_all(fd, read, 5, 1), 0);
	CU_ASSERT_EQUAL(memcmp(read, "XYdef", 5), 0);
	CU_ASSERT_EQUAL(nefs_pread_all(fd, read, 0, 100), 0);
	CU_ASSERT_EQUAL(nefs_pread_all(fd, read, 7, 0), -ENODATA);
	CU_ASSERT_EQUAL(nefs_pread_all(fd, read, 1, 6), -ENODATA);
	close(fd);
	fd = open("/dev/full", O_RDWR | O_CLOEXEC);
	CU_ASSERT_TRUE_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(nefs_write_all(fd, "abc", 3), -ENOSPC);
	CU_ASSERT_EQUAL(nefs_pwrite_all(fd, "abc", 3, 0), -ENOSPC);
	close(fd);
	CU_ASSERT_EQUAL(nefs_pread_all(fd, read, 1, 0), -EBADF);
}

#define PIPED ((size_t)1 << 20)

struct drain {
	int fd;
	pthread_t writer;
	size_t got;
};

static void on_signal(int number)
{
}

/* Reads slowly from a pipe and interrupts its writer all the time: EINTR and short counts. */
static void *drain_pipe(void *argument)
{
	struct drain *drain = argument;
	char piece[4096];
	ssize_t got;

	while ((got = read(drain->fd, piece, sizeof(piece))) > 0) {
		drain->got += (size_t)got;
		if (drain->got < PIPED)
			pthread_kill(drain->writer, SIGUSR1);
	}
	return NULL;
}

static void test_interrupted(void)
{
	/* Without SA_RESTART. */
	const struct sigaction action = { .sa_handler = on_signal };
	struct drain drain = { .writer = pthread_self() };
	char *data = calloc(1, PIPED);
	struct sigaction before;
	pthread_t thread;
	int ends[2];

	CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
	CU_ASSERT_EQUAL_FATAL(sigaction(SIGUSR1, &action, &before), 0);
	drain.fd = ends[0];
	CU_ASSERT_EQUAL_FATAL(nefs_thread_start(&thread, drain_pipe, &drain), 0);
	CU_ASSERT_EQUAL(nefs_write_all(ends[1], data, PIPED), 0);
	close(ends[1]);
	pthread_join(thread, NULL);
	CU_ASSERT_EQUAL(drain.got, PIPED);
	sigaction(SIGUSR1, &before, NULL);
	close(ends[0]);
	free(data);
}

/* ---- container_of.h, list.h ---- */

struct element {
	int before;
	LIST_ENTRY(element) entry;
	int embedded;
};

LIST_HEAD(elements, element);

static void test_container_of(void)
{
	struct element element;
	int *embedded = &element.embedded;

	CU_ASSERT_PTR_EQUAL(container_of(embedded, struct element, embedded), &element);
	CU_ASSERT_PTR_EQUAL(container_of(&element.before, struct element, before), &element);
}

static void test_list_move(void)
{
	struct element element[3];
	struct elements from, to;

	LIST_INIT(&from);
	NEFS_LIST_MOVE(&to, &from, entry);
	CU_ASSERT_TRUE(LIST_EMPTY(&to));
	for (int i = 2; i >= 0; i--)
		LIST_INSERT_HEAD(&from, &element[i], entry);
	NEFS_LIST_MOVE(&to, &from, entry);
	CU_ASSERT_TRUE(LIST_EMPTY(&from));
	CU_ASSERT_PTR_EQUAL(LIST_FIRST(&to), &element[0]);
	/* The first one's way back is to its new head: it can be removed, and nothing else moves. */
	LIST_REMOVE(&element[0], entry);
	LIST_INSERT_HEAD(&from, &element[0], entry);
	CU_ASSERT_PTR_EQUAL(LIST_FIRST(&to), &element[1]);
	CU_ASSERT_PTR_EQUAL(LIST_NEXT(&element[1], entry), &element[2]);
	CU_ASSERT_PTR_NULL(LIST_NEXT(&element[2], entry));
	CU_ASSERT_PTR_EQUAL(LIST_FIRST(&from), &element[0]);
	CU_ASSERT_PTR_NULL(LIST_NEXT(&element[0], entry));
}

/* ---- addresses.h ---- */

static void test_addresses(void)
{
	const uint64_t huge = 2U << 20;

	for (uint64_t alignment = 4096; alignment <= 1U << 30; alignment *= 8) {
		char *area = nefs_reserve_addresses(3 * huge, alignment);

		CU_ASSERT_PTR_NOT_NULL_FATAL(area);
		CU_ASSERT_EQUAL((uintptr_t)area % alignment, 0);
		/* All of it is there to be mapped over. */
		CU_ASSERT_PTR_EQUAL(mmap(area, 3 * huge, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			area);
		area[0] = area[3 * huge - 1] = 1;
		CU_ASSERT_EQUAL(munmap(area, 3 * huge), 0);
	}
	errno = 0;
	CU_ASSERT_PTR_NULL(nefs_reserve_addresses(1ULL << 60, huge));
	CU_ASSERT_EQUAL(errno, ENOMEM);
}

/* ---- process.h ---- */

/* In a process of its own: limits and signals are the whole process's. */
static bool in_child(bool (*run)(void))
{
	pid_t child = fork();
	int status = 0;

	if (child == 0)
		_exit(run() ? 0 : 1);
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static bool limit_is(rlim_t soft, rlim_t hard)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == soft &&
	       limit.rlim_max == hard;
}

static bool raises_to_hard(void)
{
	const struct rlimit low = { 64, 128 };

	if (setrlimit(RLIMIT_NOFILE, &low))
		return false;
	nefs_raise_fd_limit(0);
	return limit_is(128, 128);
}

/* Raising it is root's: whoever may not gets as much as there is. */
static bool raises_hard(void)
{
	const struct rlimit low = { 64, 128 };

	if (setrlimit(RLIMIT_NOFILE, &low))
		return false;
	nefs_raise_fd_limit(256);
	if (!limit_is(256, 256) && !limit_is(128, 128))
		return false;
	nefs_raise_fd_limit(32);
	return limit_is(256, 256) || limit_is(128, 128);
}

static void test_fd_limit(void)
{
	CU_ASSERT_TRUE(in_child(raises_to_hard));
	CU_ASSERT_TRUE(in_child(raises_hard));
}

static int on_loop_signal(
	sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	*(int *)userdata = (int)info->ssi_signo;
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

static bool takes_signals(void)
{
	static const int signals[] = { SIGTERM, SIGUSR1 };
	sd_event *event = NULL;
	int ends[2], got = 0;
	bool good;

	if (sd_event_new(&event) < 0 ||
		nefs_watch_signals(event, signals, 2, on_loop_signal, &got) || pipe(ends))
		return false;
	raise(SIGUSR1);
	good = sd_event_loop(event) == 0 && got == SIGUSR1;
	close(ends[0]);
	good = good && write(ends[1], "", 1) < 0 && errno == EPIPE;
	sd_event_unref(event);
	return good;
}

/* Without a handler the loop ends. */
static bool ends_by_signal(void)
{
	static const int signals[] = { SIGTERM };
	sd_event *event = NULL;

	if (sd_event_new(&event) < 0 || nefs_watch_signals(event, signals, 1, NULL, NULL))
		return false;
	raise(SIGTERM);
	return sd_event_loop(event) == 0 && !sd_event_unref(event);
}

static void test_signals(void)
{
	CU_ASSERT_TRUE(in_child(takes_signals));
	CU_ASSERT_TRUE(in_child(ends_by_signal));
}

/* ---- reading at a pace ---- */

struct counting_pace {
	struct nefs_pace pace; /* first */
	int turns;	       /* begun and not ended */
	int begun;
	int refused_from; /* the how manieth turn is refused; 0: none */
};

static int begin_counted(struct nefs_pace *pace)
{
	struct counting_pace *counting = (struct counting_pace *)pace;

	if (++counting->begun == counting->refused_from)
		return -ECANCELED;
	counting->turns++;
	return 0;
}

static void end_counted(struct nefs_pace *pace)
{
	((struct counting_pace *)pace)->turns--;
}

/* One turn has begun behind a read, and none behind one that failed, wherever the file is. */
static void test_paced_read(void)
{
	int file = memfd_create("paced", MFD_CLOEXEC), pipes[2];
	char data[8];

	CU_ASSERT_EQUAL(pwrite(file, "1234", 4, 0), 4);
	CU_ASSERT_TRUE(nefs_is_in_memory(file));
	CU_ASSERT_FALSE(pipe2(pipes, O_CLOEXEC));
	CU_ASSERT_FALSE(nefs_is_in_memory(pipes[0]));
	CU_ASSERT_FALSE(nefs_is_in_memory(-1));
	for (int in_memory = 0; in_memory < 2; in_memory++) {
		struct counting_pace counting = { .pace = { .begin = begin_counted,
							  .end = end_counted } };

		memset(data, 0, sizeof(data));
		CU_ASSERT_EQUAL(nefs_paced_read(file, in_memory, data, 3, 1, &counting.pace), 0);
		CU_ASSERT_EQUAL(memcmp(data, "234", 3), 0);
		CU_ASSERT_EQUAL(counting.turns, 1);
		nefs_pace_end(&counting.pace);
		CU_ASSERT_EQUAL(
			nefs_paced_read(file, in_memory, data, 5, 0, &counting.pace), -ENODATA);
		CU_ASSERT_EQUAL(nefs_paced_read(-1, in_memory, data, 3, 0, &counting.pace), -EBADF);
		CU_ASSERT_EQUAL(counting.turns, 0);
		/* What waits for a disk has none meanwhile, and may be cancelled behind it. */
		counting.refused_from = counting.begun + 2;
		CU_ASSERT_EQUAL(
			nefs_paced_read(pipes[0], in_memory, data, 1, 0, &counting.pace), -ESPIPE);
		CU_ASSERT_EQUAL(counting.turns, 0);
		counting.refused_from = counting.begun + 1;
		CU_ASSERT_EQUAL(
			nefs_paced_read(file, in_memory, data, 3, 0, &counting.pace), -ECANCELED);
		counting.refused_from = 0;
		atomic_store(&counting.pace.cancelled, true);
		CU_ASSERT_EQUAL(
			nefs_paced_read(file, in_memory, data, 3, 0, &counting.pace), -ECANCELED);
		CU_ASSERT_EQUAL(counting.turns, 0);
		CU_ASSERT_EQUAL(nefs_paced_read(file, in_memory, data, 3, 0, NULL), 0);
	}
	close(pipes[0]);
	close(pipes[1]);
	close(file);
}

static const CU_TestInfo tests[] = {
	{ "a bell is heard once, and never waited for", test_bell },
	{ "a deadline is so many milliseconds from now", test_clock },
	{ "a thread has all signals blocked, its maker has not", test_thread },
	{ "reading and writing all of it, or saying why not", test_files },
	{ "signals and short counts do not stop a write half-way", test_interrupted },
	{ "reading at a pace", test_paced_read },
	{ "from a member to its object", test_container_of },
	{ "a list moves to another head", test_list_move },
	{ "addresses are reserved as aligned as asked for", test_addresses },
	{ "as many fds as the process may have", test_fd_limit },
	{ "signals are the loop's", test_signals },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("common", tests, NULL, NULL);
}
