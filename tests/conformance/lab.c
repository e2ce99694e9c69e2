/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab.h"
#include "sim/sim.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SIM_REGIONS_MAX 512

/* Four cores, three of them in the pool, and more pages than a slot has regions. */
static const struct sim_options sim_large = {
	.cpus = 8,
	.memory = 1040ULL << 20,
	.vm_none = true,
};

/* The least that the cases may assume: one core in the pool, 64 pages. */
static const struct sim_options sim_least = {
	.cpus = 4,
	.memory = 128ULL << 20,
	.vm_none = true,
};

static int sim_crash(void *context, uint64_t slot_uid)
{
	return sim_dev_crash(context, slot_uid, NULL);
}

static int sim_faults(void *context, const char *plan)
{
	return sim_dev_set_faults(context, plan, strlen(plan), NULL);
}

static int sim_spurious(void *context)
{
	return sim_faults(context, "event spurious\n");
}

static int sim_map_other_node(void *context, void **address)
{
	return sim_dev_map_other_node(context, address, NULL);
}

static int sim_slots(void *context)
{
	char *text = sim_dev_slots(context);
	int count = 0;

	if (!text)
		return -ENOMEM;
	for (const char *at = text; *at; at++)
		count += *at == '\n';
	free(text);
	return count;
}

/* Its free pages come in a row where they can. */
static int sim_arrange(void *context, size_t pages)
{
	return 0;
}

static int open_sim(const struct sim_options *options, struct ne_dev **dev, struct lab *lab,
	struct nefs_error *err)
{
	int failed = sim_dev_new(options, dev, err);

	if (failed)
		return failed;
	*lab = (struct lab){
		.crash = sim_crash,
		.spurious = sim_spurious,
		.faults = sim_faults,
		.map_other_node = sim_map_other_node,
		.slots = sim_slots,
		.regions_max = SIM_REGIONS_MAX,
		.arrange = sim_arrange,
		.context = *dev,
	};
	return 0;
}

int lab_open(const char *kind, const char *path, struct ne_dev **dev, struct lab *lab,
	struct nefs_error *err)
{
	*lab = (struct lab){ 0 };
	if (strcmp(kind, "sim") == 0)
		return open_sim(&sim_large, dev, lab, err);
	if (strcmp(kind, "sim-least") == 0)
		return open_sim(&sim_least, dev, lab, err);
	if (strcmp(kind, "kernel") == 0)
		return lab_open_kernel(path, dev, lab, err);
	return nefs_error_set(err, EINVAL, "--device is sim, sim-least or kernel, not %s", kind);
}

const char *lab_lacks(const struct conformance *conformance, unsigned int needs)
{
	const struct lab *lab = conformance->lab;
	const struct {
		bool met;
		const char *text;
	} known[NEEDS] = {
		{ conformance->pool.threads > 1, "more than one thread a core" },
		{ conformance->pool.cores > 1, "two cores in the pool" },
		{ lab->crash, "a way to crash an enclave" },
		{ lab->spurious, "a way to raise an event" },
		{ lab->faults, "a way to plan faults of the device" },
		{ lab->map_other_node, "a huge page of another NUMA node" },
		{ lab->regions_max && conformance->free_pages > lab->regions_max,
			"a known limit of regions, and more pages than that" },
		{ lab->arrange, "a way to have physically contiguous pages" },
		{ lab->slots, "a way to count the slots" },
	};

	for (size_t i = 0; i < NEEDS; i++)
		if (needs & 1U << i && !known[i].met)
			return known[i].text;
	return NULL;
}
