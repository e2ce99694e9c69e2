/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "samples.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

double now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

void samples_add(struct samples *samples, double value)
{
	if (samples->count == samples->room) {
		samples->room = samples->room ? 2 * samples->room : 1024;
		samples->values =
			reallocarray(samples->values, samples->room, sizeof(samples->values[0]));
		if (!samples->values) {
			perror("samples");
			exit(2);
		}
	}
	samples->values[samples->count++] = value;
}

void samples_clear(struct samples *samples)
{
	free(samples->values);
	*samples = (struct samples){ 0 };
}

static int compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

double samples_percentile(struct samples *samples, double percent)
{
	if (samples->count == 0)
		return 0;
	qsort(samples->values, samples->count, sizeof(samples->values[0]), compare);
	return samples->values[(size_t)((double)(samples->count - 1) * percent / 100)];
}
