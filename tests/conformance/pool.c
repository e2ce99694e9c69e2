/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which CPUs the pool has and how they share cores, asked of the driver. */
#include "pool.h"
#include "subject.h"
#include <errno.h>
#include <stdlib.h>

static int create(struct ne_dev *dev, int device)
{
	uint64_t uid;

	return dev->ops->ioctl(dev, device, NE_CREATE_VM, &uid);
}

static int add(struct ne_dev *dev, int fd, uint32_t *id)
{
	return dev->ops->ioctl(dev, fd, NE_ADD_VCPU, id);
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

/* Picks until there are none left. */
static int list_cpus(struct ne_dev *dev, int device, struct pool *pool)
{
	int fd = create(dev, device), result = 0;

	if (fd < 0)
		return fd;
	pool->count = 0;
	while (result == 0 && pool->count < POOL_CPUS_MAX) {
		uint32_t id = 0;

		result = add(dev, fd, &id);
		if (result == 0)
			pool->ids[pool->count++] = id;
	}
	dev->ops->close(dev, fd);
	qsort(pool->ids, pool->count, sizeof(pool->ids[0]), compare_ids);
	return result == -NE_ERR_NO_CPUS_AVAIL_IN_POOL && pool->count > 0 ? 0 : -EPROTO;
}

/* One enclave takes the CPU; its siblings are those that no other enclave can have. */
static int find_siblings(struct ne_dev *dev, int device, struct pool *pool, size_t at)
{
	int owner = create(dev, device), other = create(dev, device), result;
	uint32_t id = pool->ids[at];

	result = owner < 0 ? owner : other < 0 ? other : add(dev, owner, &id);
	for (size_t i = at; result == 0 && i < pool->count; i++) {
		int answer = -NE_ERR_VCPU_NOT_IN_CPU_POOL;

		id = pool->ids[i];
		if (i != at)
			answer = add(dev, other, &id);
		if (answer == -NE_ERR_VCPU_NOT_IN_CPU_POOL)
			pool->core[i] = pool->cores;
		else if (answer < 0)
			result = answer;
	}
	if (owner >= 0)
		dev->ops->close(dev, owner);
	if (other >= 0)
		dev->ops->close(dev, other);
	return result;
}

int pool_survey(struct ne_dev *dev, struct pool *pool)
{
	int device = dev->ops->open(dev, NULL), result;

	if (device < 0)
		return device;
	result = list_cpus(dev, device, pool);
	for (size_t i = 0; i < pool->count; i++)
		pool->core[i] = SIZE_MAX;
	pool->cores = 0;
	for (size_t i = 0; result == 0 && i < pool->count; i++) {
		if (pool->core[i] != SIZE_MAX)
			continue;
		result = find_siblings(dev, device, pool, i);
		pool->cores++;
	}
	pool->threads = 0;
	for (size_t i = 0; i < pool->count; i++)
		pool->threads += pool->core[i] == 0;
	dev->ops->close(dev, device);
	return result;
}

/* The CPU after the comma or dash, or -1. */
static long number(const char **text)
{
	char *end;
	unsigned long value;

	if (**text < '0' || **text > '9')
		return -1;
	value = strtoul(*text, &end, 10);
	*text = end;
	return value > INT32_MAX ? -1 : (long)value;
}

bool pool_is(const struct pool *pool, const char *list)
{
	size_t at = 0;

	do {
		long first = number(&list), last = first;

		if (*list == '-') {
			list++;
			last = number(&list);
		}
		if (first < 0 || last < first)
			return false;
		for (long id = first; id <= last; id++) {
			if (at == pool->count || pool->ids[at++] != (uint32_t)id)
				return false;
		}
	} while (*list++ == ',');
	return list[-1] == '\0' && at == pool->count;
}
