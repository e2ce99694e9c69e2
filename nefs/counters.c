/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "counters.h"
#include <inttypes.h>

void counters_show(const uint64_t counters[COUNTERS], FILE *out)
{
	static const char *const names[COUNTERS] = {
		[COUNT_STARTS] = "starts",
		[COUNT_STOPS] = "stops",
		[COUNT_FAILURES] = "failures",
		[COUNT_CRASHES] = "crashes",
		[COUNT_RESTARTS] = "restarts",
	};

	for (int i = COUNT_NONE + 1; i < COUNTERS; i++)
		fprintf(out, "%s %" PRIu64 "\n", names[i], counters[i]);
}
