/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the benchmarks' programs share: the clock, and samples with their percentiles. */
#ifndef NEFS_BENCH_SAMPLES_H
#define NEFS_BENCH_SAMPLES_H

#include <stddef.h>

/* CLOCK_MONOTONIC in microseconds. */
double now_usec(void);

/* Figures in the order in which they came. Zeroed memory is an empty set. */
struct samples {
	double *values;
	size_t count, room;
};

/* Ends the program if there is no memory. */
void samples_add(struct samples *samples, double value);

void samples_clear(struct samples *samples);

/*
 * The value that `percent` (0 to 100) of the samples do not exceed; 0 of none. Sorts the samples.
 */
double samples_percentile(struct samples *samples, double percent);

#endif
