/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NE_GET_IMAGE_LOAD_INFO, and NE_START_ENCLAVE: what it asks for, in its order, and CIDs. */
#include "subject.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define SMALL_PAGE 4096

static int image_offset_is_8_mib(struct conformance *conformance)
{
	struct ne_image_load_info info = { .flags = NE_EIF_IMAGE, .memory_offset = 12345 };
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	for (int i = 0; i < 2; i++) {
		EXPECT(on_fd(conformance, subject.fd, NE_GET_IMAGE_LOAD_INFO, &info), 0);
		REQUIRE(info.memory_offset == 8ULL << 20 && info.flags == NE_EIF_IMAGE);
	}
	return 0;
}

static int image_argument_is_left(struct conformance *conformance)
{
	struct ne_image_load_info info = { .flags = 2, .memory_offset = 12345 };
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(on_fd(conformance, subject.fd, NE_GET_IMAGE_LOAD_INFO, &info),
		-NE_ERR_INVALID_FLAG_VALUE);
	REQUIRE(info.flags == 2 && info.memory_offset == 12345);
	return 0;
}

/* ---- what is missing ---- */

enum cores {
	NO_CORE,
	HALF_CORE,
	ONE_CORE,
};

static int add_cores(struct subject *subject, enum cores cores)
{
	uint32_t id = 0;

	if (cores == ONE_CORE)
		return subject_add_core(subject);
	return cores == HALF_CORE ? subject_add_vcpu(subject, &id) : 0;
}

static int start_part(struct conformance *conformance, uint64_t memory, enum cores cores)
{
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	if (memory) {
		REQUIRE(subject_map(&subject, memory) == 0);
		EXPECT(subject_add_memory(&subject), 0);
	}
	EXPECT(add_cores(&subject, cores), 0);
	return subject_start(&subject, 0);
}

#define START_CASE(name, memory, cores)                                                            \
	static int name(struct conformance *conformance)                                           \
	{                                                                                          \
		return start_part(conformance, memory, cores);                                     \
	}

START_CASE(start_with_vcpus_only, 0, ONE_CORE)
START_CASE(start_with_half_a_core_only, 0, HALF_CORE)
START_CASE(start_small, ENCLAVE_MIN - PAGE, ONE_CORE)
START_CASE(start_small_without_vcpus, ENCLAVE_MIN - PAGE, NO_CORE)
START_CASE(start_small_with_half_a_core, ENCLAVE_MIN - PAGE, HALF_CORE)
START_CASE(start_one_page, PAGE, ONE_CORE)
START_CASE(start_without_vcpus, ENCLAVE_MIN, NO_CORE)
START_CASE(start_with_half_a_core, ENCLAVE_MIN, HALF_CORE)
START_CASE(start_enough, ENCLAVE_MIN, ONE_CORE)
START_CASE(start_more, ENCLAVE_MIN + PAGE, ONE_CORE)

static int start_with_a_core_and_a_half(struct conformance *conformance)
{
	uint32_t id = 0;
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_FILLED));
	EXPECT(subject_add_vcpu(&subject, &id), 0);
	return subject_start(&subject, 0);
}

static int start_with_two_cores(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_FILLED));
	EXPECT(subject_add_core(&subject), 0);
	return subject_start(&subject, 0);
}

/* A refused start changes nothing: what is missing can be added, one after the other. */
static int start_after_what_was_missing(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(subject_start(&subject, 3), -NE_ERR_INVALID_ENCLAVE_CID);
	EXPECT(subject_start(&subject, 0), -NE_ERR_NO_MEM_REGIONS_ADDED);
	REQUIRE(subject_map(&subject, ENCLAVE_MIN) == 0);
	EXPECT(subject_add_part(&subject, subject.memory, 0, PAGE), 0);
	EXPECT(subject_start(&subject, 0), -NE_ERR_ENCLAVE_MEM_MIN_SIZE);
	EXPECT(subject_add_part(&subject, subject.memory, PAGE, ENCLAVE_MIN - PAGE), 0);
	EXPECT(subject_start(&subject, 0), -NE_ERR_NO_VCPUS_ADDED);
	EXPECT(subject_add_core(&subject), 0);
	EXPECT(subject_start(&subject, 0), 0);
	return subject_start(&subject, 0);
}

static int start_after_the_other_half(struct conformance *conformance)
{
	uint32_t id = 0;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_map(&subject, ENCLAVE_MIN) == 0);
	EXPECT(subject_add_memory(&subject), 0);
	EXPECT(subject_add_vcpu(&subject, &id), 0);
	for (size_t i = 1; i < conformance->pool.threads; i++) {
		EXPECT(subject_start(&subject, 0), -NE_ERR_FULL_CORES_NOT_USED);
		id = 0;
		EXPECT(subject_add_vcpu(&subject, &id), 0);
	}
	return subject_start(&subject, 0);
}

static int start_cpus_before_memory(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(subject_add_core(&subject), 0);
	REQUIRE(subject_map(&subject, ENCLAVE_MIN) == 0);
	EXPECT(subject_add_memory(&subject), 0);
	return subject_start(&subject, 0);
}

static int start_over_several_regions(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_map(&subject, ENCLAVE_MIN) == 0);
	for (uint64_t i = 0; i < 4; i++)
		EXPECT(subject_add_part(
			       &subject, subject.memory, i * ENCLAVE_MIN / 4, ENCLAVE_MIN / 4),
			0);
	EXPECT(subject_add_core(&subject), 0);
	return subject_start(&subject, 0);
}

static int start_refused_argument_is_left(struct conformance *conformance)
{
	struct ne_enclave_start_info info = { .flags = 1, .enclave_cid = 4242 };
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	EXPECT(on_fd(conformance, subject.fd, NE_START_ENCLAVE, &info),
		-NE_ERR_NO_MEM_REGIONS_ADDED);
	REQUIRE(info.flags == 1 && info.enclave_cid == 4242);
	return 0;
}

static int start_keeps_the_flags(struct conformance *conformance)
{
	struct ne_enclave_start_info info = { .flags = NE_ENCLAVE_DEBUG_MODE };
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_FILLED));
	EXPECT(on_fd(conformance, subject.fd, NE_START_ENCLAVE, &info), 0);
	REQUIRE(info.flags == NE_ENCLAVE_DEBUG_MODE && info.enclave_cid > 3);
	return 0;
}

/* The answer cannot be written, but the enclave has started. */
static int start_told_to_nobody(struct conformance *conformance)
{
	void *page = mmap(NULL, SMALL_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int result = CASE_FAILED;
	SUBJECT(subject);

	REQUIRE(page != MAP_FAILED);
	if (subject_make(&subject, STATE_FILLED))
		result = on_fd(conformance, subject.fd, NE_START_ENCLAVE, page);
	munmap(page, SMALL_PAGE);
	EXPECT(result, -EFAULT);
	return subject_start(&subject, 0);
}

/* ---- CIDs ---- */

static int cid_is_chosen(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_RUNNING));
	REQUIRE(subject.cid > 3 && subject.cid < UINT32_MAX);
	return 0;
}

static int cid_is_kept(struct conformance *conformance)
{
	for (int i = 0; i < 2; i++) {
		SUBJECT(subject);

		REQUIRE(subject_make(&subject, STATE_FILLED));
		/* The second time it is free again with its enclave. */
		EXPECT(subject_start(&subject, 77777), 0);
		REQUIRE(subject.cid == 77777);
	}
	return 0;
}

static int cid_is_chosen_anew(struct conformance *conformance)
{
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_make(&one, STATE_RUNNING));
	REQUIRE(subject_make(&two, STATE_RUNNING));
	REQUIRE(one.cid != two.cid);
	return 0;
}

/* Which errno says so is the device's; the driver has none of its own for it. */
static int cid_is_taken(struct conformance *conformance)
{
	int result;
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_make(&one, STATE_RUNNING));
	REQUIRE(subject_make(&two, STATE_FILLED));
	result = subject_start(&two, one.cid);
	REQUIRE(result < 0 && result > -256);
	REQUIRE(events_of(one.fd, 0) == 0 && events_of(two.fd, 0) == 0);
	/* It can still start. */
	return subject_start(&two, 0);
}

static int cid_of_a_closed_one(struct conformance *conformance)
{
	uint64_t cid;
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_make(&one, STATE_RUNNING));
	cid = one.cid;
	REQUIRE(subject_make(&two, STATE_FILLED));
	subject_end(&one);
	EXPECT(subject_start(&two, cid), 0);
	REQUIRE(two.cid == cid);
	return 0;
}

const struct conformance_case start_cases[] = {
	{ "image load info: 8 MiB", image_offset_is_8_mib },
	{ "image load info: refused, the argument is left alone", image_argument_is_left },
	{ "start: vCPUs, no memory", start_with_vcpus_only, -NE_ERR_NO_MEM_REGIONS_ADDED },
	{ "start: no memory before half a core", start_with_half_a_core_only,
		-NE_ERR_NO_MEM_REGIONS_ADDED, NEED_SIBLINGS },
	{ "start: 62 MiB", start_small, -NE_ERR_ENCLAVE_MEM_MIN_SIZE },
	{ "start: 2 MiB", start_one_page, -NE_ERR_ENCLAVE_MEM_MIN_SIZE },
	{ "start: too small before no vCPUs", start_small_without_vcpus,
		-NE_ERR_ENCLAVE_MEM_MIN_SIZE },
	{ "start: too small before half a core", start_small_with_half_a_core,
		-NE_ERR_ENCLAVE_MEM_MIN_SIZE, NEED_SIBLINGS },
	{ "start: no vCPUs", start_without_vcpus, -NE_ERR_NO_VCPUS_ADDED },
	{ "start: half a core", start_with_half_a_core, -NE_ERR_FULL_CORES_NOT_USED,
		NEED_SIBLINGS },
	{ "start: a core and a half", start_with_a_core_and_a_half, -NE_ERR_FULL_CORES_NOT_USED,
		NEED_SIBLINGS | NEED_TWO_CORES },
	{ "start: 64 MiB and a core", start_enough },
	{ "start: 66 MiB and a core", start_more },
	{ "start: two cores", start_with_two_cores, 0, NEED_TWO_CORES },
	{ "start: after what was missing, and again", start_after_what_was_missing,
		-NE_ERR_NOT_IN_INIT_STATE },
	{ "start: after the other half of the core", start_after_the_other_half, 0, NEED_SIBLINGS },
	{ "start: CPUs before memory", start_cpus_before_memory },
	{ "start: over four regions", start_over_several_regions },
	{ "start: refused, the argument is left alone", start_refused_argument_is_left },
	{ "start: the flags are kept", start_keeps_the_flags },
	{ "start: done though told to nobody", start_told_to_nobody, -NE_ERR_NOT_IN_INIT_STATE },
	{ "start: a CID is chosen", cid_is_chosen },
	{ "start: a CID is kept, and free after the end", cid_is_kept },
	{ "start: two chosen CIDs differ", cid_is_chosen_anew, 0, NEED_TWO_CORES },
	{ "start: a CID that is taken", cid_is_taken, 0, NEED_TWO_CORES },
	{ "start: the CID of a closed enclave", cid_of_a_closed_one, 0, NEED_TWO_CORES },
	{ NULL },
};
