/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device refuses a command: its errno comes through unchanged, and what the driver had done
 * until then stays done. (A refused ENCLAVE_STOP or SLOT_FREE would cost the driver CPUs and pages
 * for good; so they are planned only where the driver must not send them.)
 */
#include "subject.h"
#include <errno.h>
#include <time.h>

static int plan(struct conformance *conformance, const char *text)
{
	return conformance->lab->faults(conformance->lab->context, text);
}

static int refused_slot(struct conformance *conformance)
{
	uint64_t uid = 77;
	SUBJECT(subject);

	EXPECT(plan(conformance, "SLOT_ALLOC fail 28 1"), 0);
	EXPECT(on_fd(conformance, conformance->device, NE_CREATE_VM, &uid), -ENOSPC);
	REQUIRE(uid == 77);
	REQUIRE(subject_create(&subject) >= 0);
	return 0;
}

static int refused_errno(struct conformance *conformance)
{
	uint64_t uid;

	EXPECT(plan(conformance, "SLOT_ALLOC fail 1 1"), 0);
	EXPECT(on_fd(conformance, conformance->device, NE_CREATE_VM, &uid), -EPERM);
	EXPECT(plan(conformance, "SLOT_ALLOC fail 95 1"), 0);
	EXPECT(on_fd(conformance, conformance->device, NE_CREATE_VM, &uid), -EOPNOTSUPP);
	EXPECT(plan(conformance, "SLOT_ALLOC fail 4095 1"), 0);
	return on_fd(conformance, conformance->device, NE_CREATE_VM, &uid);
}

static int refused_vcpu(struct conformance *conformance)
{
	uint32_t id = 0;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(plan(conformance, "SLOT_ADD_VCPU fail 16 1"), 0);
	EXPECT(subject_add_vcpu(&subject, &id), -EBUSY);
	REQUIRE(id == 0);
	/* It is not used: it can be tried again, and none is missing. */
	EXPECT(subject_take_pool(&subject), (int)conformance->pool.count);
	return 0;
}

static int refused_vcpu_by_its_id(struct conformance *conformance)
{
	uint32_t id = conformance->pool.ids[0];
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(plan(conformance, "SLOT_ADD_VCPU fail 16 1"), 0);
	EXPECT(subject_add_vcpu(&subject, &id), -EBUSY);
	return subject_add_vcpu(&subject, &id);
}

/* Its core stays claimed, until the close. */
static int refused_vcpu_is_claimed(struct conformance *conformance)
{
	uint32_t id = conformance->pool.ids[0];
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_create(&one) >= 0);
	REQUIRE(subject_create(&two) >= 0);
	EXPECT(plan(conformance, "SLOT_ADD_VCPU fail 16 1"), 0);
	EXPECT(subject_add_vcpu(&one, &id), -EBUSY);
	EXPECT(subject_add_vcpu(&two, &id), -NE_ERR_VCPU_NOT_IN_CPU_POOL);
	subject_end(&one);
	return subject_add_vcpu(&two, &id);
}

static int refused_vcpu_is_missed(struct conformance *conformance)
{
	uint32_t id;
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_FILLED));
	id = 0;
	EXPECT(plan(conformance, "SLOT_ADD_VCPU fail 16 1"), 0);
	EXPECT(subject_add_vcpu(&subject, &id), -EBUSY);
	/* The core that was claimed for it is not whole. */
	return subject_start(&subject, 0);
}

static int refused_memory(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_map(&subject, ENCLAVE_MIN) == 0);
	EXPECT(plan(conformance, "SLOT_ADD_MEM fail 5 1"), 0);
	EXPECT(subject_add_memory(&subject), -EIO);
	/* The device might have a part of it: the range stays taken, and counts for nothing. */
	EXPECT(subject_add_memory(&subject), -NE_ERR_MEM_REGION_ALREADY_USED);
	return 0;
}

static int refused_memory_counts_for_nothing(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_map(&subject, PAGE) == 0);
	EXPECT(plan(conformance, "SLOT_ADD_MEM fail 5 1"), 0);
	EXPECT(subject_add_memory(&subject), -EIO);
	return subject_start(&subject, 0);
}

static int refused_memory_is_held(struct conformance *conformance)
{
	int64_t before = free_pages(conformance);
	SUBJECT(memory);
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_map(&memory, PAGE) == 0);
	EXPECT(plan(conformance, "SLOT_ADD_MEM fail 5 1"), 0);
	EXPECT(subject_add_part(&subject, memory.memory, 0, PAGE), -EIO);
	subject_end(&memory);
	REQUIRE(free_pages(conformance) == before - 1);
	subject_end(&subject);
	REQUIRE(free_pages(conformance) == before);
	return 0;
}

static int refused_start(struct conformance *conformance)
{
	struct ne_enclave_start_info info = { .enclave_cid = 4242 };
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_FILLED));
	EXPECT(plan(conformance, "ENCLAVE_START fail 22 1"), 0);
	EXPECT(on_fd(conformance, subject.fd, NE_START_ENCLAVE, &info), -EINVAL);
	REQUIRE(info.enclave_cid == 4242);
	EXPECT(events_of(subject.fd, 0), 0);
	/* It is as it was, and can be started. */
	return on_fd(conformance, subject.fd, NE_START_ENCLAVE, &info);
}

/* Only what runs is stopped: else the refusal would keep its slot, which the runner would see. */
static int no_stop_in(struct conformance *conformance, enum state state)
{
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, state));
	EXPECT(plan(conformance, "ENCLAVE_STOP fail 5 1"), 0);
	subject_end(&subject);
	return 0;
}

static int no_stop_before_start(struct conformance *conformance)
{
	return no_stop_in(conformance, STATE_FILLED);
}

static int no_stop_after_a_crash(struct conformance *conformance)
{
	return no_stop_in(conformance, STATE_CRASHED);
}

static int no_stop_after_a_refused_start(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_FILLED));
	EXPECT(plan(conformance, "ENCLAVE_START fail 5 1\nENCLAVE_STOP fail 5 1"), 0);
	return subject_start(&subject, 0);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static int slow_device_is_waited_for(struct conformance *conformance)
{
	int64_t before = now_ms();
	SUBJECT(subject);

	EXPECT(plan(conformance, "SLOT_ALLOC delay 200 1"), 0);
	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(now_ms() - before >= 199);
	REQUIRE(subject.slot_uid != 0);
	return 0;
}

const struct conformance_case fault_cases[] = {
	{ "refused: a slot", refused_slot, 0, NEED_FAULTS },
	{ "refused: any errno", refused_errno, -4095, NEED_FAULTS },
	{ "refused: a vCPU", refused_vcpu, 0, NEED_FAULTS },
	{ "refused: a vCPU by its id", refused_vcpu_by_its_id, 0, NEED_FAULTS },
	{ "refused: a vCPU, its core stays claimed", refused_vcpu_is_claimed, 0, NEED_FAULTS },
	{ "refused: a vCPU, its core is not whole", refused_vcpu_is_missed,
		-NE_ERR_FULL_CORES_NOT_USED, NEED_FAULTS | NEED_TWO_CORES },
	{ "refused: memory", refused_memory, 0, NEED_FAULTS },
	{ "refused: memory counts for nothing", refused_memory_counts_for_nothing,
		-NE_ERR_NO_MEM_REGIONS_ADDED, NEED_FAULTS },
	{ "refused: memory is held until the close", refused_memory_is_held, 0, NEED_FAULTS },
	{ "refused: a start", refused_start, 0, NEED_FAULTS },
	{ "close: no stop before the start", no_stop_before_start, 0, NEED_FAULTS },
	{ "close: no stop after a refused start", no_stop_after_a_refused_start, -EIO,
		NEED_FAULTS },
	{ "close: no stop after a crash", no_stop_after_a_crash, 0, NEED_FAULTS | NEED_CRASH },
	{ "slow: the device is waited for", slow_device_is_waited_for, 0, NEED_FAULTS },
	{ NULL },
};
