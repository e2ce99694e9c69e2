/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Linux's driver in a virtual machine with a device of ours (scripts/lab). */
#include "control_port.h"
#include "kernel/kernel.h"
#include "kernel/pool.h"
#include "lab.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <nefs/cleanup.h>
#include <numa.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* backend/sim/slots.h, what nefs-device says to SLOT_ALLOC. */
#define REGIONS_MAX 512

static int crash(void *context, uint64_t slot_uid)
{
	char request[64];

	snprintf(request, sizeof(request), "crash %#" PRIx64, slot_uid);
	return control_port_request(context, request, NULL);
}

static int spurious(void *context)
{
	return control_port_request(context, "spurious", NULL);
}

static int faults(void *context, const char *plan)
{
	NEFS_AUTO_FREE char *request = NULL;

	if (asprintf(&request, "fault %s", plan) < 0)
		return -ENOMEM;
	for (char *c = request; *c; c++)
		if (*c == '\n')
			*c = ';';
	return control_port_request(context, request, NULL);
}

static int slots(void *context)
{
	size_t count;
	int failed = control_port_request(context, "list", &count);

	return failed ? failed : (int)count;
}

static int map_other_node(void *context, void **address)
{
	int pool = pool_node("/sys", NULL), other = -1;
	struct bitmask *nodes;
	void *page;

	for (int node = 0; node <= numa_max_node(); node++)
		if (node != pool && numa_node_size64(node, NULL) > 0)
			other = node;
	if (pool < 0 || other < 0)
		return -ENODEV;
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB,
		-1, 0);
	if (page == MAP_FAILED)
		return -errno;
	nodes = numa_allocate_nodemask();
	numa_bitmask_setbit(nodes, (unsigned int)other);
	numa_tonodemask_memory(page, PAGE, nodes);
	numa_bitmask_free(nodes);
	*(volatile char *)page = 0;
	*address = page;
	return 0;
}

/* A page and where it is: bits 0 to 54 of its entry in /proc/self/pagemap (Linux's pagemap.rst). */
struct placed_page {
	char *address;
	uint64_t frame;
};

static int by_frame_downwards(const void *left, const void *right)
{
	const struct placed_page *a = left, *b = right;

	return (a->frame < b->frame) - (a->frame > b->frame);
}

static bool locate(struct placed_page *page, int pagemap)
{
	uint64_t entry = 0, at = (uintptr_t)page->address / 4096 * sizeof(entry);

	if (pread(pagemap, &entry, sizeof(entry), (off_t)at) != sizeof(entry))
		return false;
	page->frame = entry & ((1ULL << 55) - 1);
	return page->frame != 0; /* 0: we may not know */
}

/*
 * The page that was freed last is given out first. So as many pages as are wanted are taken, and
 * freed one by one from the highest address to the lowest.
 */
static int arrange(void *context, size_t pages)
{
	NEFS_AUTO_FREE struct placed_page *placed = calloc(pages, sizeof(*placed));
	NEFS_AUTO_CLOSE int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int result = 0;
	char *memory;

	if (!placed || pagemap < 0)
		return -ENOMEM;
	memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	for (size_t i = 0; i < pages; i++) {
		placed[i].address = memory + i * PAGE;
		if (!locate(&placed[i], pagemap))
			result = -EPERM;
	}
	qsort(placed, pages, sizeof(*placed), by_frame_downwards);
	for (size_t i = 0; i < pages; i++)
		munmap(placed[i].address, PAGE);
	return result;
}

int lab_open_kernel(const char *path, struct ne_dev **dev, struct lab *lab, struct nefs_error *err)
{
	struct control_port *port;
	int failed = kernel_dev_new(path, dev, err);

	/* Without the port it may be AWS's device: what needs more than the driver is left out. */
	if (failed || control_port_open(getenv("NEFS_CONTROL"), &port, err) == -ENOENT)
		return failed;
	if (err->code)
		return -err->code;
	*lab = (struct lab){
		.crash = crash,
		.spurious = spurious,
		.faults = faults,
		.slots = slots,
		.arrange = arrange,
		.regions_max = REGIONS_MAX,
		.context = port,
	};
	if (numa_available() == 0 && numa_max_node() > 0)
		lab->map_other_node = map_other_node;
	return 0;
}
