/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulated machine's huge pages: what hugetlb and get_user_pages are to the real driver.
 *
 * One sparse memfd stands for physical memory; a simulated physical address is MEMORY_BASE plus an
 * offset in it. Each 2 MiB page has a count of holders (mappings of the process, enclaves); a page
 * that nobody holds any more is punched out of the memfd, so that its next owner finds zeroes and
 * the host gets its memory back; one for which that fails is lost to the machine. Nothing is touched before somebody writes to it: thousands of
 * enclaves cost what they really use.
 *
 * One page more than was asked for belongs to a second NUMA node; it exists so that the driver's
 * rule about nodes can be tried, and it never counts as free.
 *
 * Every function may be called from any thread.
 */
#ifndef NEFS_SIM_MEMORY_H
#define NEFS_SIM_MEMORY_H

#include <nefs/error.h>
#include <nefs/ne_limits.h>
#include <stddef.h>
#include <stdint.h>

/* Smaller huge pages would be of no use to an enclave, larger ones are not needed to try things. */
#define MEMORY_PAGE_SIZE NE_MEMORY_UNIT

/* Simulated physical address of the first page. */
#define MEMORY_BASE (4ULL << 30)

struct memory;

/* A physically contiguous piece of memory. */
struct memory_run {
	uint64_t paddr; /* simulated physical address */
	uint64_t size;	/* bytes, a multiple of MEMORY_PAGE_SIZE */
};

/*
 * Makes size bytes (a multiple of MEMORY_PAGE_SIZE, up to NE_SIM_MEMORY_MAX) of empty pages.
 * ENOMEM, EMFILE.
 */
int memory_new(uint64_t size, struct memory **memory, struct nefs_error *err);

/* Frees it. Every mapping must be gone. NULL is allowed. */
void memory_free(struct memory *memory);

/* The memfd behind the pages (stays the memory's) and its size, the second node's page included. */
int memory_fd(const struct memory *memory);
uint64_t memory_span(const struct memory *memory);

/* Pages of the pool's node: all of them, and those that nobody holds. */
void memory_count(struct memory *memory, uint64_t *total, uint64_t *available);

/*
 * Maps size bytes (a multiple of MEMORY_PAGE_SIZE, not 0) of free pages, contiguous ones if there
 * are as many in a row, aligned to MEMORY_PAGE_SIZE. ENOMEM with the figures if there are too few.
 */
int memory_map(struct memory *memory, uint64_t size, void **address, struct nefs_error *err);

/* Maps the second node's page. EBUSY while it is held. */
int memory_map_other_node(struct memory *memory, void **address, struct nefs_error *err);

/* Undoes a memory_map; pages that an enclave holds stay with it. Unknown addresses are ignored. */
void memory_unmap(struct memory *memory, void *address);

/*
 * Holds the pages behind [address, address + size) of this process and says where they are, as
 * runs in address order: neighbours that are contiguous are one run. The range is aligned, not
 * empty, and does not wrap. On success *runs (malloc'ed) and *count are the caller's. Fails with
 * the errno of the first page that is unfit, holding nothing: -EFAULT (no memory there),
 * -NE_ERR_MEM_NOT_HUGE_PAGE, -NE_ERR_MEM_DIFFERENT_NUMA_NODE; or -ENOMEM.
 */
int memory_pin(struct memory *memory, uint64_t address, uint64_t size, struct memory_run **runs,
	size_t *count);

/* Gives the pages of these runs back. */
void memory_unpin(struct memory *memory, const struct memory_run *runs, size_t count);

#endif
