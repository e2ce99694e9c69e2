/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "json_memory.h"
#include <jansson.h>
#include <stdlib.h>

static _Thread_local bool failed;

static void *allocate(size_t size)
{
	void *memory = malloc(size);

	if (!memory)
		failed = true;
	return memory;
}

/* Before there is a second thread: jansson has no lock for it. */
__attribute__((constructor)) static void set_allocator(void)
{
	json_set_alloc_funcs(allocate, free);
}

void json_memory_begin(void)
{
	failed = false;
}

bool json_memory_failed(void)
{
	return failed;
}
