/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether jansson had all the memory that it asked for. Its parser does not say: without memory it drops a byte, and
 * then finds a fault in the text, or none (docs/facts/memory.md). Its allocator is the process's, and is told nothing
 * else, so what came of it is the thread's.
 */
#ifndef NEFS_EIF_JSON_MEMORY_H
#define NEFS_EIF_JSON_MEMORY_H

#include <stdbool.h>

/* From now on this thread's failures are noted. */
void json_memory_begin(void);

/* Was there one since? */
bool json_memory_failed(void);

#endif
