/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "subject.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

int on_fd(struct conformance *conformance, int fd, unsigned long request, void *argument)
{
	return conformance->dev->ops->ioctl(conformance->dev, fd, request, argument);
}

int subject_create(struct conformance *conformance, struct subject *subject)
{
	int result = on_fd(conformance, conformance->device, NE_CREATE_VM, &subject->slot_uid);

	subject->fd = result < 0 ? -1 : result;
	return result;
}

int subject_map(struct conformance *conformance, struct subject *subject, uint64_t size)
{
	int failed =
		conformance->dev->ops->map(conformance->dev, size, PAGE, &subject->memory, NULL);

	subject->memory_size = failed ? 0 : size;
	return failed;
}

int subject_add_memory(struct conformance *conformance, struct subject *subject)
{
	struct ne_user_memory_region region = {
		.memory_size = subject->memory_size,
		.userspace_addr = (uintptr_t)subject->memory,
	};

	return on_fd(conformance, subject->fd, NE_SET_USER_MEMORY_REGION, &region);
}

int subject_add_vcpu(struct conformance *conformance, struct subject *subject, uint32_t *id)
{
	return on_fd(conformance, subject->fd, NE_ADD_VCPU, id);
}

int subject_start(struct conformance *conformance, struct subject *subject, uint64_t cid)
{
	struct ne_enclave_start_info info = { .enclave_cid = cid };
	int result = on_fd(conformance, subject->fd, NE_START_ENCLAVE, &info);

	subject->cid = info.enclave_cid;
	return result;
}

int events_of(int fd, int milliseconds)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	poll(&pollfd, 1, milliseconds);
	return pollfd.revents;
}

int subject_crash(struct conformance *conformance, struct subject *subject)
{
	int failed = conformance->lab->crash(conformance->lab->context, subject->slot_uid);

	return failed ? failed : events_of(subject->fd, 5000) & POLLHUP ? 0 : -ETIME;
}

bool subject_make(struct conformance *conformance, enum state state, struct subject *subject)
{
	int result = 0;

	*subject = (struct subject)SUBJECT_NONE;
	if (state >= STATE_INIT)
		result = subject_create(conformance, subject) < 0 ? -1 : 0;
	if (!result && state >= STATE_FILLED)
		result = subject_map(conformance, subject, ENCLAVE_MIN);
	if (!result && state >= STATE_FILLED)
		result = subject_add_memory(conformance, subject);
	for (int i = 0; !result && state >= STATE_FILLED && i < 2; i++)
		result = subject_add_vcpu(conformance, subject, &subject->cpus[i]);
	if (!result && state >= STATE_RUNNING)
		result = subject_start(conformance, subject, 0);
	if (!result && state >= STATE_CRASHED)
		result = subject_crash(conformance, subject);
	if (!result)
		return true;
	printf("cannot set the case up: %s\n", result_name(result, (char[64]){ 0 }));
	subject_end(conformance, subject);
	return false;
}

void subject_end(struct conformance *conformance, struct subject *subject)
{
	if (subject->fd >= 0)
		conformance->dev->ops->close(conformance->dev, subject->fd);
	if (subject->memory)
		conformance->dev->ops->unmap(
			conformance->dev, subject->memory, subject->memory_size);
	*subject = (struct subject)SUBJECT_NONE;
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
