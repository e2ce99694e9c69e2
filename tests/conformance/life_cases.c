/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cases of more than one step: what was given out, who may do it, how an enclave ends. */
#include "subject.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL_CORES_MAX 4096

/* A check inside of a case. */
#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);             \
			result = CASE_FAILED;                                                      \
			goto end;                                                                  \
		}                                                                                  \
	} while (0)

static int create_gives_a_cloexec_fd(struct conformance *conformance)
{
	struct subject subject = SUBJECT_NONE;
	int result;

	REQUIRE(subject_create(conformance, &subject) >= 0);
	REQUIRE(fcntl(subject.fd, F_GETFD) & FD_CLOEXEC);
	REQUIRE(subject.fd != conformance->device);
	result = 0;
end:
	subject_end(conformance, &subject);
	return result;
}

static int create_gives_each_a_slot(struct conformance *conformance)
{
	struct subject one = SUBJECT_NONE, two = SUBJECT_NONE;
	int result;

	REQUIRE(subject_create(conformance, &one) >= 0);
	REQUIRE(subject_create(conformance, &two) >= 0);
	REQUIRE(one.slot_uid != two.slot_uid && one.fd != two.fd);
	result = 0;
end:
	subject_end(conformance, &one);
	subject_end(conformance, &two);
	return result;
}

/* Takes whole cores until there are none; returns how many CPUs, or a negative errno. */
static int take_pool(struct conformance *conformance, struct subject *subject)
{
	for (int taken = 0; taken < 2 * POOL_CORES_MAX; taken++) {
		uint32_t id = 0;
		int result = subject_add_vcpu(conformance, subject, &id);

		if (result)
			return result == -NE_ERR_NO_CPUS_AVAIL_IN_POOL ? taken : result;
	}
	return -E2BIG;
}

static int create_with_a_used_up_pool(struct conformance *conformance)
{
	struct subject one = SUBJECT_NONE, two = SUBJECT_NONE;
	int result;

	REQUIRE(subject_create(conformance, &one) >= 0);
	REQUIRE(take_pool(conformance, &one) > 0);
	result = subject_create(conformance, &two);
end:
	subject_end(conformance, &one);
	subject_end(conformance, &two);
	return result;
}

static int vcpu_with_a_used_up_pool(struct conformance *conformance)
{
	struct subject one = SUBJECT_NONE, two = SUBJECT_NONE;
	uint32_t id = 0;
	int result;

	REQUIRE(subject_create(conformance, &one) >= 0);
	REQUIRE(subject_create(conformance, &two) >= 0);
	REQUIRE(take_pool(conformance, &one) > 0);
	result = subject_add_vcpu(conformance, &two, &id);
end:
	subject_end(conformance, &one);
	subject_end(conformance, &two);
	return result;
}

static int vcpus_come_back(struct conformance *conformance)
{
	struct subject one = SUBJECT_NONE;
	int result, taken;

	REQUIRE(subject_create(conformance, &one) >= 0);
	taken = take_pool(conformance, &one);
	REQUIRE(taken > 0);
	subject_end(conformance, &one);
	REQUIRE(subject_create(conformance, &one) >= 0);
	REQUIRE(take_pool(conformance, &one) == taken);
	result = 0;
end:
	subject_end(conformance, &one);
	return result;
}

static int vcpu_used_already(struct conformance *conformance)
{
	struct subject subject = SUBJECT_NONE;
	uint32_t id = 0;
	int result;

	REQUIRE(subject_create(conformance, &subject) >= 0);
	REQUIRE(subject_add_vcpu(conformance, &subject, &id) == 0 && id > 0);
	result = subject_add_vcpu(conformance, &subject, &id);
end:
	subject_end(conformance, &subject);
	return result;
}

static int vcpu_of_another_enclave(struct conformance *conformance)
{
	struct subject one = SUBJECT_NONE, two = SUBJECT_NONE;
	uint32_t id = 0;
	int result;

	REQUIRE(subject_create(conformance, &one) >= 0);
	REQUIRE(subject_create(conformance, &two) >= 0);
	REQUIRE(subject_add_vcpu(conformance, &one, &id) == 0);
	result = subject_add_vcpu(conformance, &two, &id);
end:
	subject_end(conformance, &one);
	subject_end(conformance, &two);
	return result;
}

static int vcpu_by_its_name(struct conformance *conformance)
{
	struct subject subject = SUBJECT_NONE;
	uint32_t id = 0, named;
	int result;

	REQUIRE(subject_create(conformance, &subject) >= 0);
	REQUIRE(subject_add_vcpu(conformance, &subject, &id) == 0);
	subject_end(conformance, &subject);
	REQUIRE(subject_create(conformance, &subject) >= 0);
	named = id;
	result = subject_add_vcpu(conformance, &subject, &named);
	REQUIRE(named == id);
end:
	subject_end(conformance, &subject);
	return result;
}

static int vcpus_fill_a_core_first(struct conformance *conformance)
{
	struct subject subject;
	uint32_t low, high;
	int result;

	if (!subject_make(conformance, STATE_FILLED, &subject))
		return CASE_FAILED;
	low = subject.cpus[0] < subject.cpus[1] ? subject.cpus[0] : subject.cpus[1];
	high = subject.cpus[0] ^ subject.cpus[1] ^ low;
	REQUIRE(low > 1 && high != low);
	result = subject_start(conformance, &subject, 0);
end:
	subject_end(conformance, &subject);
	return result;
}

/* ---- another process ---- */

/* The result of one step in a child; results fit an exit status by their distance from 250. */
static int in_a_child(struct conformance *conformance, struct subject *subject,
	unsigned long request, void *argument)
{
	int ends[2], result = CASE_FAILED;
	pid_t child;

	if (pipe(ends))
		return CASE_FAILED;
	child = fork();
	if (child == 0) {
		result = on_fd(conformance, subject->fd, request, argument);
		_exit(write(ends[1], &result, sizeof(result)) != sizeof(result));
	}
	close(ends[1]);
	if (child < 0 || read(ends[0], &result, sizeof(result)) != sizeof(result))
		result = CASE_FAILED;
	close(ends[0]);
	if (child > 0)
		waitpid(child, NULL, 0);
	return result;
}

static int memory_from_a_child(struct conformance *conformance)
{
	struct subject subject = SUBJECT_NONE;
	struct ne_user_memory_region region = { .memory_size = PAGE };
	int result;

	REQUIRE(subject_create(conformance, &subject) >= 0);
	REQUIRE(subject_map(conformance, &subject, PAGE) == 0);
	region.userspace_addr = (uintptr_t)subject.memory;
	result = in_a_child(conformance, &subject, NE_SET_USER_MEMORY_REGION, &region);
end:
	subject_end(conformance, &subject);
	return result;
}

static int bad_memory_from_a_child(struct conformance *conformance)
{
	struct subject subject = SUBJECT_NONE;
	struct ne_user_memory_region region = { .memory_size = 1, .userspace_addr = 1 };
	int result;

	REQUIRE(subject_create(conformance, &subject) >= 0);
	result = in_a_child(conformance, &subject, NE_SET_USER_MEMORY_REGION, &region);
end:
	subject_end(conformance, &subject);
	return result;
}

static int vcpu_from_a_child(struct conformance *conformance)
{
	struct subject subject = SUBJECT_NONE;
	uint32_t id = 0;
	int result;

	REQUIRE(subject_create(conformance, &subject) >= 0);
	result = in_a_child(conformance, &subject, NE_ADD_VCPU, &id);
end:
	subject_end(conformance, &subject);
	return result;
}

static int image_info_from_a_child(struct conformance *conformance)
{
	struct subject subject = SUBJECT_NONE;
	struct ne_image_load_info info = { .flags = NE_EIF_IMAGE };
	int result;

	REQUIRE(subject_create(conformance, &subject) >= 0);
	result = in_a_child(conformance, &subject, NE_GET_IMAGE_LOAD_INFO, &info);
end:
	subject_end(conformance, &subject);
	return result;
}

/* ---- what start asks for, in its order ---- */

static int start_part(
	struct conformance *conformance, uint64_t memory, int vcpus, struct subject *subject)
{
	int result;

	REQUIRE(subject_create(conformance, subject) >= 0);
	if (memory) {
		REQUIRE(subject_map(conformance, subject, memory) == 0);
		REQUIRE(subject_add_memory(conformance, subject) == 0);
	}
	for (int i = 0; i < vcpus; i++)
		REQUIRE(subject_add_vcpu(conformance, subject, &subject->cpus[i]) == 0);
	result = subject_start(conformance, subject, 0);
end:
	return result;
}

#define START_CASE(name, memory, vcpus)                                                            \
	static int name(struct conformance *conformance)                                           \
	{                                                                                          \
		struct subject subject = SUBJECT_NONE;                                             \
		int result = start_part(conformance, memory, vcpus, &subject);                     \
                                                                                                   \
		subject_end(conformance, &subject);                                                \
		return result;                                                                     \
	}

START_CASE(start_with_vcpus_only, 0, 2)
START_CASE(start_with_half_a_core_only, 0, 1)
START_CASE(start_small, ENCLAVE_MIN - PAGE, 2)
START_CASE(start_small_without_vcpus, ENCLAVE_MIN - PAGE, 0)
START_CASE(start_small_with_half_a_core, ENCLAVE_MIN - PAGE, 1)
START_CASE(start_one_page, PAGE, 2)
START_CASE(start_without_vcpus, ENCLAVE_MIN, 0)
START_CASE(start_with_half_a_core, ENCLAVE_MIN, 1)
START_CASE(start_enough, ENCLAVE_MIN, 2)

static int start_after_what_was_missing(struct conformance *conformance)
{
	struct subject subject = SUBJECT_NONE;
	int result = start_part(conformance, ENCLAVE_MIN, 1, &subject);

	REQUIRE(result == -NE_ERR_FULL_CORES_NOT_USED);
	REQUIRE(subject_add_vcpu(conformance, &subject, &subject.cpus[1]) == 0);
	result = subject_start(conformance, &subject, 0);
end:
	subject_end(conformance, &subject);
	return result;
}

static int start_over_several_regions(struct conformance *conformance)
{
	struct subject subject = SUBJECT_NONE;
	struct ne_user_memory_region region = { .memory_size = ENCLAVE_MIN / 4 };
	int result;

	REQUIRE(subject_create(conformance, &subject) >= 0);
	REQUIRE(subject_map(conformance, &subject, ENCLAVE_MIN) == 0);
	for (uint64_t i = 0; i < 4; i++) {
		region.userspace_addr = (uintptr_t)subject.memory + i * region.memory_size;
		REQUIRE(on_fd(conformance, subject.fd, NE_SET_USER_MEMORY_REGION, &region) == 0);
	}
	REQUIRE(subject_add_vcpu(conformance, &subject, &subject.cpus[0]) == 0);
	REQUIRE(subject_add_vcpu(conformance, &subject, &subject.cpus[1]) == 0);
	result = subject_start(conformance, &subject, 0);
end:
	subject_end(conformance, &subject);
	return result;
}

static int image_offset_is_8_mib(struct conformance *conformance)
{
	struct subject subject = SUBJECT_NONE;
	struct ne_image_load_info info = { .flags = NE_EIF_IMAGE };
	int result;

	REQUIRE(subject_create(conformance, &subject) >= 0);
	result = on_fd(conformance, subject.fd, NE_GET_IMAGE_LOAD_INFO, &info);
	REQUIRE(info.memory_offset == 8ULL << 20 && info.flags == NE_EIF_IMAGE);
end:
	subject_end(conformance, &subject);
	return result;
}

static int cid_is_chosen(struct conformance *conformance)
{
	struct subject subject;
	int result;

	if (!subject_make(conformance, STATE_RUNNING, &subject))
		return CASE_FAILED;
	REQUIRE(subject.cid > 3 && subject.cid < UINT32_MAX);
	result = 0;
end:
	subject_end(conformance, &subject);
	return result;
}

static int cid_is_kept(struct conformance *conformance)
{
	struct subject subject;
	int result;

	if (!subject_make(conformance, STATE_FILLED, &subject))
		return CASE_FAILED;
	REQUIRE(subject_start(conformance, &subject, 77777) == 0);
	REQUIRE(subject.cid == 77777);
	subject_end(conformance, &subject);
	/* Free again with its enclave. */
	REQUIRE(subject_make(conformance, STATE_FILLED, &subject));
	result = subject_start(conformance, &subject, 77777);
end:
	subject_end(conformance, &subject);
	return result;
}

/* ---- the end ---- */

static int quiet_before_start(struct conformance *conformance)
{
	struct subject subject;
	int result;

	if (!subject_make(conformance, STATE_FILLED, &subject))
		return CASE_FAILED;
	result = events_of(subject.fd, 0);
	subject_end(conformance, &subject);
	return result;
}

static int quiet_while_running(struct conformance *conformance)
{
	struct subject subject;
	int result;

	if (!subject_make(conformance, STATE_RUNNING, &subject))
		return CASE_FAILED;
	result = events_of(subject.fd, 50);
	subject_end(conformance, &subject);
	return result;
}

static int crash_hangs_up(struct conformance *conformance)
{
	struct subject subject;
	int result;

	if (!subject_make(conformance, STATE_CRASHED, &subject))
		return CASE_FAILED;
	REQUIRE(events_of(subject.fd, 0) & POLLHUP);
	REQUIRE(events_of(subject.fd, 0) & POLLHUP); /* sticky */
	result = 0;
end:
	subject_end(conformance, &subject);
	return result;
}

static int spurious_event_is_quiet(struct conformance *conformance)
{
	struct subject subject;
	int result;

	if (!subject_make(conformance, STATE_RUNNING, &subject))
		return CASE_FAILED;
	REQUIRE(conformance->lab->spurious(conformance->lab->context) == 0);
	result = events_of(subject.fd, 200);
end:
	subject_end(conformance, &subject);
	return result;
}

static int crash_after_a_spurious_event(struct conformance *conformance)
{
	struct subject subject;
	int result;

	if (!subject_make(conformance, STATE_RUNNING, &subject))
		return CASE_FAILED;
	REQUIRE(conformance->lab->spurious(conformance->lab->context) == 0);
	REQUIRE(subject_crash(conformance, &subject) == 0);
	result = 0;
end:
	subject_end(conformance, &subject);
	return result;
}

static int crash_gives_all_back(struct conformance *conformance)
{
	struct ne_dev_pages before = { 0 }, after = { 0 };
	struct subject subject;
	int result = 0;

	REQUIRE(conformance->dev->ops->pages(conformance->dev, &before, 1) == 1);
	for (int i = 0; i < 20; i++) {
		REQUIRE(subject_make(conformance, STATE_CRASHED, &subject));
		subject_end(conformance, &subject);
	}
	REQUIRE(conformance->dev->ops->pages(conformance->dev, &after, 1) == 1);
	REQUIRE(before.free == after.free && before.total == after.total);
end:
	return result;
}

static int close_stops_and_gives_all_back(struct conformance *conformance)
{
	struct ne_dev_pages before = { 0 }, after = { 0 };
	struct subject subject;
	int result = 0;

	REQUIRE(conformance->dev->ops->pages(conformance->dev, &before, 1) == 1);
	for (int i = 0; i < 20; i++) {
		REQUIRE(subject_make(conformance, STATE_RUNNING, &subject));
		subject_end(conformance, &subject);
	}
	REQUIRE(conformance->dev->ops->pages(conformance->dev, &after, 1) == 1);
	REQUIRE(before.free == after.free && before.total == after.total);
end:
	return result;
}

static int memory_outlives_its_mapping(struct conformance *conformance)
{
	struct ne_dev_pages before = { 0 }, during = { 0 };
	struct subject subject = SUBJECT_NONE;
	int result = 0;

	REQUIRE(conformance->dev->ops->pages(conformance->dev, &before, 1) == 1);
	REQUIRE(subject_make(conformance, STATE_RUNNING, &subject));
	conformance->dev->ops->unmap(conformance->dev, subject.memory, subject.memory_size);
	subject.memory = NULL;
	REQUIRE(conformance->dev->ops->pages(conformance->dev, &during, 1) == 1);
	REQUIRE(during.free * during.size == before.free * before.size - ENCLAVE_MIN);
	REQUIRE(events_of(subject.fd, 20) == 0);
end:
	subject_end(conformance, &subject);
	return result;
}

const struct conformance_case life_cases[] = {
	{ "create: a close-on-exec fd", create_gives_a_cloexec_fd, 0, false, false },
	{ "create: a slot each", create_gives_each_a_slot, 0, false, false },
	{ "create: the pool used up", create_with_a_used_up_pool, -NE_ERR_NO_CPUS_AVAIL_IN_POOL,
		false, false },
	{ "add vCPU: the pool used up", vcpu_with_a_used_up_pool, -NE_ERR_NO_CPUS_AVAIL_IN_POOL,
		false, false },
	{ "add vCPU: the pool comes back", vcpus_come_back, 0, false, false },
	{ "add vCPU: twice", vcpu_used_already, -NE_ERR_VCPU_ALREADY_USED, false, false },
	{ "add vCPU: another enclave's", vcpu_of_another_enclave, -NE_ERR_VCPU_NOT_IN_CPU_POOL,
		false, false },
	{ "add vCPU: by its id", vcpu_by_its_name, 0, false, false },
	{ "add vCPU: siblings first", vcpus_fill_a_core_first, 0, false, false },
	{ "memory: from a child process", memory_from_a_child, -EIO, false, false },
	{ "memory: child before the size", bad_memory_from_a_child, -EIO, false, false },
	{ "add vCPU: from a child process", vcpu_from_a_child, -EIO, false, false },
	{ "image load info: from a child process", image_info_from_a_child, 0, false, false },
	{ "image load info: 8 MiB", image_offset_is_8_mib, 0, false, false },
	{ "start: vCPUs, no memory", start_with_vcpus_only, -NE_ERR_NO_MEM_REGIONS_ADDED, false,
		false },
	{ "start: no memory before half a core", start_with_half_a_core_only,
		-NE_ERR_NO_MEM_REGIONS_ADDED, false, false },
	{ "start: 62 MiB", start_small, -NE_ERR_ENCLAVE_MEM_MIN_SIZE, false, false },
	{ "start: 2 MiB", start_one_page, -NE_ERR_ENCLAVE_MEM_MIN_SIZE, false, false },
	{ "start: too small before no vCPUs", start_small_without_vcpus,
		-NE_ERR_ENCLAVE_MEM_MIN_SIZE, false, false },
	{ "start: too small before half a core", start_small_with_half_a_core,
		-NE_ERR_ENCLAVE_MEM_MIN_SIZE, false, false },
	{ "start: no vCPUs", start_without_vcpus, -NE_ERR_NO_VCPUS_ADDED, false, false },
	{ "start: half a core", start_with_half_a_core, -NE_ERR_FULL_CORES_NOT_USED, false, false },
	{ "start: 64 MiB and a core", start_enough, 0, false, false },
	{ "start: after what was missing", start_after_what_was_missing, 0, false, false },
	{ "start: over four regions", start_over_several_regions, 0, false, false },
	{ "start: a CID is chosen", cid_is_chosen, 0, false, false },
	{ "start: a CID is kept, and free after the end", cid_is_kept, 0, false, false },
	{ "poll: quiet before the start", quiet_before_start, 0, false, false },
	{ "poll: quiet while running", quiet_while_running, 0, false, false },
	{ "poll: a crash hangs up, and stays", crash_hangs_up, 0, true, false },
	{ "poll: a spurious event is quiet", spurious_event_is_quiet, 0, false, true },
	{ "poll: a crash after a spurious event", crash_after_a_spurious_event, 0, true, true },
	{ "close: after a crash all comes back", crash_gives_all_back, 0, true, false },
	{ "close: stops, and all comes back", close_stops_and_gives_all_back, 0, false, false },
	{ "memory: pages outlive their mapping", memory_outlives_its_mapping, 0, false, false },
};

size_t life_case_count(void)
{
	return sizeof(life_cases) / sizeof(life_cases[0]);
}
