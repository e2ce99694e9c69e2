/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <nefs/addresses.h>
#include <stddef.h>
#include <sys/mman.h>

void *nefs_reserve_addresses(uint64_t size, uint64_t alignment)
{
	char *area = mmap(NULL, size + alignment, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t before;

	if (area == MAP_FAILED)
		return NULL;
	before = -(uint64_t)(uintptr_t)area & (alignment - 1);
	if (before > 0)
		munmap(area, before);
	munmap(area + before + size, alignment - before);
	return area + before;
}
