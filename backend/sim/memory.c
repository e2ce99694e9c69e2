/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "memory.h"
#include "user_copy.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/nitro_enclaves.h>
#include <nefs/addresses.h>
#include <nefs/cleanup.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Pages in a row. */
struct extent {
	uint64_t first; /* page number */
	uint64_t count;
};

/* What one memory_map gave out. */
struct mapping {
	uint64_t address;
	uint64_t size;
	size_t extent_count;
	struct extent extents[];
};

struct memory {
	int fd;
	uint64_t pages; /* of the pool's node; page number `pages` is the other node's */

	pthread_mutex_t lock;	   /* everything below */
	uint64_t available;	   /* pages of the pool's node that nobody holds */
	uint64_t lowest;	   /* no page below this one is free */
	uint32_t *holders;	   /* of each page */
	struct mapping **mappings; /* by ascending address */
	size_t mapping_count;
	size_t mapping_room;
};

/*
 * The same without a file's size, which a limit of file size (ulimit -f) is for: memory that is shared by nobody,
 * and by the way to it that /proc has for who may. An fd, or a negative errno.
 */
static int open_anonymous(uint64_t size)
{
	void *area = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char path[64];
	int fd;

	if (area == MAP_FAILED)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/map_files/%" PRIxPTR "-%" PRIxPTR, (uintptr_t)area,
		(uintptr_t)area + (uintptr_t)size);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	munmap(area, size);
	return fd;
}

/* A file in memory: an fd, or a negative errno. */
static int open_file(uint64_t size)
{
	NEFS_AUTO_CLOSE int fd = memfd_create("nefs-sim-memory", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) == 0)
		return nefs_take_fd(&fd);
	if (errno == EFBIG) {
		int other = open_anonymous(size);

		return other < 0 ? -EFBIG : other;
	}
	return -errno;
}

int memory_new(uint64_t size, struct memory **result, struct nefs_error *err)
{
	NEFS_AUTO_FREE struct memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		return nefs_error_set(err, ENOMEM, "out of memory for the simulated machine");
	memory->pages = size / MEMORY_PAGE_SIZE;
	memory->available = memory->pages;
	memory->holders = calloc(memory->pages + 1, sizeof(*memory->holders));
	if (!memory->holders)
		return nefs_error_set(err, ENOMEM,
			"out of memory for a simulated machine of %llu huge pages",
			(unsigned long long)memory->pages);
	memory->fd = open_file(size + MEMORY_PAGE_SIZE);
	if (memory->fd < 0) {
		int failed = -memory->fd;

		free(memory->holders);
		return nefs_error_set(err, failed,
			"cannot make the simulated machine's memory of %llu MiB: %s%s",
			(unsigned long long)(size >> 20), strerror(failed),
			failed == EFBIG
				? "; lift the limit (ulimit -f, LimitFSIZE=), or mount with "
				  "less (-o sim_memory=SIZE)"
				: "");
	}
	pthread_mutex_init(&memory->lock, NULL);
	*result = nefs_take_ptr(memory);
	return 0;
}

void memory_free(struct memory *memory)
{
	if (!memory)
		return;
	while (memory->mapping_count > 0)
		memory_unmap(memory, (void *)(uintptr_t)memory->mappings[0]->address);
	pthread_mutex_destroy(&memory->lock);
	close(memory->fd);
	free(memory->mappings);
	free(memory->holders);
	free(memory);
}

int memory_fd(const struct memory *memory)
{
	return memory->fd;
}

uint64_t memory_span(const struct memory *memory)
{
	return (memory->pages + 1) * MEMORY_PAGE_SIZE;
}

void memory_count(struct memory *memory, uint64_t *total, uint64_t *available)
{
	pthread_mutex_lock(&memory->lock);
	*total = memory->pages;
	*available = memory->available;
	pthread_mutex_unlock(&memory->lock);
}

/* ---- Pages; the lock is held ---- */

static void hold(struct memory *memory, uint64_t first, uint64_t count)
{
	for (uint64_t page = first; page < first + count; page++) {
		if (memory->holders[page]++ == 0 && page < memory->pages)
			memory->available--;
	}
	while (memory->lowest < memory->pages && memory->holders[memory->lowest] > 0)
		memory->lowest++;
}

/*
 * Gives back pages that nobody holds any more. What cannot be punched out is lost: it holds what the last
 * enclave had there, and must never be somebody else's.
 */
static void release(struct memory *memory, uint64_t first, uint64_t count)
{
	if (count == 0)
		return;
	if (fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		    (off_t)(first * MEMORY_PAGE_SIZE), (off_t)(count * MEMORY_PAGE_SIZE)) < 0) {
		for (uint64_t page = first; page < first + count; page++)
			memory->holders[page] = 1;
		return;
	}
	/* The second node's page is the last one, and counts as none. */
	for (uint64_t page = first; page < first + count && page < memory->pages; page++)
		memory->available++;
	if (first < memory->lowest)
		memory->lowest = first;
}

/* Drops one hold of each page, and gives back, in as few pieces as possible, those now free. */
static void drop(struct memory *memory, uint64_t first, uint64_t count)
{
	uint64_t freed = 0;

	for (uint64_t page = first; page < first + count; page++) {
		if (--memory->holders[page] > 0) {
			release(memory, page - freed, freed);
			freed = 0;
		} else {
			freed++;
		}
	}
	release(memory, first + count - freed, freed);
}

/* First fit: the first run of wanted free pages. */
static bool find_run(const struct memory *memory, uint64_t wanted, struct extent *found)
{
	uint64_t length = 0;

	for (uint64_t page = memory->lowest; page < memory->pages; page++) {
		length = memory->holders[page] > 0 ? 0 : length + 1;
		if (length == wanted) {
			*found = (struct extent){ page + 1 - wanted, wanted };
			return true;
		}
	}
	return false;
}

/* Collects wanted free pages, wherever they are, into mapping->extents. */
static void gather(const struct memory *memory, uint64_t wanted, struct mapping *mapping)
{
	for (uint64_t page = memory->lowest; page < memory->pages && wanted > 0; page++) {
		struct extent *last = &mapping->extents[mapping->extent_count];

		if (memory->holders[page] > 0)
			continue;
		wanted--;
		if (mapping->extent_count > 0 && last[-1].first + last[-1].count == page) {
			last[-1].count++;
			continue;
		}
		*last = (struct extent){ page, 1 };
		mapping->extent_count++;
	}
}

/* Allocates the record of a mapping and chooses its pages. NULL: out of memory. */
static struct mapping *choose_pages(const struct memory *memory, uint64_t wanted)
{
	struct mapping *mapping;
	struct extent run;

	if (find_run(memory, wanted, &run)) {
		mapping = calloc(1, sizeof(*mapping) + sizeof(run));
		if (mapping) {
			mapping->extent_count = 1;
			mapping->extents[0] = run;
		}
		return mapping;
	}
	mapping = calloc(1, sizeof(*mapping) + wanted * sizeof(run));
	if (mapping)
		gather(memory, wanted, mapping);
	return mapping;
}

/* ---- Mappings; the lock is held ---- */

/* Index of the first mapping that ends above address. */
static size_t find_mapping(const struct memory *memory, uint64_t address)
{
	size_t low = 0, high = memory->mapping_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct mapping *mapping = memory->mappings[middle];

		if (mapping->address + mapping->size > address)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static int insert_mapping(struct memory *memory, struct mapping *mapping)
{
	size_t at = find_mapping(memory, mapping->address);

	if (memory->mapping_count == memory->mapping_room) {
		size_t room = memory->mapping_room ? 2 * memory->mapping_room : 16;
		void *larger = realloc(memory->mappings, room * sizeof(struct mapping *));

		if (!larger)
			return -ENOMEM;
		memory->mappings = larger;
		memory->mapping_room = room;
	}
	memmove(memory->mappings + at + 1, memory->mappings + at,
		(memory->mapping_count - at) * sizeof(struct mapping *));
	memory->mappings[at] = mapping;
	memory->mapping_count++;
	return 0;
}

/* Puts the chosen pages into the address space. Returns 0 or a negative errno. */
static int map_pages(struct memory *memory, struct mapping *mapping)
{
	char *start = nefs_reserve_addresses(mapping->size, MEMORY_PAGE_SIZE);
	char *at = start;

	if (!start)
		return -errno;
	for (size_t i = 0; i < mapping->extent_count; i++) {
		const struct extent *extent = &mapping->extents[i];
		uint64_t size = extent->count * MEMORY_PAGE_SIZE;

		if (mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory->fd,
			    (off_t)(extent->first * MEMORY_PAGE_SIZE)) == MAP_FAILED) {
			int failed = errno;

			munmap(start, mapping->size);
			return -failed;
		}
		at += size;
	}
	/* What an enclave has in it is in no core file. */
	madvise(start, mapping->size, MADV_DONTDUMP);
	mapping->address = (uintptr_t)start;
	return 0;
}

/* Maps what the record says and keeps the record; frees it if that fails. */
static int establish(struct memory *memory, struct mapping *mapping, struct nefs_error *err)
{
	int failed = map_pages(memory, mapping);

	if (!failed) {
		failed = insert_mapping(memory, mapping);
		if (failed)
			munmap((void *)(uintptr_t)mapping->address, mapping->size);
	}
	if (failed) {
		nefs_error_set(err, -failed, "cannot map %llu MiB of simulated huge pages: %s",
			(unsigned long long)(mapping->size >> 20), strerror(-failed));
		free(mapping);
		return failed;
	}
	for (size_t i = 0; i < mapping->extent_count; i++)
		hold(memory, mapping->extents[i].first, mapping->extents[i].count);
	return 0;
}

int memory_map(struct memory *memory, uint64_t size, void **address, struct nefs_error *err)
{
	uint64_t wanted = size / MEMORY_PAGE_SIZE;
	struct mapping *mapping;
	int result;

	pthread_mutex_lock(&memory->lock);
	if (wanted > memory->available) {
		result = nefs_error_set(err, ENOMEM,
			"%llu MiB need %llu huge pages of 2 MiB, but only %llu of the simulated "
			"machine's %llu are free: stop an enclave or mount with a larger sim_memory",
			(unsigned long long)(size >> 20), (unsigned long long)wanted,
			(unsigned long long)memory->available, (unsigned long long)memory->pages);
		goto out;
	}
	mapping = choose_pages(memory, wanted);
	if (!mapping) {
		result = nefs_error_set(err, ENOMEM, "out of memory for a mapping");
		goto out;
	}
	mapping->size = size;
	result = establish(memory, mapping, err);
	if (!result)
		*address = (void *)(uintptr_t)mapping->address;
out:
	pthread_mutex_unlock(&memory->lock);
	return result;
}

int memory_map_other_node(struct memory *memory, void **address, struct nefs_error *err)
{
	struct mapping *mapping;
	int result;

	pthread_mutex_lock(&memory->lock);
	if (memory->holders[memory->pages] > 0) {
		result = nefs_error_set(err, EBUSY, "the other node's only page is held");
		goto out;
	}
	mapping = calloc(1, sizeof(*mapping) + sizeof(struct extent));
	if (!mapping) {
		result = nefs_error_set(err, ENOMEM, "out of memory for a mapping");
		goto out;
	}
	mapping->size = MEMORY_PAGE_SIZE;
	mapping->extent_count = 1;
	mapping->extents[0] = (struct extent){ memory->pages, 1 };
	result = establish(memory, mapping, err);
	if (!result)
		*address = (void *)(uintptr_t)mapping->address;
out:
	pthread_mutex_unlock(&memory->lock);
	return result;
}

void memory_unmap(struct memory *memory, void *address)
{
	struct mapping *mapping;
	size_t at;

	pthread_mutex_lock(&memory->lock);
	at = find_mapping(memory, (uintptr_t)address);
	if (at < memory->mapping_count && memory->mappings[at]->address == (uintptr_t)address) {
		mapping = memory->mappings[at];
		memory->mapping_count--;
		memmove(memory->mappings + at, memory->mappings + at + 1,
			(memory->mapping_count - at) * sizeof(struct mapping *));
		munmap(address, mapping->size);
		for (size_t i = 0; i < mapping->extent_count; i++)
			drop(memory, mapping->extents[i].first, mapping->extents[i].count);
		free(mapping);
	}
	pthread_mutex_unlock(&memory->lock);
}

/* ---- Pins ---- */

/* The page behind an address: its number, or a negative errno. The lock is held. */
static int64_t find_page(const struct memory *memory, uint64_t address)
{
	size_t at = find_mapping(memory, address);
	const struct mapping *mapping;
	uint64_t index;

	if (at == memory->mapping_count || memory->mappings[at]->address > address) {
		uint8_t byte;

		/* Some other memory of the process, or none at all. */
		return user_copy_in(&byte, address, 1) < 0 ? -EFAULT : -NE_ERR_MEM_NOT_HUGE_PAGE;
	}
	mapping = memory->mappings[at];
	index = (address - mapping->address) / MEMORY_PAGE_SIZE;
	for (size_t i = 0; i < mapping->extent_count; i++) {
		if (index < mapping->extents[i].count)
			return (int64_t)(mapping->extents[i].first + index);
		index -= mapping->extents[i].count;
	}
	return -EFAULT;
}

/* Fills runs (room for a run per page) and returns their count, or a negative errno. */
static int64_t find_runs(
	const struct memory *memory, uint64_t address, uint64_t size, struct memory_run *runs)
{
	int64_t count = 0;

	for (uint64_t done = 0; done < size; done += MEMORY_PAGE_SIZE) {
		int64_t page = find_page(memory, address + done);
		uint64_t paddr;

		if (page < 0)
			return page;
		if ((uint64_t)page >= memory->pages)
			return -NE_ERR_MEM_DIFFERENT_NUMA_NODE;
		paddr = MEMORY_BASE + (uint64_t)page * MEMORY_PAGE_SIZE;
		if (count > 0 && runs[count - 1].paddr + runs[count - 1].size == paddr)
			runs[count - 1].size += MEMORY_PAGE_SIZE;
		else
			runs[count++] = (struct memory_run){ paddr, MEMORY_PAGE_SIZE };
	}
	return count;
}

int memory_pin(struct memory *memory, uint64_t address, uint64_t size, struct memory_run **result,
	size_t *result_count)
{
	NEFS_AUTO_FREE struct memory_run *runs = calloc(size / MEMORY_PAGE_SIZE, sizeof(*runs));
	int64_t count;

	if (!runs)
		return -ENOMEM;
	pthread_mutex_lock(&memory->lock);
	count = find_runs(memory, address, size, runs);
	for (int64_t i = 0; i < count; i++)
		hold(memory, (runs[i].paddr - MEMORY_BASE) / MEMORY_PAGE_SIZE,
			runs[i].size / MEMORY_PAGE_SIZE);
	pthread_mutex_unlock(&memory->lock);
	if (count < 0)
		return (int)count;
	*result_count = (size_t)count;
	*result = realloc(runs, (size_t)count * sizeof(*runs));
	if (!*result)
		*result = runs;
	runs = NULL;
	return 0;
}

void memory_unpin(struct memory *memory, const struct memory_run *runs, size_t count)
{
	pthread_mutex_lock(&memory->lock);
	for (size_t i = 0; i < count; i++)
		drop(memory, (runs[i].paddr - MEMORY_BASE) / MEMORY_PAGE_SIZE,
			runs[i].size / MEMORY_PAGE_SIZE);
	pthread_mutex_unlock(&memory->lock);
}
