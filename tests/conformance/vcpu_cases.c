/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NE_ADD_VCPU: which CPUs there are, who has them, and how cores are shared. */
#include "subject.h"
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define SMALL_PAGE 4096

/* Where in the pool a CPU is; pool.count if it is not in it. */
static size_t place_of(const struct pool *pool, uint32_t id)
{
	size_t at = 0;

	while (at < pool->count && pool->ids[at] != id)
		at++;
	return at;
}

/* A CPU of the pool on the core of this one, or on another; 0: there is none. */
static uint32_t partner_of(const struct pool *pool, uint32_t id, bool same_core)
{
	size_t at = place_of(pool, id);

	for (size_t i = 0; at < pool->count && i < pool->count; i++)
		if (i != at && (pool->core[i] == pool->core[at]) == same_core)
			return pool->ids[i];
	return 0;
}

static int vcpu_is_told(struct conformance *conformance)
{
	uint32_t id = 0;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(subject_add_vcpu(&subject, &id), 0);
	REQUIRE(place_of(&conformance->pool, id) < conformance->pool.count);
	return 0;
}

static int vcpu_writes_4_bytes(struct conformance *conformance)
{
	uint32_t words[3] = { ~0U, 0, ~0U };
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(subject_add_vcpu(&subject, &words[1]), 0);
	REQUIRE(words[0] == ~0U && words[1] != 0 && words[2] == ~0U);
	return 0;
}

static int vcpu_each_by_its_id(struct conformance *conformance)
{
	const struct pool *pool = &conformance->pool;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	for (size_t i = pool->count; i-- > 0;) {
		uint32_t id = pool->ids[i];

		EXPECT(subject_add_vcpu(&subject, &id), 0);
		REQUIRE(id == pool->ids[i]);
	}
	EXPECT(subject_take_pool(&subject), 0);
	return 0;
}

static int vcpu_with_a_used_up_pool(struct conformance *conformance)
{
	uint32_t id = 0;
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_create(&one) >= 0);
	REQUIRE(subject_create(&two) >= 0);
	EXPECT(subject_take_pool(&one), (int)conformance->pool.count);
	return subject_add_vcpu(&two, &id);
}

static int vcpu_named_with_a_used_up_pool(struct conformance *conformance)
{
	uint32_t id = conformance->pool.ids[0];
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_create(&one) >= 0);
	REQUIRE(subject_create(&two) >= 0);
	REQUIRE(subject_take_pool(&one) > 0);
	EXPECT(subject_add_vcpu(&one, &id), -NE_ERR_VCPU_ALREADY_USED);
	return subject_add_vcpu(&two, &id);
}

static int vcpus_come_back(struct conformance *conformance)
{
	int count = (int)conformance->pool.count;
	SUBJECT(subject);

	for (int i = 0; i < 3; i++) {
		REQUIRE(subject_create(&subject) >= 0);
		EXPECT(subject_take_pool(&subject), count);
		subject_end(&subject);
	}
	return 0;
}

static int vcpu_used_already(struct conformance *conformance)
{
	uint32_t id = 0;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(subject_add_vcpu(&subject, &id), 0);
	return subject_add_vcpu(&subject, &id);
}

static int vcpu_of_another_enclave(struct conformance *conformance)
{
	uint32_t id = 0;
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_create(&one) >= 0);
	REQUIRE(subject_create(&two) >= 0);
	EXPECT(subject_add_vcpu(&one, &id), 0);
	return subject_add_vcpu(&two, &id);
}

static int vcpu_of_a_closed_enclave(struct conformance *conformance)
{
	uint32_t id = 0;
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_create(&one) >= 0);
	REQUIRE(subject_create(&two) >= 0);
	EXPECT(subject_add_vcpu(&one, &id), 0);
	subject_end(&one);
	return subject_add_vcpu(&two, &id);
}

/* The lowest CPU besides 0 that the pool has not: as a rule the sibling of CPU 0. */
static int vcpu_outside_of_the_pool(struct conformance *conformance)
{
	uint32_t id = 1;
	SUBJECT(subject);

	while (place_of(&conformance->pool, id) < conformance->pool.count)
		id++;
	REQUIRE(subject_create(&subject) >= 0);
	return subject_add_vcpu(&subject, &id);
}

static int vcpu_refused_costs_nothing(struct conformance *conformance)
{
	uint32_t id = 0xffffffff;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(subject_add_vcpu(&subject, &id), -NE_ERR_INVALID_VCPU);
	REQUIRE(id == 0xffffffff);
	EXPECT(subject_take_pool(&subject), (int)conformance->pool.count);
	return 0;
}

/* ---- cores ---- */

static int vcpu_sibling_next(struct conformance *conformance)
{
	const struct pool *pool = &conformance->pool;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	for (size_t i = 0; i < pool->threads; i++) {
		uint32_t id = 0;

		EXPECT(subject_add_vcpu(&subject, &id), 0);
		REQUIRE(pool->core[place_of(pool, id)] ==
			pool->core[place_of(pool, subject.cpus[0])]);
	}
	return 0;
}

/* Also if the first was chosen, and is not the first of its core. */
static int vcpu_sibling_of_a_named(struct conformance *conformance)
{
	const struct pool *pool = &conformance->pool;
	uint32_t last = pool->ids[pool->count - 1], id = 0;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(subject_add_vcpu(&subject, &last), 0);
	EXPECT(subject_add_vcpu(&subject, &id), 0);
	REQUIRE(id != last && pool->core[place_of(pool, id)] == pool->core[pool->count - 1]);
	return 0;
}

static int vcpu_sibling_named(struct conformance *conformance)
{
	uint32_t id = 0, sibling;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(subject_add_vcpu(&subject, &id), 0);
	sibling = partner_of(&conformance->pool, id, true);
	return subject_add_vcpu(&subject, &sibling);
}

static int vcpu_sibling_of_anothers(struct conformance *conformance)
{
	uint32_t id = 0, sibling;
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_create(&one) >= 0);
	REQUIRE(subject_create(&two) >= 0);
	EXPECT(subject_add_vcpu(&one, &id), 0);
	sibling = partner_of(&conformance->pool, id, true);
	return subject_add_vcpu(&two, &sibling);
}

static int vcpu_another_core_next(struct conformance *conformance)
{
	const struct pool *pool = &conformance->pool;
	uint32_t id = 0;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(subject_add_core(&subject), 0);
	EXPECT(subject_add_vcpu(&subject, &id), 0);
	REQUIRE(pool->core[place_of(pool, id)] != pool->core[place_of(pool, subject.cpus[0])]);
	return 0;
}

/* A core may be begun while another is not complete; what is picked completes them first. */
static int vcpu_two_halves(struct conformance *conformance)
{
	const struct pool *pool = &conformance->pool;
	uint32_t first = pool->ids[0], other = partner_of(pool, first, false), id = 0;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(subject_add_vcpu(&subject, &first), 0);
	EXPECT(subject_add_vcpu(&subject, &other), 0);
	EXPECT(subject_add_vcpu(&subject, &id), 0);
	REQUIRE(pool->core[place_of(pool, id)] == pool->core[0] ||
		pool->core[place_of(pool, id)] == pool->core[place_of(pool, other)]);
	return 0;
}

static int vcpus_of_two_enclaves(struct conformance *conformance)
{
	const struct pool *pool = &conformance->pool;
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_create(&one) >= 0);
	REQUIRE(subject_create(&two) >= 0);
	EXPECT(subject_add_core(&one), 0);
	EXPECT(subject_add_core(&two), 0);
	REQUIRE(pool->core[place_of(pool, one.cpus[0])] != pool->core[place_of(pool, two.cpus[0])]);
	return 0;
}

/* ---- who adds, and where from ---- */

/* The answer cannot be written, but the CPU is the enclave's. */
static int vcpu_told_to_nobody(struct conformance *conformance)
{
	uint32_t *page =
		mmap(NULL, SMALL_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t id = conformance->pool.ids[0];
	int result;
	SUBJECT(subject);

	REQUIRE(page != MAP_FAILED);
	*page = id;
	mprotect(page, SMALL_PAGE, PROT_READ);
	REQUIRE(subject_create(&subject) >= 0);
	result = subject_add_vcpu(&subject, page);
	munmap(page, SMALL_PAGE);
	EXPECT(result, -EFAULT);
	return subject_add_vcpu(&subject, &id);
}

static void *add_any(void *argument)
{
	uint32_t id = 0;

	return (void *)(intptr_t)subject_add_vcpu(argument, &id);
}

static int vcpu_from_a_thread(struct conformance *conformance)
{
	pthread_t thread;
	void *result;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(pthread_create(&thread, NULL, add_any, &subject) == 0);
	REQUIRE(pthread_join(thread, &result) == 0);
	return (int)(intptr_t)result;
}

const struct conformance_case vcpu_cases[] = {
	{ "add vCPU: its id is told", vcpu_is_told },
	{ "add vCPU: the id has 4 bytes", vcpu_writes_4_bytes },
	{ "add vCPU: each by its id", vcpu_each_by_its_id },
	{ "add vCPU: the pool used up", vcpu_with_a_used_up_pool, -NE_ERR_NO_CPUS_AVAIL_IN_POOL },
	{ "add vCPU: by its id, the pool used up", vcpu_named_with_a_used_up_pool,
		-NE_ERR_VCPU_NOT_IN_CPU_POOL },
	{ "add vCPU: the pool comes back", vcpus_come_back },
	{ "add vCPU: twice", vcpu_used_already, -NE_ERR_VCPU_ALREADY_USED },
	{ "add vCPU: another enclave's", vcpu_of_another_enclave, -NE_ERR_VCPU_NOT_IN_CPU_POOL },
	{ "add vCPU: a closed enclave's", vcpu_of_a_closed_enclave },
	{ "add vCPU: outside of the pool", vcpu_outside_of_the_pool, -NE_ERR_VCPU_NOT_IN_CPU_POOL },
	{ "add vCPU: what is refused costs nothing", vcpu_refused_costs_nothing },
	{ "add vCPU: siblings first", vcpu_sibling_next },
	{ "add vCPU: sibling of one by its id", vcpu_sibling_of_a_named, 0, NEED_SIBLINGS },
	{ "add vCPU: a sibling by its id", vcpu_sibling_named, 0, NEED_SIBLINGS },
	{ "add vCPU: sibling of another enclave's", vcpu_sibling_of_anothers,
		-NE_ERR_VCPU_NOT_IN_CPU_POOL, NEED_SIBLINGS },
	{ "add vCPU: then another core", vcpu_another_core_next, 0, NEED_TWO_CORES },
	{ "add vCPU: two half cores", vcpu_two_halves, 0, NEED_TWO_CORES | NEED_SIBLINGS },
	{ "add vCPU: a core for each of two enclaves", vcpus_of_two_enclaves, 0, NEED_TWO_CORES },
	{ "add vCPU: used though told to nobody", vcpu_told_to_nobody, -NE_ERR_VCPU_ALREADY_USED },
	{ "add vCPU: from another thread", vcpu_from_a_thread },
	{ NULL },
};
