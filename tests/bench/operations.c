/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Times single operations on several filesystems in one run, in turn, so that the machine's drift
 * hits them alike:
 *
 *	operations [-p LOW,HIGH | -m] ROUNDS NAME=DIR=READ=WRITE...
 *
 * READ and WRITE are files below DIR ("-": none); a WRITE of "-" leaves the writing operations out,
 * one of "+" only open+write+close: directories can be made there. The ratios are those of the first
 * filesystem to the second, the bare libfuse one: the median of what the rounds gave.
 *
 * -p: other percentiles than the 50th and the 99th. -m: for programs, a line an operation: its name,
 * the medians of the first two in microseconds, and the ratio.
 */
#include "samples.h"
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TARGETS_MAX 8
#define BATCH	    200 /* operations of one filesystem in a row */
#define WARM_UP	    50

struct target {
	const char *name;
	char read[512], write[512], directory[512];
	bool writable, makes_directories;
	int fd;
	struct samples times, batch;
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
	enum { READS, WRITES, MAKES_DIRECTORIES } kind;
} operations[] = {
	{ "stat", op_stat, READS },
	{ "pread", op_pread, READS },
	{ "open+read+close", op_open_read_close, READS },
	{ "open(TRUNC)+write+close", op_open_write_close, WRITES },
	{ "poll(0)", op_poll, READS },
	{ "mkdir+rmdir", op_mkdir_rmdir, MAKES_DIRECTORIES },
};

struct options {
	int low, high; /* percentiles */
	bool machine_readable;
};

static bool parse_target(char *text, struct target *target)
{
	char *words[4];

	for (int i = 0; i < 4; i++) {
		words[i] = strsep(&text, "=");
		if (!words[i])
			return false;
	}
	target->name = words[0];
	target->writable = strcmp(words[3], "-") != 0 && strcmp(words[3], "+") != 0;
	target->makes_directories = strcmp(words[3], "-") != 0;
	snprintf(target->read, sizeof(target->read), "%s/%s", words[1], words[2]);
	snprintf(target->write, sizeof(target->write), "%s/%s", words[1], words[3]);
	snprintf(target->directory, sizeof(target->directory), "%s/bench-new", words[1]);
	target->fd = open(target->read, O_RDONLY);
	return target->fd >= 0;
}

static bool has(const struct target *target, size_t index)
{
	switch (operations[index].kind) {
	case WRITES:
		return target->writable;
	case MAKES_DIRECTORIES:
		return target->makes_directories;
	case READS:
		break;
	}
	return true;
}

/* A batch of one operation on one target; false if it failed. */
static bool run_batch(struct target *target, size_t index)
{
	samples_clear(&target->batch);
	for (int i = -WARM_UP; i < BATCH; i++) {
		double begin = now_usec(), took;

		if (!operations[index].run(target)) {
			fprintf(stderr, "%s failed on %s\n", operations[index].name, target->name);
			return false;
		}
		took = now_usec() - begin;
		if (i < 0)
			continue;
		samples_add(&target->batch, took);
		samples_add(&target->times, took);
	}
	return true;
}

static void print_row(struct target *targets, int count, size_t index,
	const struct options *options, struct samples *ratios)
{
	const char *name = operations[index].name;
	double ratio = samples_percentile(ratios, 50);

	if (options->machine_readable) {
		printf("%s %.3f %.3f %.4f\n", name, samples_percentile(&targets[0].times, 50),
			samples_percentile(&targets[1].times, 50), ratio);
		return;
	}
	printf("%-24s", name);
	for (int t = 0; t < count; t++) {
		if (has(&targets[t], index))
			printf(" %8.2f/%8.2f", samples_percentile(&targets[t].times, options->low),
				samples_percentile(&targets[t].times, options->high));
		else
			printf(" %17s", "-");
	}
	printf(" %9.2f\n", ratio);
}

/* One operation on all targets; false if it failed somewhere. */
static bool measure(
	struct target *targets, int count, size_t index, int rounds, const struct options *options)
{
	struct samples ratios = { 0 };
	bool good = true;

	for (int round = 0; round < rounds && good; round++) {
		/* Each round begins with the next one, so that none is always behind the same. */
		for (int i = 0; i < count && good; i++) {
			struct target *target = &targets[(round + i) % count];

			good = !has(target, index) || run_batch(target, index);
		}
		if (good && count > 1 && has(&targets[0], index) && has(&targets[1], index))
			samples_add(&ratios, samples_percentile(&targets[0].batch, 50) /
						     samples_percentile(&targets[1].batch, 50));
	}
	print_row(targets, count, index, options, &ratios);
	for (int t = 0; t < count; t++) {
		samples_clear(&targets[t].times);
		samples_clear(&targets[t].batch);
	}
	samples_clear(&ratios);
	return good;
}

static int measure_all(char **words, int count, int rounds, const struct options *options)
{
	struct target targets[TARGETS_MAX] = { 0 };
	char percentiles[32];
	bool good = true;

	if (count < 1 || count > TARGETS_MAX || rounds < 1 ||
		(options->machine_readable && count < 2))
		return 2;
	for (int t = 0; t < count; t++) {
		if (!parse_target(words[t], &targets[t])) {
			fprintf(stderr, "cannot use target %d\n", t);
			return 1;
		}
	}
	if (!options->machine_readable) {
		snprintf(percentiles, sizeof(percentiles), "p%d/p%d in us", options->low,
			options->high);
		printf("%-24s", percentiles);
		for (int t = 0; t < count; t++)
			printf(" %17s", targets[t].name);
		printf(" %9s\n", "ratio");
	}
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		good = measure(targets, count, i, rounds, options) && good;
	return good ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct options options = { .low = 50, .high = 99 };
	int option;

	while ((option = getopt(argc, argv, "mp:")) >= 0) {
		if (option == 'm')
			options.machine_readable = true;
		else if (option != 'p' || sscanf(optarg, "%d,%d", &options.low, &options.high) != 2)
			return 2;
	}
	if (argc - optind < 2)
		return 2;
	return measure_all(argv + optind + 1, argc - optind - 1, atoi(argv[optind]), &options);
}
