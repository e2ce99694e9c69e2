/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that runs out when a test says so: the linker puts these functions in front of malloc, calloc,
 * realloc, reallocarray, strdup and fopencookie (meson.build). Only the calling thread's are counted.
 *
 *	for (unsigned int nth = 0; memory_fail(nth), result = operation(), memory_failed(); nth++)
 *		CU_ASSERT_EQUAL(result, -ENOMEM);
 */
#ifndef FAILING_MEMORY_H
#define FAILING_MEMORY_H

#include <stdbool.h>

/* From now on the allocation with this number, from 0, fails; all others work. */
void memory_fail(unsigned int nth);

/* Did it? From now on none fails. */
bool memory_failed(void);

#endif
