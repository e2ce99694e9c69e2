/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How much an input costs in memory. It takes AddressSanitizer to know: elsewhere it is 0. One thread, and what
 * others allocate meanwhile is counted as well.
 */
#ifndef NEFS_FUZZ_HEAP_H
#define NEFS_FUZZ_HEAP_H

#include <stddef.h>

/* Counts from here on. */
void heap_begin(void);

/* The most that was allocated at the same time since then, in bytes. */
size_t heap_peak(void);

#endif
