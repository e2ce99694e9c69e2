/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu_pool.h"
#include <errno.h>
#include <linux/nitro_enclaves.h>
#include <pthread.h>
#include <stdlib.h>

#define ALL_THREADS ((1U << CPU_THREADS_PER_CORE) - 1)

struct cpu_pool {
	uint32_t cores; /* of the machine; core 0 is not the pool's */

	pthread_mutex_t lock; /* everything below */
	uint32_t free;	      /* unclaimed cores */
	uint32_t lowest;      /* no core below this one is free */
	bool claimed[];	      /* by core */
};

struct cpu_pool *cpu_pool_new(uint32_t cpus)
{
	uint32_t cores = cpus / CPU_THREADS_PER_CORE;
	struct cpu_pool *pool = calloc(1, sizeof(*pool) + cores * sizeof(pool->claimed[0]));

	if (!pool)
		return NULL;
	pool->cores = cores;
	pool->claimed[0] = true;
	pool->free = cores - 1;
	pool->lowest = 1;
	pthread_mutex_init(&pool->lock, NULL);
	return pool;
}

void cpu_pool_free(struct cpu_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

uint32_t cpu_pool_cpus(const struct cpu_pool *pool)
{
	return pool->cores * CPU_THREADS_PER_CORE;
}

bool cpu_pool_has_free(struct cpu_pool *pool)
{
	bool has;

	pthread_mutex_lock(&pool->lock);
	has = pool->free > 0;
	pthread_mutex_unlock(&pool->lock);
	return has;
}

/* Makes room for one more claim, so that claiming cannot fail half-way. */
static int reserve(struct cpu_claims *claims)
{
	size_t room = claims->room ? 2 * claims->room : 2;
	void *larger;

	if (claims->count < claims->room)
		return 0;
	larger = realloc(claims->cores, room * sizeof(claims->cores[0]));
	if (!larger)
		return -ENOMEM;
	claims->cores = larger;
	claims->room = room;
	return 0;
}

/* Moves a free core from the pool to the claims. The lock is held and there is room. */
static void claim(struct cpu_pool *pool, struct cpu_claims *claims, uint32_t core)
{
	pool->claimed[core] = true;
	pool->free--;
	claims->cores[claims->count++] = (struct cpu_claim){ .core = core };
}

int cpu_claims_pick(struct cpu_pool *pool, struct cpu_claims *claims, uint32_t *cpu)
{
	int failed;

	/* Its own half-used cores come first, so that whole cores come about. */
	for (size_t i = 0; i < claims->count; i++) {
		const struct cpu_claim *own = &claims->cores[i];

		if (own->used == ALL_THREADS)
			continue;
		*cpu = own->core * CPU_THREADS_PER_CORE;
		while (own->used & (1U << *cpu % CPU_THREADS_PER_CORE))
			++*cpu;
		return 0;
	}
	failed = reserve(claims);
	if (failed)
		return failed;
	pthread_mutex_lock(&pool->lock);
	while (pool->lowest < pool->cores && pool->claimed[pool->lowest])
		pool->lowest++;
	if (pool->lowest == pool->cores) {
		failed = -NE_ERR_NO_CPUS_AVAIL_IN_POOL;
	} else {
		*cpu = pool->lowest * CPU_THREADS_PER_CORE;
		claim(pool, claims, pool->lowest);
	}
	pthread_mutex_unlock(&pool->lock);
	return failed;
}

/* The enclave's claim on the core of this CPU, or NULL. */
static struct cpu_claim *find_claim(const struct cpu_claims *claims, uint32_t cpu)
{
	for (size_t i = 0; i < claims->count; i++) {
		if (claims->cores[i].core == cpu / CPU_THREADS_PER_CORE)
			return &claims->cores[i];
	}
	return NULL;
}

bool cpu_claims_uses(const struct cpu_claims *claims, uint32_t cpu)
{
	const struct cpu_claim *own = find_claim(claims, cpu);

	return own && own->used & (1U << cpu % CPU_THREADS_PER_CORE);
}

int cpu_claims_want(struct cpu_pool *pool, struct cpu_claims *claims, uint32_t cpu)
{
	uint32_t core = cpu / CPU_THREADS_PER_CORE;
	int failed;

	if (cpu_claims_uses(claims, cpu))
		return -NE_ERR_VCPU_ALREADY_USED;
	if (find_claim(claims, cpu))
		return 0;
	failed = reserve(claims);
	if (failed)
		return failed;
	pthread_mutex_lock(&pool->lock);
	if (core >= pool->cores || pool->claimed[core])
		failed = -NE_ERR_VCPU_NOT_IN_CPU_POOL;
	else
		claim(pool, claims, core);
	pthread_mutex_unlock(&pool->lock);
	return failed;
}

void cpu_claims_use(struct cpu_claims *claims, uint32_t cpu)
{
	struct cpu_claim *own = find_claim(claims, cpu);

	if (own)
		own->used |= 1U << cpu % CPU_THREADS_PER_CORE;
}

bool cpu_claims_full(const struct cpu_claims *claims)
{
	for (size_t i = 0; i < claims->count; i++) {
		if (claims->cores[i].used != ALL_THREADS)
			return false;
	}
	return true;
}

void cpu_claims_release(struct cpu_pool *pool, struct cpu_claims *claims)
{
	pthread_mutex_lock(&pool->lock);
	for (size_t i = 0; i < claims->count; i++) {
		uint32_t core = claims->cores[i].core;

		pool->claimed[core] = false;
		pool->free++;
		if (core < pool->lowest)
			pool->lowest = core;
	}
	pthread_mutex_unlock(&pool->lock);
	free(claims->cores);
	*claims = (struct cpu_claims){ 0 };
}
