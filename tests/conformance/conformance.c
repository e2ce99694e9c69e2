/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ne-conformance: one table of cases for whatever stands for /dev/nitro_enclaves.
 *
 *	ne-conformance [--device sim|sim-least|kernel] [--device-path PATH] [--pool LIST]
 *		[--allow-missing] [--list] [CASE...]
 *
 * Prints a line for each case and "N passed, N failed" at the end. A case that needs what this
 * device cannot do has failed, unless --allow-missing is given; so has one that leaves a CPU, a
 * page, a slot or an fd behind. With --pool the CPU pool has to be this cpu-list.
 */
#include "lab.h"
#include "pool.h"
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FDS_MAX 1024

/* More than the 120 s that a driver waits for a lost reply, twice. */
#define CASE_SECONDS 300

struct run {
	struct conformance conformance;
	bool allow_missing;
	unsigned int passed, failed;
	char **wanted; /* case names; none: all */
	int wanted_count;
};

/* What a case must leave as it was. */
struct stock {
	int64_t pages, cpus, slots, fds;
};

static const struct conformance_case *const tables[] = { create_cases, vcpu_cases, memory_cases,
	start_cases, process_cases, life_cases, fault_cases };

#define TABLES (sizeof(tables) / sizeof(tables[0]))

static struct stock take_stock(struct conformance *conformance)
{
	const struct lab *lab = conformance->lab;
	struct stock stock = { .pages = free_pages(conformance) };
	SUBJECT(subject);

	for (int fd = 0; fd < FDS_MAX; fd++)
		stock.fds += fcntl(fd, F_GETFD) >= 0;
	stock.slots = lab->slots ? lab->slots(lab->context) : 0;
	stock.cpus = subject_create(&subject);
	if (stock.cpus >= 0)
		stock.cpus = subject_take_pool(&subject);
	return stock;
}

/* Prints what is not as it was. */
static bool is_same_stock(const struct stock *before, const struct stock *after)
{
	const struct {
		const char *name;
		int64_t before, after;
	} items[] = {
		{ "free pages", before->pages, after->pages },
		{ "CPUs in the pool", before->cpus, after->cpus },
		{ "slots in use", before->slots, after->slots },
		{ "open fds", before->fds, after->fds },
	};
	bool same = true;

	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		if (items[i].before == items[i].after)
			continue;
		printf("%s: %" PRId64 " before the case, %" PRId64 " after it\n", items[i].name,
			items[i].before, items[i].after);
		same = false;
	}
	return same;
}

static bool is_wanted(const struct run *run, const char *name)
{
	for (int i = 0; i < run->wanted_count; i++)
		if (strcmp(run->wanted[i], name) == 0)
			return true;
	return !run->wanted_count;
}

static void report(struct run *run, const char *name, int result, int expected, bool clean)
{
	char got[64], wanted[64];

	if (result == expected && clean) {
		run->passed++;
		printf("ok   %-50s %s\n", name, result_name(result, got));
		return;
	}
	run->failed++;
	printf("FAIL %-50s got %s, expected %s%s\n", name, result_name(result, got),
		result_name(expected, wanted), clean ? "" : ", and all back after it");
}

/* May the case run here? Counts it as failed if it may not and nobody said that this is fine. */
static bool is_possible(struct run *run, const char *name, unsigned int needs)
{
	const char *lack = lab_lacks(&run->conformance, needs);

	if (!lack)
		return true;
	printf("%s %-50s not here: it needs %s\n", run->allow_missing ? "n/a " : "FAIL", name,
		lack);
	run->failed += !run->allow_missing;
	return false;
}

static void run_one(struct run *run, const struct ioctl_case *row,
	const struct conformance_case *one, const char *name, int expected)
{
	struct stock before, after;
	int result;

	alarm(CASE_SECONDS);
	before = take_stock(&run->conformance);
	result = row ? ioctl_case_run(&run->conformance, row) : one->run(&run->conformance);
	if (run->conformance.lab->faults)
		run->conformance.lab->faults(run->conformance.lab->context, "");
	after = take_stock(&run->conformance);
	alarm(0);
	report(run, name, result, expected, is_same_stock(&before, &after));
}

static void run_all(struct run *run)
{
	for (const struct ioctl_case *row = ioctl_cases; row->name; row++) {
		if (is_wanted(run, row->name) &&
			is_possible(run, row->name, row->state == STATE_CRASHED ? NEED_CRASH : 0))
			run_one(run, row, NULL, row->name, row->expected);
	}
	for (size_t i = 0; i < TABLES; i++) {
		for (const struct conformance_case *one = tables[i]; one->name; one++) {
			if (is_wanted(run, one->name) && is_possible(run, one->name, one->needs))
				run_one(run, NULL, one, one->name, one->expected);
		}
	}
}

/* A tab and what is expected: docs/ioctl.md is held to it. */
static void list_one(const char *name, int expected)
{
	char text[64];

	printf("%s\t%s\n", name, result_name(expected, text));
}

/* Prints all names, or, with a name, only says whether it is one. */
static bool list_all(const char *name)
{
	bool found = false;

	for (const struct ioctl_case *row = ioctl_cases; row->name; row++) {
		found |= name && strcmp(row->name, name) == 0;
		if (!name)
			list_one(row->name, row->expected);
	}
	for (size_t i = 0; i < TABLES; i++) {
		for (const struct conformance_case *one = tables[i]; one->name; one++) {
			found |= name && strcmp(one->name, name) == 0;
			if (!name)
				list_one(one->name, one->expected);
		}
	}
	return found;
}

/* Finds out what the machine offers. */
static bool survey(struct conformance *conformance, const char *pool)
{
	int failed = pool_survey(conformance->dev, &conformance->pool);
	int64_t pages = free_pages(conformance);

	if (failed) {
		fprintf(stderr, "ne-conformance: the CPU pool cannot be found out: %s\n",
			result_name(failed, (char[64]){ 0 }));
		return false;
	}
	if (pool && !pool_is(&conformance->pool, pool)) {
		fprintf(stderr,
			"ne-conformance: the CPU pool is not %s: it has %zu CPUs from %u on\n",
			pool, conformance->pool.count, conformance->pool.ids[0]);
		return false;
	}
	conformance->free_pages = pages < 0 ? 0 : (uint64_t)pages;
	if (conformance->free_pages < 64) {
		fprintf(stderr,
			"ne-conformance: 64 huge pages of 2 MiB are needed, %" PRIu64 " are free\n",
			conformance->free_pages);
		return false;
	}
	return true;
}

struct arguments {
	const char *kind, *path, *pool;
	bool list;
};

static void parse(int argc, char **argv, struct run *run, struct arguments *arguments)
{
	static const struct option options[] = { { "device", required_argument, NULL, 'd' },
		{ "device-path", required_argument, NULL, 'p' },
		{ "pool", required_argument, NULL, 'c' }, { "list", no_argument, NULL, 'l' },
		{ "allow-missing", no_argument, NULL, 'm' }, { 0 } };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'd')
			arguments->kind = optarg;
		else if (option == 'p')
			arguments->path = optarg;
		else if (option == 'c')
			arguments->pool = optarg;
		else if (option == 'l')
			arguments->list = true;
		else if (option == 'm')
			run->allow_missing = true;
		else
			exit(2);
	}
	run->wanted = argv + optind;
	run->wanted_count = argc - optind;
	for (int i = optind; i < argc; i++) {
		/* A name that is no case would be a test that passes without running. */
		if (list_all(argv[i]))
			continue;
		fprintf(stderr, "ne-conformance: there is no case `%s`\n", argv[i]);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct arguments arguments = { .kind = "sim" };
	struct run run = { 0 };
	struct nefs_error err = { 0 };
	struct lab lab;
	struct ne_dev *dev;

	setvbuf(stdout, NULL, _IOLBF, 0);
	parse(argc, argv, &run, &arguments);
	if (arguments.list) {
		list_all(NULL);
		return EXIT_SUCCESS;
	}
	if (lab_open(arguments.kind, arguments.path, &dev, &lab, &err)) {
		fprintf(stderr, "ne-conformance: %s\n", err.text);
		return EXIT_FAILURE;
	}
	run.conformance.dev = dev;
	run.conformance.lab = &lab;
	run.conformance.device = dev->ops->open(dev, &err);
	if (run.conformance.device < 0)
		fprintf(stderr, "ne-conformance: %s\n", err.text);
	else if (survey(&run.conformance, arguments.pool))
		run_all(&run);
	if (run.conformance.device >= 0)
		dev->ops->close(dev, run.conformance.device);
	dev->ops->destroy(dev);
	printf("%u passed, %u failed\n", run.passed, run.failed);
	return run.failed || !run.passed ? EXIT_FAILURE : EXIT_SUCCESS;
}
