/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "page_order.h"
#include <fcntl.h>
#include <nefs/addresses.h>
#include <nefs/cleanup.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Each piece that is moved may become a mapping of its own, of which a process has 65,530. */
#define PAGES_MAX 30000

/* An entry of pagemap: bits 0 to 54 are the frame's number (Linux's Documentation, pagemap.rst). */
#define FRAME_MASK ((1ULL << 55) - 1)

struct page {
	uint64_t frame;
	size_t position; /* in the mapping, in pages */
};

static int by_frame(const void *left, const void *right)
{
	const struct page *a = left, *b = right;

	return (a->frame > b->frame) - (a->frame < b->frame);
}

/* Where the pages are. False if that is not to be known. */
static bool locate(const char *address, size_t count, uint64_t page_size, struct page *pages)
{
	NEFS_AUTO_CLOSE int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	const uint64_t small = (uint64_t)sysconf(_SC_PAGESIZE);

	for (size_t i = 0; i < count; i++) {
		const uint64_t at = ((uintptr_t)address + i * page_size) / small;
		uint64_t entry;

		if (pread(pagemap, &entry, sizeof(entry), (off_t)(at * sizeof(entry))) !=
				sizeof(entry) ||
			!(entry & FRAME_MASK))
			return false;
		pages[i] = (struct page){ entry & FRAME_MASK, i };
	}
	return true;
}

static bool in_order(const struct page *pages, size_t count)
{
	for (size_t i = 1; i < count; i++)
		if (pages[i].frame < pages[i - 1].frame)
			return false;
	return true;
}

static bool move(char *from, char *to, size_t size)
{
	return mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to;
}

void *page_order_sort(void *address, uint64_t size, uint64_t page_size)
{
	const size_t count = (size_t)(size / page_size);
	NEFS_AUTO_FREE struct page *pages = NULL;
	char *from = address, *to;
	size_t moved = 0;

	if (count < 2 || count > PAGES_MAX)
		return address;
	pages = calloc(count, sizeof(*pages));
	if (!pages || !locate(from, count, page_size, pages) || in_order(pages, count))
		return address;
	to = nefs_reserve_addresses(size, page_size);
	if (!to)
		return address;
	qsort(pages, count, sizeof(*pages), by_frame);
	while (moved < count &&
		move(from + pages[moved].position * page_size, to + moved * page_size, page_size))
		moved++;
	if (moved == count)
		return to;
	/* Back again: the addresses that they came from are still free. */
	while (moved > 0) {
		moved--;
		if (!move(to + moved * page_size, from + pages[moved].position * page_size,
			    page_size)) {
			munmap(from, size);
			munmap(to, size);
			return NULL;
		}
	}
	munmap(to, size);
	return address;
}
