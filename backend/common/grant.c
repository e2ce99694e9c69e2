/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <nefs/backend.h>
#include <stdlib.h>
#include <string.h>

struct backend_grant *backend_grant_copy(const struct backend_grant *grant)
{
	size_t size = strlen(grant->cpus) + 1;
	struct backend_grant *copy = malloc(sizeof(*copy) + size);

	if (!copy)
		return NULL;
	*copy = *grant;
	copy->cpus = memcpy(copy + 1, grant->cpus, size);
	return copy;
}
