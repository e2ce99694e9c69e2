/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "heap.h"
#include <stdbool.h>

/* <sanitizer/allocator_interface.h>, which not every compiler has; there is nothing behind it without ASan. */
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
	void (*on_free)(const volatile void *)) __attribute__((weak));
size_t __sanitizer_get_allocated_size(const volatile void *block) __attribute__((weak));

static struct heap {
	bool watched;
	ptrdiff_t now; /* below 0: what was there before was freed */
	ptrdiff_t peak;
} heap;

static void on_malloc(const volatile void *block, size_t size)
{
	heap.now += (ptrdiff_t)size;
	if (heap.now > heap.peak)
		heap.peak = heap.now;
}

static void on_free(const volatile void *block)
{
	if (block)
		heap.now -= (ptrdiff_t)__sanitizer_get_allocated_size(block);
}

void heap_begin(void)
{
	if (!heap.watched && __sanitizer_install_malloc_and_free_hooks)
		heap.watched = __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) > 0;
	heap.now = heap.peak = 0;
}

size_t heap_peak(void)
{
	return (size_t)heap.peak;
}
