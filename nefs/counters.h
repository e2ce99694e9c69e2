/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `events` counts, per enclave and in total. Loop thread. */
#ifndef NEFS_COUNTERS_H
#define NEFS_COUNTERS_H

#include <stdint.h>
#include <stdio.h>

enum counter {
	COUNT_NONE, /* for the states that count nothing */
	COUNT_STARTS,
	COUNT_STOPS,
	COUNT_FAILURES,
	COUNT_CRASHES,
	COUNT_RESTARTS,
	COUNTERS,
};

/* The text of an `events` file. */
void counters_show(const uint64_t counters[COUNTERS], FILE *out);

#endif
