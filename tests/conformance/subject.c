/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "subject.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int on_fd(struct conformance *conformance, int fd, unsigned long request, void *argument)
{
	return conformance->dev->ops->ioctl(conformance->dev, fd, request, argument);
}

int subject_create(struct subject *subject)
{
	struct conformance *conformance = subject->conformance;
	int result = on_fd(conformance, conformance->device, NE_CREATE_VM, &subject->slot_uid);

	subject->fd = result < 0 ? -1 : result;
	return result;
}

int subject_map(struct subject *subject, uint64_t size)
{
	struct ne_dev *dev = subject->conformance->dev;
	int failed = dev->ops->map(dev, size, PAGE, &subject->memory, NULL);

	subject->memory_size = failed ? 0 : size;
	return failed;
}

int subject_add_part(struct subject *subject, const void *memory, uint64_t offset, uint64_t size)
{
	struct ne_user_memory_region region = {
		.memory_size = size,
		.userspace_addr = (uintptr_t)memory + offset,
	};

	return on_fd(subject->conformance, subject->fd, NE_SET_USER_MEMORY_REGION, &region);
}

int subject_add_memory(struct subject *subject)
{
	return subject_add_part(subject, subject->memory, 0, subject->memory_size);
}

int subject_add_vcpu(struct subject *subject, uint32_t *id)
{
	int result = on_fd(subject->conformance, subject->fd, NE_ADD_VCPU, id);

	if (!result && subject->cpu_count < SUBJECT_CPUS_MAX)
		subject->cpus[subject->cpu_count++] = *id;
	return result;
}

int subject_add_core(struct subject *subject)
{
	const struct pool *pool = &subject->conformance->pool;
	uint32_t first = 0, id;
	size_t at = 0;
	int result = subject_add_vcpu(subject, &first);

	while (at < pool->count && pool->ids[at] != first)
		at++;
	if (!result && at == pool->count)
		result = -ENOENT;
	for (size_t i = 0; !result && i < pool->count; i++) {
		id = pool->ids[i];
		if (i != at && pool->core[i] == pool->core[at])
			result = subject_add_vcpu(subject, &id);
	}
	return result;
}

int subject_take_pool(struct subject *subject)
{
	for (int taken = 0; taken <= POOL_CPUS_MAX; taken++) {
		uint32_t id = 0;
		int result = subject_add_vcpu(subject, &id);

		if (result)
			return result == -NE_ERR_NO_CPUS_AVAIL_IN_POOL ? taken : result;
	}
	return -E2BIG;
}

int subject_start(struct subject *subject, uint64_t cid)
{
	struct ne_enclave_start_info info = { .enclave_cid = cid };
	int result = on_fd(subject->conformance, subject->fd, NE_START_ENCLAVE, &info);

	subject->cid = info.enclave_cid;
	return result;
}

int events_of(int fd, int milliseconds)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN | POLLOUT | POLLPRI | POLLRDHUP };

	poll(&pollfd, 1, milliseconds);
	return pollfd.revents;
}

int subject_crash(struct subject *subject)
{
	const struct lab *lab = subject->conformance->lab;
	int failed = lab->crash(lab->context, subject->slot_uid);

	return failed ? failed : events_of(subject->fd, HANG_UP_MS) == POLLHUP ? 0 : -ETIME;
}

bool subject_make(struct subject *subject, enum state state)
{
	int result = 0;

	if (state >= STATE_INIT)
		result = subject_create(subject) < 0 ? -1 : 0;
	if (!result && state >= STATE_FILLED)
		result = subject_map(subject, ENCLAVE_MIN);
	if (!result && state >= STATE_FILLED)
		result = subject_add_memory(subject);
	if (!result && state >= STATE_FILLED)
		result = subject_add_core(subject);
	if (!result && state >= STATE_RUNNING)
		result = subject_start(subject, 0);
	if (!result && state >= STATE_CRASHED)
		result = subject_crash(subject);
	if (result)
		printf("cannot set the case up: %s\n", result_name(result, (char[64]){ 0 }));
	return !result;
}

void subject_end(struct subject *subject)
{
	struct ne_dev *dev = subject->conformance->dev;

	if (subject->fd >= 0)
		dev->ops->close(dev, subject->fd);
	if (subject->memory)
		dev->ops->unmap(dev, subject->memory, subject->memory_size);
	*subject = (struct subject){ .conformance = subject->conformance, .fd = -1 };
}

int in_a_child(struct subject *subject, unsigned long request, void *argument)
{
	int ends[2], result = CASE_FAILED, status = 0;
	pid_t child;

	if (pipe(ends))
		return CASE_FAILED;
	child = fork();
	if (child == 0) {
		result = on_fd(subject->conformance, subject->fd, request, argument);
		_exit(write(ends[1], &result, sizeof(result)) != sizeof(result));
	}
	close(ends[1]);
	if (child < 0 || read(ends[0], &result, sizeof(result)) != sizeof(result))
		result = CASE_FAILED;
	close(ends[0]);
	if (child > 0 && (waitpid(child, &status, 0) != child || status))
		result = CASE_FAILED;
	return result;
}

int64_t free_pages(struct conformance *conformance)
{
	struct ne_dev_pages pages[NE_DEV_PAGE_SIZES_MAX];
	size_t count = conformance->dev->ops->pages(conformance->dev, pages, NE_DEV_PAGE_SIZES_MAX);

	for (size_t i = 0; i < count; i++)
		if (pages[i].size == PAGE)
			return (int64_t)pages[i].free;
	return -1;
}

bool is_expected(const char *file, int line, const char *what, int got, int expected)
{
	char names[2][64];

	if (got != expected)
		printf("%s:%d: %s: got %s, expected %s\n", file, line, what,
			result_name(got, names[0]), result_name(expected, names[1]));
	return got == expected;
}

const char *result_name(int result, char text[64])
{
	static const char *const names[] = { "VCPU_ALREADY_USED", "VCPU_NOT_IN_CPU_POOL",
		"VCPU_INVALID_CPU_CORE", "INVALID_MEM_REGION_SIZE", "INVALID_MEM_REGION_ADDR",
		"UNALIGNED_MEM_REGION_ADDR", "MEM_REGION_ALREADY_USED", "MEM_NOT_HUGE_PAGE",
		"MEM_DIFFERENT_NUMA_NODE", "MEM_MAX_REGIONS", "NO_MEM_REGIONS_ADDED",
		"NO_VCPUS_ADDED", "ENCLAVE_MEM_MIN_SIZE", "FULL_CORES_NOT_USED",
		"NOT_IN_INIT_STATE", "INVALID_VCPU", "NO_CPUS_AVAIL_IN_POOL", "INVALID_PAGE_SIZE",
		"INVALID_FLAG_VALUE", "INVALID_ENCLAVE_CID" };

	if (result == CASE_FAILED)
		snprintf(text, 64, "something else (see above)");
	else if (result <= -256 && result > -256 - (int)(sizeof(names) / sizeof(names[0])))
		snprintf(text, 64, "NE_ERR_%s", names[-256 - result]);
	else if (result < 0 && strerrorname_np(-result))
		snprintf(text, 64, "%s", strerrorname_np(-result));
	else
		snprintf(text, 64, "%d", result);
	return text;
}
