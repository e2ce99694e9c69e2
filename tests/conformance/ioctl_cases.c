/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of single ioctls: each argument that is refused, in each state, and which check comes
 * first (facts/driver.md §1). */
#include "subject.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define MIB		(1ULL << 20)
#define KERNEL_ADDRESS	0xffff888000000000ULL
#define UNUSED_REQUEST	_IO(0xAE, 0x25)
#define FOREIGN_REQUEST _IO('T', 0x01)
#define CREATE		NE_CREATE_VM
#define VCPU		NE_ADD_VCPU
#define IMAGE		NE_GET_IMAGE_LOAD_INFO
#define MEMORY		NE_SET_USER_MEMORY_REGION
#define START		NE_START_ENCLAVE
#define BAD_POINTER(ioctl, name, state)                                                            \
	{ name " of NULL", state, ioctl, -EFAULT, .pointer = POINTER_NULL },                       \
		{ name " of an unmapped address", state, ioctl, -EFAULT,                           \
			.pointer = POINTER_UNMAPPED },                                             \
	{                                                                                          \
		name " of a kernel address", state, ioctl, -EFAULT, .pointer = POINTER_KERNEL      \
	}

/* The three states in which an enclave fd can be, for a check that does not depend on them. */
#define IN_EACH_STATE(name, ...)                                                                   \
	{ name ", init", STATE_INIT, __VA_ARGS__ },                                                \
		{ name ", running", STATE_RUNNING, __VA_ARGS__ },                                  \
	{                                                                                          \
		name ", crashed", STATE_CRASHED, __VA_ARGS__                                       \
	}
#define WHEN_OVER(name, ...)                                                                       \
	{ name ", running", STATE_RUNNING, __VA_ARGS__ },                                          \
	{                                                                                          \
		name ", crashed", STATE_CRASHED, __VA_ARGS__                                       \
	}

/* clang-format off */
const struct ioctl_case ioctl_cases[] = {
	/* ---- not ioctls of this fd ---- */
	{ "device fd: add vCPU", STATE_NONE, VCPU, -ENOTTY },
	{ "device fd: image load info", STATE_NONE, IMAGE, -ENOTTY, .flags = 1 },
	{ "device fd: memory region", STATE_NONE, MEMORY, -ENOTTY },
	{ "device fd: start", STATE_NONE, START, -ENOTTY },
	{ "device fd: unknown number", STATE_NONE, UNUSED_REQUEST, -ENOTTY },
	{ "device fd: a terminal's ioctl", STATE_NONE, FOREIGN_REQUEST, -ENOTTY },
	IN_EACH_STATE("enclave fd: create", CREATE, -ENOTTY),
	IN_EACH_STATE("enclave fd: unknown number", UNUSED_REQUEST, -ENOTTY),
	IN_EACH_STATE("enclave fd: a terminal's ioctl", FOREIGN_REQUEST, -ENOTTY),

	/* ---- bad pointers come first ---- */
	BAD_POINTER(CREATE, "create", STATE_NONE),
	BAD_POINTER(VCPU, "add vCPU", STATE_INIT),
	BAD_POINTER(IMAGE, "image load info", STATE_INIT),
	BAD_POINTER(MEMORY, "memory region", STATE_INIT),
	BAD_POINTER(START, "start", STATE_INIT),
	BAD_POINTER(VCPU, "add vCPU while running", STATE_RUNNING),
	BAD_POINTER(IMAGE, "image load info while running", STATE_RUNNING),
	BAD_POINTER(MEMORY, "memory region while running", STATE_RUNNING),
	BAD_POINTER(START, "start while running", STATE_RUNNING),
	BAD_POINTER(START, "start after a crash", STATE_CRASHED),
	{ "image load info into read-only memory", STATE_INIT, IMAGE, -EFAULT, .pointer = POINTER_READ_ONLY, .flags = 1 },

	/* ---- vCPUs ---- */
	{ "add vCPU: any", STATE_INIT, VCPU, 0 },
	{ "add vCPU: beyond the machine", STATE_INIT, VCPU, -NE_ERR_INVALID_VCPU, .flags = 0xffffffff },
	{ "add vCPU: far beyond the machine", STATE_INIT, VCPU, -NE_ERR_INVALID_VCPU, .flags = 1000000 },
	{ "add vCPU: sibling of CPU 0", STATE_INIT, VCPU, -NE_ERR_VCPU_NOT_IN_CPU_POOL, .flags = 1 },
	WHEN_OVER("add vCPU: any", VCPU, -NE_ERR_NOT_IN_INIT_STATE),
	WHEN_OVER("add vCPU: state before the id", VCPU, -NE_ERR_NOT_IN_INIT_STATE, .flags = 0xffffffff),
	WHEN_OVER("add vCPU: state before the pool", VCPU, -NE_ERR_NOT_IN_INIT_STATE, .flags = 1),

	/* ---- image load info ---- */
	{ "image load info: EIF", STATE_INIT, IMAGE, 0, .flags = 1 },
	{ "image load info: EIF, filled", STATE_FILLED, IMAGE, 0, .flags = 1 },
	{ "image load info: no flag", STATE_INIT, IMAGE, -NE_ERR_INVALID_FLAG_VALUE, .flags = 0 },
	{ "image load info: flag 2", STATE_INIT, IMAGE, -NE_ERR_INVALID_FLAG_VALUE, .flags = 2 },
	{ "image load info: flags 3", STATE_INIT, IMAGE, -NE_ERR_INVALID_FLAG_VALUE, .flags = 3 },
	{ "image load info: all flags", STATE_INIT, IMAGE, -NE_ERR_INVALID_FLAG_VALUE, .flags = UINT64_MAX },
	{ "image load info: flag in the high half", STATE_INIT, IMAGE, -NE_ERR_INVALID_FLAG_VALUE, .flags = 1ULL << 32 },
	WHEN_OVER("image load info: EIF", IMAGE, -NE_ERR_NOT_IN_INIT_STATE, .flags = 1),
	WHEN_OVER("image load info: state before no flag", IMAGE, -NE_ERR_NOT_IN_INIT_STATE, .flags = 0),
	WHEN_OVER("image load info: state before flag 2", IMAGE, -NE_ERR_NOT_IN_INIT_STATE, .flags = 2),

	/* ---- memory regions: the flag comes before the state ---- */
	IN_EACH_STATE("memory: flag 1", MEMORY, -NE_ERR_INVALID_FLAG_VALUE, .flags = 1),
	IN_EACH_STATE("memory: all flags", MEMORY, -NE_ERR_INVALID_FLAG_VALUE, .flags = UINT64_MAX),
	IN_EACH_STATE("memory: flag before the size", MEMORY, -NE_ERR_INVALID_FLAG_VALUE, .flags = 2, .value = 1),
	WHEN_OVER("memory: huge pages", MEMORY, -NE_ERR_NOT_IN_INIT_STATE, .value = PAGE, .address = ADDRESS_FREE),
	WHEN_OVER("memory: state before the size", MEMORY, -NE_ERR_NOT_IN_INIT_STATE, .value = 1),
	WHEN_OVER("memory: state before the address", MEMORY, -NE_ERR_NOT_IN_INIT_STATE, .value = PAGE, .offset = 1),
	{ "memory: a huge page", STATE_INIT, MEMORY, 0, .value = PAGE, .address = ADDRESS_FREE },
	{ "memory: two huge pages", STATE_INIT, MEMORY, 0, .value = 2 * PAGE, .address = ADDRESS_FREE },
	{ "memory: another region", STATE_FILLED, MEMORY, 0, .value = PAGE, .address = ADDRESS_FREE },
	{ "memory: 1 byte", STATE_INIT, MEMORY, -NE_ERR_INVALID_MEM_REGION_SIZE, .value = 1, .address = ADDRESS_FREE },
	{ "memory: 4 KiB", STATE_INIT, MEMORY, -NE_ERR_INVALID_MEM_REGION_SIZE, .value = 4096, .address = ADDRESS_FREE },
	{ "memory: 1 MiB", STATE_INIT, MEMORY, -NE_ERR_INVALID_MEM_REGION_SIZE, .value = MIB, .address = ADDRESS_FREE },
	{ "memory: 3 MiB", STATE_INIT, MEMORY, -NE_ERR_INVALID_MEM_REGION_SIZE, .value = 3 * MIB, .address = ADDRESS_FREE },
	{ "memory: all but a byte", STATE_INIT, MEMORY, -NE_ERR_INVALID_MEM_REGION_SIZE, .value = UINT64_MAX, .address = ADDRESS_FREE },
	{ "memory: size before alignment", STATE_INIT, MEMORY, -NE_ERR_INVALID_MEM_REGION_SIZE, .value = MIB, .address = ADDRESS_FREE, .offset = 1 },
	{ "memory: size before address", STATE_INIT, MEMORY, -NE_ERR_INVALID_MEM_REGION_SIZE, .value = MIB, .offset = KERNEL_ADDRESS },
	{ "memory: off by a byte", STATE_INIT, MEMORY, -NE_ERR_UNALIGNED_MEM_REGION_ADDR, .value = PAGE, .address = ADDRESS_FREE, .offset = 1 },
	{ "memory: off by 4 KiB", STATE_INIT, MEMORY, -NE_ERR_UNALIGNED_MEM_REGION_ADDR, .value = PAGE, .address = ADDRESS_FREE, .offset = 4096 },
	{ "memory: off by 1 MiB", STATE_INIT, MEMORY, -NE_ERR_UNALIGNED_MEM_REGION_ADDR, .value = PAGE, .address = ADDRESS_FREE, .offset = MIB },
	{ "memory: alignment before address", STATE_INIT, MEMORY, -NE_ERR_UNALIGNED_MEM_REGION_ADDR, .value = PAGE, .offset = KERNEL_ADDRESS + 4096 },
	{ "memory: alignment before overlap", STATE_FILLED, MEMORY, -NE_ERR_UNALIGNED_MEM_REGION_ADDR, .value = PAGE, .address = ADDRESS_ENCLAVE, .offset = 4096 },
	{ "memory: a kernel address", STATE_INIT, MEMORY, -NE_ERR_INVALID_MEM_REGION_ADDR, .value = PAGE, .offset = KERNEL_ADDRESS },
	{ "memory: the last page of all", STATE_INIT, MEMORY, -NE_ERR_INVALID_MEM_REGION_ADDR, .value = PAGE, .offset = UINT64_MAX - PAGE + 1 },
	{ "memory: into kernel space", STATE_INIT, MEMORY, -NE_ERR_INVALID_MEM_REGION_ADDR, .value = 1ULL << 62, .address = ADDRESS_FREE },
	{ "memory: the same again", STATE_FILLED, MEMORY, -NE_ERR_MEM_REGION_ALREADY_USED, .value = ENCLAVE_MIN, .address = ADDRESS_ENCLAVE },
	{ "memory: a part again", STATE_FILLED, MEMORY, -NE_ERR_MEM_REGION_ALREADY_USED, .value = PAGE, .address = ADDRESS_ENCLAVE, .offset = 4 * PAGE },
	{ "memory: its last page again", STATE_FILLED, MEMORY, -NE_ERR_MEM_REGION_ALREADY_USED, .value = PAGE, .address = ADDRESS_ENCLAVE, .offset = ENCLAVE_MIN - PAGE },
	{ "memory: overlap at the end", STATE_FILLED, MEMORY, -NE_ERR_MEM_REGION_ALREADY_USED, .value = 2 * PAGE, .address = ADDRESS_ENCLAVE, .offset = ENCLAVE_MIN - PAGE },
	{ "memory: nothing", STATE_INIT, MEMORY, -ENOMEM, .value = 0, .address = ADDRESS_FREE },
	{ "memory: unmapped", STATE_INIT, MEMORY, -EFAULT, .value = PAGE, .address = ADDRESS_NOTHING },
	{ "memory: ordinary pages", STATE_INIT, MEMORY, -NE_ERR_MEM_NOT_HUGE_PAGE, .value = PAGE, .address = ADDRESS_ORDINARY },

	/* ---- start: the flags, then the CID, then the state, then what is missing ---- */
	IN_EACH_STATE("start: flag 2", START, -NE_ERR_INVALID_FLAG_VALUE, .flags = 2),
	IN_EACH_STATE("start: flags 3", START, -NE_ERR_INVALID_FLAG_VALUE, .flags = 3),
	IN_EACH_STATE("start: all flags", START, -NE_ERR_INVALID_FLAG_VALUE, .flags = UINT64_MAX),
	IN_EACH_STATE("start: flags before the CID", START, -NE_ERR_INVALID_FLAG_VALUE, .flags = 2, .value = 3),
	IN_EACH_STATE("start: CID 1", START, -NE_ERR_INVALID_ENCLAVE_CID, .value = 1),
	IN_EACH_STATE("start: CID 2", START, -NE_ERR_INVALID_ENCLAVE_CID, .value = 2),
	IN_EACH_STATE("start: CID 3", START, -NE_ERR_INVALID_ENCLAVE_CID, .value = 3),
	IN_EACH_STATE("start: CID any", START, -NE_ERR_INVALID_ENCLAVE_CID, .value = 0xffffffff),
	IN_EACH_STATE("start: CID of 33 bits", START, -NE_ERR_INVALID_ENCLAVE_CID, .value = 1ULL << 32),
	IN_EACH_STATE("start: CID of 64 bits", START, -NE_ERR_INVALID_ENCLAVE_CID, .value = UINT64_MAX),
	{ "start: CID before what is filled", STATE_FILLED, START, -NE_ERR_INVALID_ENCLAVE_CID, .value = 3 },
	{ "start: without anything", STATE_INIT, START, -NE_ERR_NO_MEM_REGIONS_ADDED },
	{ "start: debug mode, without anything", STATE_INIT, START, -NE_ERR_NO_MEM_REGIONS_ADDED, .flags = 1 },
	{ "start: filled", STATE_FILLED, START, 0 },
	{ "start: debug mode", STATE_FILLED, START, 0, .flags = 1 },
	{ "start: with a CID", STATE_FILLED, START, 0, .value = 4242 },
	{ "start: lowest CID", STATE_FILLED, START, 0, .value = 4 },
	{ "start: highest CID", STATE_FILLED, START, 0, .value = 0xfffffffe },
	WHEN_OVER("start: again", START, -NE_ERR_NOT_IN_INIT_STATE),
	WHEN_OVER("start: again with a CID", START, -NE_ERR_NOT_IN_INIT_STATE, .value = 4242),
};
/* clang-format on */

size_t ioctl_case_count(void)
{
	return sizeof(ioctl_cases) / sizeof(ioctl_cases[0]);
}

/* Address space for one row, all of it released together. */
struct spaces {
	void *ordinary; /* 12 MiB, of which 8 are used, aligned */
	void *nothing;
	struct subject free; /* huge pages that no enclave has */
};

#define SPACE_SIZE (12 * MIB)

static uint64_t align(const void *address)
{
	return ((uintptr_t)address + PAGE - 1) & ~(PAGE - 1);
}

static uint64_t base_of(struct conformance *conformance, const struct ioctl_case *row,
	const struct subject *subject, struct spaces *spaces)
{
	switch (row->address) {
	case ADDRESS_ENCLAVE:
		return (uintptr_t)subject->memory;
	case ADDRESS_FREE:
		subject_map(conformance, &spaces->free, 4 * PAGE);
		return (uintptr_t)spaces->free.memory;
	case ADDRESS_ORDINARY:
		spaces->ordinary = mmap(NULL, SPACE_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		/* Transparent huge pages are no hugetlb pages, but let there be no doubt. */
		madvise(spaces->ordinary, SPACE_SIZE, MADV_NOHUGEPAGE);
		return align(spaces->ordinary);
	case ADDRESS_NOTHING:
		spaces->nothing =
			mmap(NULL, SPACE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		munmap(spaces->nothing, SPACE_SIZE);
		return align(spaces->nothing);
	default:
		return 0;
	}
}

int ioctl_case_run(struct conformance *conformance, const struct ioctl_case *row)
{
	struct spaces spaces = { .free = SUBJECT_NONE };
	struct subject subject;
	union {
		uint32_t vcpu;
		struct ne_image_load_info image;
		struct ne_user_memory_region memory;
		struct ne_enclave_start_info start;
	} *argument = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *pointer = argument;
	int result, fd;

	if (!subject_make(conformance, row->state, &subject))
		return CASE_FAILED;
	memset(argument, 0, sizeof(*argument));
	if (row->request == VCPU)
		argument->vcpu = (uint32_t)row->flags;
	else if (row->request == IMAGE)
		argument->image.flags = row->flags;
	else if (row->request == START)
		argument->start = (struct ne_enclave_start_info){ row->flags, row->value };
	else if (row->request == MEMORY)
		argument->memory = (struct ne_user_memory_region){ row->flags, row->value,
			base_of(conformance, row, &subject, &spaces) + row->offset };
	if (row->pointer == POINTER_NULL)
		pointer = NULL;
	else if (row->pointer == POINTER_KERNEL)
		pointer = (void *)KERNEL_ADDRESS;
	else if (row->pointer == POINTER_UNMAPPED)
		munmap(argument, 4096);
	else if (row->pointer == POINTER_READ_ONLY)
		mprotect(argument, 4096, PROT_READ);
	fd = row->state == STATE_NONE ? conformance->device : subject.fd;
	result = on_fd(conformance, fd, row->request, pointer);
	subject_end(conformance, &subject);
	subject_end(conformance, &spaces.free);
	if (row->pointer != POINTER_UNMAPPED)
		munmap(argument, 4096);
	if (spaces.ordinary)
		munmap(spaces.ordinary, SPACE_SIZE);
	return result;
}
