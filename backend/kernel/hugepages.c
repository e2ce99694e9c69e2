/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hugepages.h"

#include "page_order.h"
#include "sysfs.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/mman.h>
#include <nefs/cleanup.h>
#include <nefs/ne_limits.h>
#include <numaif.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Nodes that a mask for mbind has room for; more than any kernel is built for. */
#define NODES_MAX     1024
#define BITS_PER_LONG (8 * sizeof(unsigned long))

/* The directory of a node's page sizes, or the machine's. */
static int open_sizes(const char *sysfs, int node, bool *of_node)
{
	char path[4096];
	int fd = -1;

	if (node >= 0) {
		snprintf(
			path, sizeof(path), "%s/devices/system/node/node%d/hugepages", sysfs, node);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	*of_node = fd >= 0;
	if (fd < 0) {
		snprintf(path, sizeof(path), "%s/kernel/mm/hugepages", sysfs);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	return fd;
}

/* Reads one "hugepages-2048kB" directory. */
static bool read_size(int dir, const char *name, bool of_node, struct ne_dev_pages *pages)
{
	uint64_t reserved = 0, kib;
	char path[300], unit[4];

	if (sscanf(name, "hugepages-%" SCNu64 "%3s", &kib, unit) != 2 || strcmp(unit, "kB") != 0 ||
		kib > UINT64_MAX >> 10)
		return false;
	pages->size = kib << 10;
	if (pages->size < NE_MEMORY_UNIT || (pages->size & (pages->size - 1)) != 0)
		return false;
	snprintf(path, sizeof(path), "%s/nr_hugepages", name);
	if (sysfs_read_number(dir, path, &pages->total) < 0)
		return false;
	snprintf(path, sizeof(path), "%s/free_hugepages", name);
	if (sysfs_read_number(dir, path, &pages->free) < 0)
		return false;
	/* Promised to a mapping but not faulted in yet; the kernel counts these per machine only. */
	snprintf(path, sizeof(path), "%s/resv_hugepages", name);
	if (!of_node && sysfs_read_number(dir, path, &reserved) == 0)
		pages->free -= reserved < pages->free ? reserved : pages->free;
	return true;
}

static int compare_sizes(const void *left, const void *right)
{
	uint64_t a = ((const struct ne_dev_pages *)left)->size;
	uint64_t b = ((const struct ne_dev_pages *)right)->size;

	return (a < b) - (a > b);
}

size_t hugepages_list(const char *sysfs, int node, struct ne_dev_pages *pages, size_t max)
{
	NEFS_AUTO_CLOSE int fd = -1;
	struct dirent *entry;
	bool of_node;
	size_t count = 0;
	DIR *dir;

	fd = open_sizes(sysfs, node, &of_node);
	if (fd < 0)
		return 0;
	dir = fdopendir(fd);
	if (!dir)
		return 0;
	(void)nefs_take_fd(&fd);
	while (count < max && (entry = readdir(dir))) {
		if (read_size(dirfd(dir), entry->d_name, of_node, &pages[count]))
			count++;
	}
	closedir(dir);
	qsort(pages, count, sizeof(*pages), compare_sizes);
	return count;
}

/* Ties a mapping to a node. 0 or a negative errno. */
static int bind_to_node(void *address, uint64_t size, int node)
{
	unsigned long mask[NODES_MAX / BITS_PER_LONG] = { 0 };

	if (node < 0)
		return 0;
	if (node >= NODES_MAX)
		return -EINVAL;
	mask[(unsigned int)node / BITS_PER_LONG] = 1UL << ((unsigned int)node % BITS_PER_LONG);
	/* One bit more than there are: the kernel counts the highest out. */
	if (mbind(address, size, MPOL_BIND, mask, NODES_MAX + 1, MPOL_MF_STRICT) == 0)
		return 0;
	/* A kernel without NUMA has one node, and everything is on it. */
	return errno == ENOSYS && node == 0 ? 0 : -errno;
}

static int shortage(struct nefs_error *err, uint64_t size, uint64_t page_size, int node)
{
	char where[32] = "";

	if (node >= 0)
		snprintf(where, sizeof(where), " on NUMA node %d", node);
	return nefs_error_set(err, ENOMEM,
		"not enough free huge pages%s: %" PRIu64 " of %" PRIu64
		" MiB are needed: stop an enclave or reserve more (nr_hugepages)",
		where, size / page_size, page_size >> 20);
}

int hugepages_map(
	uint64_t size, uint64_t page_size, int node, void **address, struct nefs_error *err)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
	void *mapped;
	int failed;

	if (page_size < NE_MEMORY_UNIT || (page_size & (page_size - 1)) != 0 || size == 0 ||
		size % page_size != 0 || size > SIZE_MAX)
		return nefs_error_set(err, EINVAL,
			"%" PRIu64 " bytes cannot be mapped in pages of %" PRIu64, size, page_size);
	flags |= (int)((unsigned int)__builtin_ctzll(page_size) << MAP_HUGE_SHIFT);
	mapped = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (mapped == MAP_FAILED) {
		if (errno == ENOMEM || errno == EINVAL) /* EINVAL: no such page size here */
			return shortage(err, size, page_size, node);
		return nefs_error_set(err, EIO, "cannot map %" PRIu64 " MiB of huge pages: %s",
			size >> 20, strerror(errno));
	}
	failed = bind_to_node(mapped, size, node);
	if (failed < 0) {
		munmap(mapped, (size_t)size);
		return nefs_error_set(err, EIO, "cannot take memory of NUMA node %d: %s", node,
			strerror(-failed));
	}
	/*
	 * A child of ours (a tool, a VM) must not share pages that become an enclave's: its first
	 * write would break the sharing with a page that is not there.
	 */
	(void)madvise(mapped, (size_t)size, MADV_DONTFORK);
	/* And what an enclave has in it is in no core file. */
	(void)madvise(mapped, (size_t)size, MADV_DONTDUMP);
	if (madvise(mapped, (size_t)size, MADV_POPULATE_WRITE) < 0) {
		int code = errno;

		munmap(mapped, (size_t)size);
		/* EFAULT and EHWPOISON: a touch would have been SIGBUS. */
		if (code == ENOMEM || code == EFAULT || code == EHWPOISON)
			return shortage(err, size, page_size, node);
		return nefs_error_set(err, EIO, "cannot fault in %" PRIu64 " MiB of huge pages: %s",
			size >> 20, strerror(code));
	}
	*address = page_order_sort(mapped, size, page_size);
	return *address ? 0
			: nefs_error_set(err, EIO,
				  "the huge pages could not be brought into order: start it again");
}

void hugepages_unmap(void *address, uint64_t size)
{
	munmap(address, (size_t)size);
}
