/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "memory_plan.h"

#include <errno.h>
#include <inttypes.h>
#include <nefs/paced_read.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* An image is loaded in pieces of so many bytes: less than a millisecond each. */
#define LOAD_PIECE (1U << 20)

/* "3 of 4 pages of 1024 MiB are free, ...": for the sentence; sizes that nobody reserved are not. */
static void list_free(const struct ne_dev_pages *pages, size_t page_sizes, char *text, size_t size)
{
	size_t used = 0;

	snprintf(text, size, "no huge pages are reserved");
	for (size_t i = 0; i < page_sizes && used < size; i++) {
		int length;

		if (pages[i].total == 0)
			continue;
		length = snprintf(text + used, size - used,
			"%s%" PRIu64 " of %" PRIu64 " pages of %" PRIu64 " MiB are free",
			used ? ", " : "", pages[i].free, pages[i].total, pages[i].size >> 20);

		if (length < 0)
			break;
		used += (size_t)length;
	}
}

static int not_enough(
	struct nefs_error *err, uint64_t size, const struct ne_dev_pages *pages, size_t page_sizes)
{
	char free_pages[512];
	bool exact = true;

	list_free(pages, page_sizes, free_pages, sizeof(free_pages));
	/* The smallest of those that are reserved decides; each divides the larger ones. */
	for (size_t i = 0; i < page_sizes; i++) {
		if (pages[i].total > 0)
			exact = size % pages[i].size == 0;
	}
	if (!exact)
		return nefs_error_set(err, ENOMEM,
			"%" PRIu64
			" MiB of memory cannot be made up exactly of the huge pages there are "
			"(%s): ask for a multiple of the page size, or reserve 2 MiB pages",
			size >> 20, free_pages);
	return nefs_error_set(err, ENOMEM,
		"not enough huge pages for %" PRIu64
		" MiB of memory (%s): stop an enclave or reserve "
		"more (nr_hugepages)",
		size >> 20, free_pages);
}

int memory_plan_make(struct memory_plan *plan, uint64_t size, const struct ne_dev_pages *pages,
	size_t page_sizes, struct nefs_error *err)
{
	uint64_t left = size;

	plan->count = 0;
	/*
	 * Each size divides the larger ones, so taking the largest first finds a way if there is
	 * one: any group of smaller pages that a larger one replaces adds up to it exactly.
	 */
	for (size_t i = 0; i < page_sizes && i < NE_DEV_PAGE_SIZES_MAX && left > 0; i++) {
		uint64_t count = left / pages[i].size;

		if (count > pages[i].free)
			count = pages[i].free;
		if (count == 0)
			continue;
		plan->parts[plan->count].page_size = pages[i].size;
		plan->parts[plan->count].count = count;
		plan->count++;
		left -= count * pages[i].size;
	}
	if (left == 0 && size > 0)
		return 0;
	plan->count = 0;
	return not_enough(err, size, pages, page_sizes);
}

/* Maps one part. Returns 0 or a negative errno. */
static int map_part(struct ne_dev *dev, struct enclave_memory *memory,
	const struct memory_part *part, struct nefs_error *err)
{
	struct memory_mapping *mapping = &memory->mappings[memory->count];
	int failed;

	if (memory->count == MEMORY_MAPPINGS_MAX)
		return nefs_error_set(
			err, ENOMEM, "the memory is in more than %d pieces", MEMORY_MAPPINGS_MAX);
	mapping->size = part->page_size * part->count;
	failed = dev->ops->map(dev, mapping->size, part->page_size, &mapping->address, err);
	if (failed < 0)
		return failed;
	memory->count++;
	memory->size += mapping->size;
	return 0;
}

/* By page size: no more pages than this, since an attempt at more has failed. */
struct limits {
	struct memory_part parts[NE_DEV_PAGE_SIZES_MAX];
	size_t count;
};

static struct memory_part *find_limit(struct limits *limits, uint64_t page_size)
{
	for (size_t i = 0; i < limits->count; i++)
		if (limits->parts[i].page_size == page_size)
			return &limits->parts[i];
	return NULL;
}

static void apply_limits(struct limits *limits, struct ne_dev_pages *pages, size_t page_sizes)
{
	for (size_t i = 0; i < page_sizes; i++) {
		const struct memory_part *limit = find_limit(limits, pages[i].size);

		if (limit && pages[i].free > limit->count)
			pages[i].free = limit->count;
	}
}

/* Somebody was faster: half as many next time, then none. False if that makes no sense any more. */
static bool lower_limit(struct limits *limits, const struct memory_part *refused)
{
	struct memory_part *limit = find_limit(limits, refused->page_size);

	if (limit) {
		limit->count = 0;
		return true;
	}
	if (limits->count == NE_DEV_PAGE_SIZES_MAX)
		return false;
	limits->parts[limits->count] = *refused;
	limits->parts[limits->count].count /= 2;
	limits->count++;
	return true;
}

/* Maps the parts of a plan in their order; *refused is the one that failed. */
static int map_plan(struct ne_dev *dev, struct enclave_memory *memory,
	const struct memory_plan *plan, const struct memory_part **refused, struct nefs_error *err)
{
	int failed = 0;

	for (size_t i = 0; i < plan->count && failed >= 0; i++) {
		*refused = &plan->parts[i];
		failed = map_part(dev, memory, *refused, err);
	}
	return failed;
}

/* It was tried, and refused: for lack of pages, or of what else a mapping takes. */
static int not_mapped(
	struct nefs_error *err, uint64_t size, const struct ne_dev_pages *pages, size_t page_sizes)
{
	char free_pages[512];
	struct memory_plan plan;

	if (memory_plan_make(&plan, size, pages, page_sizes, NULL))
		return not_enough(err, size, pages, page_sizes);
	list_free(pages, page_sizes, free_pages, sizeof(free_pages));
	return nefs_error_set(err, ENOMEM,
		"%" PRIu64
		" MiB of memory cannot be mapped, though %s: raise nefs's limit of address space "
		"(ulimit -v, LimitAS=); if there is none, others had the pages for a moment: start it "
		"again",
		size >> 20, free_pages);
}

int enclave_memory_map(
	struct ne_dev *dev, struct enclave_memory *memory, uint64_t size, struct nefs_error *err)
{
	struct ne_dev_pages pages[NE_DEV_PAGE_SIZES_MAX];
	struct limits limits = { .count = 0 };
	const struct memory_part *refused;
	struct memory_plan plan;
	struct nefs_error why;
	size_t page_sizes;
	int failed;

	memory->count = 0;
	memory->size = 0;
	nefs_error_clear(&why);
	/* Each round either finishes or lowers the limit of a size, twice at most. */
	for (unsigned int round = 0; round <= 2 * NE_DEV_PAGE_SIZES_MAX; round++) {
		page_sizes = dev->ops->pages(dev, pages, NE_DEV_PAGE_SIZES_MAX);
		apply_limits(&limits, pages, page_sizes);
		failed = memory_plan_make(
			&plan, size - memory->size, pages, page_sizes, why.code ? NULL : err);
		if (failed < 0)
			break;
		failed = map_plan(dev, memory, &plan, &refused, &why);
		if (failed >= 0)
			return 0;
		if (failed != -ENOMEM || !lower_limit(&limits, refused))
			break;
	}
	enclave_memory_unmap(dev, memory);
	if (why.code == ENOMEM)
		return not_mapped(
			err, size, pages, dev->ops->pages(dev, pages, NE_DEV_PAGE_SIZES_MAX));
	if (why.code && err)
		*err = why;
	return failed;
}

void enclave_memory_unmap(struct ne_dev *dev, struct enclave_memory *memory)
{
	while (memory->count > 0) {
		memory->count--;
		dev->ops->unmap(dev, memory->mappings[memory->count].address,
			memory->mappings[memory->count].size);
	}
	memory->size = 0;
}

int enclave_memory_check(struct ne_dev *dev, uint64_t size, struct nefs_error *err)
{
	struct ne_dev_pages pages[NE_DEV_PAGE_SIZES_MAX], unused[NE_DEV_PAGE_SIZES_MAX];
	size_t page_sizes = dev->ops->pages(dev, pages, NE_DEV_PAGE_SIZES_MAX);
	struct memory_plan plan;

	for (size_t i = 0; i < page_sizes; i++) {
		unused[i] = pages[i];
		unused[i].free = pages[i].total;
	}
	if (!memory_plan_make(&plan, size, unused, page_sizes, NULL))
		return 0;
	return not_enough(err, size, pages, page_sizes);
}

/* Reads size bytes at offset, at this pace: 0 or a negative errno. */
static int read_piecewise(
	int fd, char *data, uint64_t size, uint64_t offset, struct nefs_pace *pace)
{
	bool in_memory = nefs_is_in_memory(fd);
	int failed = 0;

	for (uint64_t done = 0; done < size && !failed;) {
		uint64_t piece = size - done < LOAD_PIECE ? size - done : LOAD_PIECE;

		failed = nefs_paced_read(
			fd, in_memory, data + done, (size_t)piece, offset + done, pace);
		if (!failed)
			nefs_pace_end(pace);
		done += piece;
	}
	return failed;
}

int enclave_memory_load(const struct enclave_memory *memory, int fd, uint64_t size, uint64_t offset,
	struct nefs_pace *pace, struct nefs_error *err)
{
	uint64_t done = 0;

	if (offset > memory->size || size > memory->size - offset)
		return nefs_error_set(err, EINVAL,
			"the image of %" PRIu64 " MiB does not fit into %" PRIu64
			" MiB of memory behind the offset of %" PRIu64 " MiB: raise `memory`",
			size >> 20, memory->size >> 20, offset >> 20);
	for (size_t i = 0; i < memory->count && done < size; i++) {
		const struct memory_mapping *mapping = &memory->mappings[i];
		uint64_t room;
		int failed;

		if (offset >= mapping->size) {
			offset -= mapping->size;
			continue;
		}
		room = mapping->size - offset;
		if (room > size - done)
			room = size - done;
		failed = read_piecewise(fd, (char *)mapping->address + offset, room, done, pace);
		if (failed == -ECANCELED)
			return nefs_error_set(
				err, ECANCELED, "stopped while its image was being loaded");
		if (failed == -ENODATA)
			return nefs_error_set(err, EIO,
				"the image became shorter than %" PRIu64
				" bytes while it was read: write it again",
				size);
		if (failed < 0)
			return nefs_error_set(
				err, EIO, "cannot read the image: %s", strerror(-failed));
		done += room;
		offset = 0;
	}
	return 0;
}
