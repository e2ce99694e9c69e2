/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Times single operations on several filesystems in one run, in turn, so that the machine's drift
 * hits them alike:
 *
 *	operations ROUNDS NAME=DIR=READ=WRITE...
 *
 * READ and WRITE are files below DIR ("-": none); a WRITE of "-" leaves the writing operation out.
 * The ratios are to the second filesystem, the bare libfuse one.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TARGETS_MAX 8
#define BATCH	    200 /* operations of one filesystem in a row */
#define WARM_UP	    50

struct target {
	const char *name;
	char read[512], write[512], directory[512];
	bool writable;
	int fd;
};

typedef bool (*operation)(struct target *target);

static bool op_stat(struct target *target)
{
	struct stat status;

	return stat(target->read, &status) == 0;
}

static bool op_pread(struct target *target)
{
	char text[256];

	return pread(target->fd, text, sizeof(text), 0) >= 0;
}

static bool op_open_read_close(struct target *target)
{
	char text[256];
	int fd = open(target->read, O_RDONLY);
	bool good = fd >= 0 && read(fd, text, sizeof(text)) >= 0;

	close(fd);
	return good;
}

static bool op_open_write_close(struct target *target)
{
	int fd = open(target->write, O_WRONLY | O_TRUNC);
	bool good = fd >= 0 && write(fd, "64M\n", 4) == 4;

	close(fd);
	return good;
}

static bool op_poll(struct target *target)
{
	struct pollfd pollfd = { .fd = target->fd, .events = POLLIN };

	return poll(&pollfd, 1, 0) >= 0;
}

static bool op_mkdir_rmdir(struct target *target)
{
	return mkdir(target->directory, 0755) == 0 && rmdir(target->directory) == 0;
}

static const struct {
	const char *name;
	operation run;
	bool writes;
} operations[] = {
	{ "stat", op_stat, false },
	{ "pread", op_pread, false },
	{ "open+read+close", op_open_read_close, false },
	{ "open(TRUNC)+write+close", op_open_write_close, true },
	{ "poll(0)", op_poll, false },
	{ "mkdir+rmdir", op_mkdir_rmdir, true },
};

static double now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static bool parse_target(char *text, struct target *target)
{
	char *words[4];

	for (int i = 0; i < 4; i++) {
		words[i] = strsep(&text, "=");
		if (!words[i])
			return false;
	}
	target->name = words[0];
	target->writable = strcmp(words[3], "-") != 0;
	snprintf(target->read, sizeof(target->read), "%s/%s", words[1], words[2]);
	snprintf(target->write, sizeof(target->write), "%s/%s", words[1], words[3]);
	snprintf(target->directory, sizeof(target->directory), "%s/bench-new", words[1]);
	target->fd = open(target->read, O_RDONLY);
	return target->fd >= 0;
}

/* One operation on all targets; false if it failed somewhere. */
static bool measure(struct target *targets, int count, size_t index, int rounds)
{
	size_t each = (size_t)rounds * BATCH;
	double *times[TARGETS_MAX], p50[TARGETS_MAX] = { 0 };
	bool good = true;

	for (int t = 0; t < count; t++)
		times[t] = calloc(each, sizeof(double));
	for (int round = 0; round < rounds && good; round++) {
		for (int t = 0; t < count && good; t++) {
			if (operations[index].writes && !targets[t].writable)
				continue;
			for (int i = -WARM_UP; i < BATCH && good; i++) {
				double begin = now_usec();

				good = operations[index].run(&targets[t]);
				if (i >= 0)
					times[t][(size_t)round * BATCH + (size_t)i] =
						now_usec() - begin;
			}
			if (!good)
				fprintf(stderr, "%s failed on %s\n", operations[index].name,
					targets[t].name);
		}
	}
	for (int t = 0; t < count; t++) {
		qsort(times[t], each, sizeof(double), compare);
		p50[t] = times[t][each / 2];
	}
	printf("%-24s", operations[index].name);
	for (int t = 0; t < count; t++) {
		if (operations[index].writes && !targets[t].writable)
			printf(" %17s", "-");
		else
			printf(" %8.2f/%8.2f", p50[t], times[t][each * 99 / 100]);
	}
	printf(" %9.2f\n", count > 1 && p50[1] > 0 ? p50[0] / p50[1] : 0.0);
	for (int t = 0; t < count; t++)
		free(times[t]);
	return good;
}

int main(int argc, char **argv)
{
	struct target targets[TARGETS_MAX];
	int count = argc - 2, rounds = argc > 1 ? atoi(argv[1]) : 0;
	bool good = true;

	if (count < 1 || count > TARGETS_MAX || rounds < 1)
		return 2;
	printf("%-24s", "p50/p99 in us");
	for (int t = 0; t < count; t++) {
		if (!parse_target(argv[t + 2], &targets[t])) {
			fprintf(stderr, "cannot use target %d\n", t);
			return 1;
		}
		printf(" %17s", targets[t].name);
	}
	printf(" %9s\n", "ratio");
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		good = measure(targets, count, i, rounds) && good;
	return good ? 0 : 1;
}
