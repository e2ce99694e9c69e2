/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ne-conformance: one table of cases for whatever stands for /dev/nitro_enclaves.
 *
 *	ne-conformance --device sim|kernel [--device-path PATH] [--list] [CASE...]
 *
 * Prints a line for each case and "N passed, N failed" at the end. A case that needs what this
 * device cannot do has failed, unless --allow-missing is given.
 */
#include "kernel/kernel.h"
#include "sim/sim.h"
#include "subject.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct run {
	struct conformance conformance;
	bool allow_missing;
	unsigned int passed, failed;
	char **wanted; /* case names; none: all */
	int wanted_count;
};

static int sim_crash(void *context, uint64_t slot_uid)
{
	return sim_dev_crash(context, slot_uid, NULL);
}

static int sim_spurious(void *context)
{
	return sim_dev_set_faults(context, "event spurious\n", 15, NULL);
}

static bool is_wanted(const struct run *run, const char *name)
{
	for (int i = 0; i < run->wanted_count; i++)
		if (strcmp(run->wanted[i], name) == 0)
			return true;
	return !run->wanted_count;
}

static void report(struct run *run, const char *name, int result, int expected)
{
	char got[64], wanted[64];

	if (result == expected) {
		run->passed++;
		printf("ok   %-50s %s\n", name, result_name(result, got));
	} else {
		run->failed++;
		printf("FAIL %-50s got %s, expected %s\n", name, result_name(result, got),
			result_name(expected, wanted));
	}
}

/* May the case run here? Counts it as failed if it may not and nobody said that this is fine. */
static bool is_possible(struct run *run, const char *name, bool crash, bool spurious)
{
	if ((!crash || run->conformance.lab->crash) &&
		(!spurious || run->conformance.lab->spurious))
		return true;
	printf("%s %-50s this device cannot be made to do it\n",
		run->allow_missing ? "n/a " : "FAIL", name);
	run->failed += !run->allow_missing;
	return false;
}

static void run_all(struct run *run)
{
	for (size_t i = 0; i < ioctl_case_count(); i++) {
		const struct ioctl_case *row = &ioctl_cases[i];

		if (is_wanted(run, row->name) &&
			is_possible(run, row->name, row->state == STATE_CRASHED, false))
			report(run, row->name, ioctl_case_run(&run->conformance, row),
				row->expected);
	}
	for (size_t i = 0; i < life_case_count(); i++) {
		const struct conformance_case *one = &life_cases[i];

		if (is_wanted(run, one->name) &&
			is_possible(run, one->name, one->needs_crash, one->needs_spurious))
			report(run, one->name, one->run(&run->conformance), one->expected);
	}
}

static void list_all(void)
{
	for (size_t i = 0; i < ioctl_case_count(); i++)
		puts(ioctl_cases[i].name);
	for (size_t i = 0; i < life_case_count(); i++)
		puts(life_cases[i].name);
}

static int open_device(
	const char *kind, const char *path, struct ne_dev **dev, struct nefs_error *err)
{
	const struct sim_options options = { .cpus = 8, .memory = 1ULL << 30, .vm_none = true };

	return strcmp(kind, "sim") == 0 ? sim_dev_new(&options, dev, err)
					: kernel_dev_new(path, dev, err);
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "device", required_argument, NULL, 'd' },
		{ "device-path", required_argument, NULL, 'p' }, { "list", no_argument, NULL, 'l' },
		{ "allow-missing", no_argument, NULL, 'm' }, { 0 } };
	struct lab lab = { 0 };
	struct run run = { .conformance.lab = &lab };
	struct nefs_error err = { 0 };
	const char *kind = "sim", *path = NULL;
	struct ne_dev *dev;
	int option;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'd')
			kind = optarg;
		else if (option == 'p')
			path = optarg;
		else if (option == 'm')
			run.allow_missing = true;
		else if (option == 'l')
			return list_all(), EXIT_SUCCESS;
		else
			return 2;
	}
	run.wanted = argv + optind;
	run.wanted_count = argc - optind;
	if (strcmp(kind, "sim") && strcmp(kind, "kernel")) {
		fprintf(stderr, "ne-conformance: --device is sim or kernel\n");
		return 2;
	}
	if (open_device(kind, path, &dev, &err) ||
		(run.conformance.device = dev->ops->open(dev, &err)) < 0) {
		fprintf(stderr, "ne-conformance: %s\n", err.text);
		return EXIT_FAILURE;
	}
	if (strcmp(kind, "sim") == 0)
		lab = (struct lab){ sim_crash, sim_spurious, dev };
	run.conformance.dev = dev;
	run_all(&run);
	dev->ops->close(dev, run.conformance.device);
	dev->ops->destroy(dev);
	printf("%u passed, %u failed\n", run.passed, run.failed);
	return run.failed || !run.passed ? EXIT_FAILURE : EXIT_SUCCESS;
}
