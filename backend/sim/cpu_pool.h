/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver's CPU pool: which cores of the simulated machine enclaves may have.
 *
 * The machine has two threads a core: core k is CPUs 2k and 2k+1. Core 0 is never in the pool, as
 * on the real thing (docs/facts/driver.md §1). An enclave that takes a CPU claims its whole core; the
 * claim ends when the enclave is closed.
 *
 * The pool locks itself; claims belong to one enclave, whose lock the caller holds.
 */
#ifndef NEFS_SIM_CPU_POOL_H
#define NEFS_SIM_CPU_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPU_THREADS_PER_CORE 2

struct cpu_pool;

/* A core that an enclave has claimed. */
struct cpu_claim {
	uint32_t core;
	uint32_t used; /* a bit for each thread that is a vCPU of the enclave */
};

struct cpu_claims {
	struct cpu_claim *cores;
	size_t count;
	size_t room;
};

/* A machine of cpus threads (even, 2..NE_CPUS_MAX). NULL: out of memory. */
struct cpu_pool *cpu_pool_new(uint32_t cpus);
void cpu_pool_free(struct cpu_pool *pool);

/* CPU threads of the machine, and whether any core of the pool is unclaimed. */
uint32_t cpu_pool_cpus(const struct cpu_pool *pool);
bool cpu_pool_has_free(struct cpu_pool *pool);

/*
 * Finds the enclave's next CPU: an unused sibling on a core it has claimed, else the first thread
 * of the lowest free core, which is claimed. The CPU is not used yet: see cpu_claims_use.
 * -NE_ERR_NO_CPUS_AVAIL_IN_POOL, -ENOMEM.
 */
int cpu_claims_pick(struct cpu_pool *pool, struct cpu_claims *claims, uint32_t *cpu);

/*
 * The same for a CPU that the caller names, one of the machine's. -NE_ERR_VCPU_ALREADY_USED,
 * -NE_ERR_VCPU_NOT_IN_CPU_POOL (kept back, or another enclave's), -ENOMEM.
 */
int cpu_claims_want(struct cpu_pool *pool, struct cpu_claims *claims, uint32_t cpu);

/* Is this CPU a vCPU of the enclave? */
bool cpu_claims_uses(const struct cpu_claims *claims, uint32_t cpu);

/* Marks a CPU of a claimed core as a vCPU of the enclave. */
void cpu_claims_use(struct cpu_claims *claims, uint32_t cpu);

/* Is every thread of every claimed core a vCPU? */
bool cpu_claims_full(const struct cpu_claims *claims);

/* Gives all claimed cores back and empties the claims. */
void cpu_claims_release(struct cpu_pool *pool, struct cpu_claims *claims);

#endif
