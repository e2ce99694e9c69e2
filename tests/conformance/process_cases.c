/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a process may do that has inherited the fd of an enclave, and when the driver looks. */
#include "subject.h"
#include <errno.h>

static int vcpu_from_a_child(struct conformance *conformance)
{
	uint32_t id = 0;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	return in_a_child(&subject, NE_ADD_VCPU, &id);
}

static int named_vcpu_from_a_child(struct conformance *conformance)
{
	uint32_t id = conformance->pool.ids[0];
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	return in_a_child(&subject, NE_ADD_VCPU, &id);
}

/* The driver looks at the state, the id and the pool first. */
static int bad_vcpu_from_a_child(struct conformance *conformance)
{
	uint32_t id = 0xffffffff;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	return in_a_child(&subject, NE_ADD_VCPU, &id);
}

static int used_vcpu_from_a_child(struct conformance *conformance)
{
	uint32_t id = 0;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(subject_add_vcpu(&subject, &id), 0);
	return in_a_child(&subject, NE_ADD_VCPU, &id);
}

static int vcpu_from_a_child_without_pool(struct conformance *conformance)
{
	uint32_t id = 0;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_take_pool(&subject) > 0);
	return in_a_child(&subject, NE_ADD_VCPU, &id);
}

static int vcpu_from_a_child_while_running(struct conformance *conformance)
{
	uint32_t id = 0;
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_RUNNING));
	return in_a_child(&subject, NE_ADD_VCPU, &id);
}

static int no_vcpu_from_a_child(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	return in_a_child(&subject, NE_ADD_VCPU, NULL);
}

/* Memory: the flag and the state come first, all else after. */
static int memory_of(
	struct conformance *conformance, enum state state, struct ne_user_memory_region region)
{
	SUBJECT(huge);
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, state));
	REQUIRE(subject_map(&huge, PAGE) == 0);
	if (!region.userspace_addr)
		region.userspace_addr = (uintptr_t)huge.memory;
	return in_a_child(&subject, NE_SET_USER_MEMORY_REGION, &region);
}

static int memory_from_a_child(struct conformance *conformance)
{
	return memory_of(
		conformance, STATE_INIT, (struct ne_user_memory_region){ .memory_size = PAGE });
}

static int bad_memory_from_a_child(struct conformance *conformance)
{
	return memory_of(conformance, STATE_INIT,
		(struct ne_user_memory_region){ .memory_size = 1, .userspace_addr = 1 });
}

static int flagged_memory_from_a_child(struct conformance *conformance)
{
	return memory_of(conformance, STATE_INIT,
		(struct ne_user_memory_region){ .flags = 1, .memory_size = PAGE });
}

static int memory_from_a_child_while_running(struct conformance *conformance)
{
	return memory_of(
		conformance, STATE_RUNNING, (struct ne_user_memory_region){ .memory_size = PAGE });
}

static int used_memory_from_a_child(struct conformance *conformance)
{
	struct ne_user_memory_region region = { .memory_size = PAGE };
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_FILLED));
	region.userspace_addr = (uintptr_t)subject.memory;
	return in_a_child(&subject, NE_SET_USER_MEMORY_REGION, &region);
}

/* ---- what anybody may ask ---- */

static int image_info_from_a_child(struct conformance *conformance)
{
	struct ne_image_load_info info = { .flags = NE_EIF_IMAGE };
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	return in_a_child(&subject, NE_GET_IMAGE_LOAD_INFO, &info);
}

static int empty_start_from_a_child(struct conformance *conformance)
{
	struct ne_enclave_start_info info = { 0 };
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	return in_a_child(&subject, NE_START_ENCLAVE, &info);
}

static int unknown_from_a_child(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	return in_a_child(&subject, _IO(0xAE, 0x25), NULL);
}

/* The child's fd goes with it; the enclave stays, and its maker goes on. */
static int maker_goes_on(struct conformance *conformance)
{
	uint32_t id = 0;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(in_a_child(&subject, NE_ADD_VCPU, &id), -EIO);
	REQUIRE(subject_map(&subject, ENCLAVE_MIN) == 0);
	EXPECT(subject_add_memory(&subject), 0);
	EXPECT(subject_add_core(&subject), 0);
	EXPECT(subject_start(&subject, 0), 0);
	id = 0;
	EXPECT(in_a_child(&subject, NE_ADD_VCPU, &id), -NE_ERR_NOT_IN_INIT_STATE);
	return events_of(subject.fd, QUIET_MS);
}

const struct conformance_case process_cases[] = {
	{ "child: add vCPU", vcpu_from_a_child, -EIO },
	{ "child: add vCPU by its id", named_vcpu_from_a_child, -EIO },
	{ "child: the id before the process", bad_vcpu_from_a_child, -NE_ERR_INVALID_VCPU },
	{ "child: use before the process", used_vcpu_from_a_child, -NE_ERR_VCPU_ALREADY_USED },
	{ "child: the pool before the process", vcpu_from_a_child_without_pool,
		-NE_ERR_NO_CPUS_AVAIL_IN_POOL },
	{ "child: add vCPU, state before the process", vcpu_from_a_child_while_running,
		-NE_ERR_NOT_IN_INIT_STATE },
	{ "child: add vCPU, pointer before the process", no_vcpu_from_a_child, -EFAULT },
	{ "child: memory", memory_from_a_child, -EIO },
	{ "child: memory, process before the size", bad_memory_from_a_child, -EIO },
	{ "child: memory, process before overlap", used_memory_from_a_child, -EIO },
	{ "child: memory, flag before the process", flagged_memory_from_a_child,
		-NE_ERR_INVALID_FLAG_VALUE },
	{ "child: memory, state before the process", memory_from_a_child_while_running,
		-NE_ERR_NOT_IN_INIT_STATE },
	{ "child: image load info", image_info_from_a_child },
	{ "child: start of nothing", empty_start_from_a_child, -NE_ERR_NO_MEM_REGIONS_ADDED },
	{ "child: unknown number", unknown_from_a_child, -ENOTTY },
	{ "child: the maker goes on", maker_goes_on },
	{ NULL },
};
