/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads files at fixed times, each in a thread of its own, until its standard input ends:
 *
 *	reader [--open] PERIOD-US FILE...
 *
 * With --open each time anew, as cat(1) does: open(2) and close(2) are in its time, too.
 *
 * Says "ready" once all are being read, and at the end a line a file: reads, p50, p99 and the longest
 * in microseconds. While one read hangs the others that would have been due meanwhile are counted,
 * too, each with what it would have had to wait: one that hangs for 100 ms is, at a period of 1 ms, a
 * hundred late ones, as it is for whoever wants to know the state at these times.
 */
#include "samples.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 8

struct reader {
	pthread_t thread;
	const char *path; /* NULL: fd is read */
	int fd, failed;
	double period;
	const atomic_bool *done;
	struct samples times;
};

static void sleep_until(double usec)
{
	struct timespec when = { .tv_sec = (time_t)(usec / 1e6) };

	when.tv_nsec = (long)((usec - (double)when.tv_sec * 1e6) * 1e3);
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
}

/* 0, or an errno. */
static int read_once(const struct reader *reader)
{
	int fd = reader->path ? open(reader->path, O_RDONLY) : reader->fd, failed;
	char text[256];

	failed = fd < 0 || pread(fd, text, sizeof(text), 0) < 0 ? errno : 0;
	if (reader->path && fd >= 0)
		close(fd);
	return failed;
}

static void *read_on(void *data)
{
	struct reader *reader = data;
	double due = now_usec();

	/* The kernel may be 50 us late by default, to save wake-ups. */
	prctl(PR_SET_TIMERSLACK, 1000);
	while (!*reader->done && !reader->failed) {
		double end;

		due += reader->period;
		sleep_until(due);
		reader->failed = read_once(reader);
		end = now_usec();
		samples_add(&reader->times, end - due);
		for (; due + reader->period <= end; due += reader->period)
			samples_add(&reader->times, end - due - reader->period);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct reader readers[FILES_MAX] = { 0 };
	bool anew = argc > 1 && strcmp(argv[1], "--open") == 0;
	double period = argc > 1 + anew ? atof(argv[1 + anew]) : 0;
	char **paths = argv + 2 + anew;
	int count = argc - 2 - anew;
	atomic_bool done = false;
	char byte;

	if (count < 1 || count > FILES_MAX || period <= 0)
		return 2;
	for (int i = 0; i < count; i++) {
		readers[i] = (struct reader){ .path = anew ? paths[i] : NULL,
			.fd = open(paths[i], O_RDONLY),
			.period = period,
			.done = &done };
		if (readers[i].fd < 0 ||
			pthread_create(&readers[i].thread, NULL, read_on, &readers[i])) {
			perror(paths[i]);
			return 1;
		}
	}
	printf("ready\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	done = true;
	for (int i = 0; i < count; i++) {
		struct samples *times = &readers[i].times;

		pthread_join(readers[i].thread, NULL);
		if (readers[i].failed) {
			errno = readers[i].failed;
			perror(paths[i]);
			return 1;
		}
		printf("%zu %.1f %.1f %.1f\n", times->count, samples_percentile(times, 50),
			samples_percentile(times, 99), samples_percentile(times, 100));
		samples_clear(times);
	}
	return 0;
}
