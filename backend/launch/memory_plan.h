/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An enclave's memory: which huge pages make up its size, and mapping them.
 *
 * The largest page sizes that fit exactly come first: fewer, larger pages make fewer regions, of
 * which the device takes a limited number (docs/facts/driver.md §1).
 */
#ifndef NEFS_MEMORY_PLAN_H
#define NEFS_MEMORY_PLAN_H

#include <nefs/error.h>
#include <nefs/ne_dev.h>
#include <nefs/pace.h>
#include <stddef.h>
#include <stdint.h>

/* So many pages of one size. */
struct memory_part {
	uint64_t page_size; /* bytes, a power of two */
	uint64_t count;	    /* pages, at least 1 */
};

struct memory_plan {
	struct memory_part parts[NE_DEV_PAGE_SIZES_MAX]; /* largest page size first */
	size_t count;
};

/*
 * Makes up size bytes exactly from the free pages. pages[] must be sorted, largest size first,
 * each size a power of two (the order of ne_dev_ops.pages). Pure; any thread. ENOMEM with the
 * figures if it cannot be done.
 */
int memory_plan_make(struct memory_plan *plan, uint64_t size, const struct ne_dev_pages *pages,
	size_t page_sizes, struct nefs_error *err);

/* One mapping, contiguous in this process and made of one page size. */
struct memory_mapping {
	void *address;
	uint64_t size;
};

/* Failed attempts leave no mapping behind, but may split one size over two. */
#define MEMORY_MAPPINGS_MAX (2 * NE_DEV_PAGE_SIZES_MAX)

/* The memory of one enclave, in the order in which the device gets it: one space from offset 0. */
struct enclave_memory {
	struct memory_mapping mappings[MEMORY_MAPPINGS_MAX];
	size_t count;
	uint64_t size; /* sum of the mappings */
};

/*
 * Plans and maps size bytes. A page size whose pages turn out to be taken by somebody else (counts
 * are only a snapshot) is replaced by smaller ones where there are enough. On failure nothing stays
 * mapped. Blocks: a worker. ENOMEM with the figures.
 */
int enclave_memory_map(
	struct ne_dev *dev, struct enclave_memory *memory, uint64_t size, struct nefs_error *err);

/*
 * Could size bytes be mapped if nobody else had any? ENOMEM, with the figures, if not: nothing has to be done
 * for what can't be had. Any thread.
 */
int enclave_memory_check(struct ne_dev *dev, uint64_t size, struct nefs_error *err);

/* Undoes enclave_memory_map. Does nothing if nothing is mapped. */
void enclave_memory_unmap(struct ne_dev *dev, struct enclave_memory *memory);

/*
 * Reads size bytes from the beginning of a file into the enclave's memory at offset, straight into
 * the mappings. EIO if the file is shorter or cannot be read, EINVAL if it does not fit, ECANCELED if
 * pace (NULL: none) says so meanwhile. Blocks.
 */
int enclave_memory_load(const struct enclave_memory *memory, int fd, uint64_t size, uint64_t offset,
	struct nefs_pace *pace, struct nefs_error *err);

#endif
