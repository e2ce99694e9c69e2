/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of single ioctls: each argument that is refused, in each state, and which check comes
 * first (docs/facts/driver.md §1). */
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
	{ "device fd: start of NULL", STATE_NONE, START, -ENOTTY, .pointer = POINTER_NULL },
	{ "device fd: command 0", STATE_NONE, 0, -ENOTTY },
	{ "device fd: the number before the first", STATE_NONE, _IOR(0xAE, 0x1f, __u64), -ENOTTY },
	{ "device fd: the draft's version", STATE_NONE, _IO(0xAE, 0x20), -ENOTTY },
	{ "device fd: create that reads", STATE_NONE, _IOW(0xAE, 0x20, __u64), -ENOTTY },
	{ "device fd: create of 4 bytes", STATE_NONE, _IOR(0xAE, 0x20, __u32), -ENOTTY },
	{ "device fd: another letter", STATE_NONE, _IOR(0xAF, 0x20, __u64), -ENOTTY },
	{ "enclave fd: command 0", STATE_INIT, 0, -ENOTTY },
	{ "enclave fd: add vCPU of 8 bytes", STATE_INIT, _IOWR(0xAE, 0x21, __u64), -ENOTTY },
	{ "enclave fd: start that only reads", STATE_FILLED, _IOW(0xAE, 0x24, struct ne_enclave_start_info), -ENOTTY },
	{ "enclave fd: unknown number of NULL", STATE_INIT, UNUSED_REQUEST, -ENOTTY, .pointer = POINTER_NULL },
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
	BAD_POINTER(VCPU, "add vCPU after a crash", STATE_CRASHED),
	BAD_POINTER(IMAGE, "image load info after a crash", STATE_CRASHED),
	BAD_POINTER(MEMORY, "memory region after a crash", STATE_CRASHED),
	BAD_POINTER(START, "start after a crash", STATE_CRASHED),
	{ "create into read-only memory", STATE_NONE, CREATE, -EFAULT, .pointer = POINTER_READ_ONLY },
	{ "create into half a uid", STATE_NONE, CREATE, -EFAULT, .pointer = POINTER_HALF },
	{ "add vCPU of half an id", STATE_INIT, VCPU, -EFAULT, .pointer = POINTER_HALF },
	{ "add vCPU into read-only memory", STATE_INIT, VCPU, -EFAULT, .pointer = POINTER_READ_ONLY },
	{ "image load info of half an argument", STATE_INIT, IMAGE, -EFAULT, .pointer = POINTER_HALF, .flags = 1 },
	{ "memory region of half an argument", STATE_INIT, MEMORY, -EFAULT, .pointer = POINTER_HALF, .value = PAGE, .address = ADDRESS_FREE },
	{ "memory region from read-only memory", STATE_INIT, MEMORY, 0, .pointer = POINTER_READ_ONLY, .value = PAGE, .address = ADDRESS_FREE },
	{ "start of half an argument", STATE_FILLED, START, -EFAULT, .pointer = POINTER_HALF },
	{ "start into read-only memory", STATE_FILLED, START, -EFAULT, .pointer = POINTER_READ_ONLY },
	{ "start into read-only memory: checks before", STATE_INIT, START, -NE_ERR_NO_MEM_REGIONS_ADDED, .pointer = POINTER_READ_ONLY },
	{ "image load info into read-only memory", STATE_INIT, IMAGE, -EFAULT, .pointer = POINTER_READ_ONLY, .flags = 1 },

	/* ---- vCPUs ---- */
	{ "add vCPU: any", STATE_INIT, VCPU, 0 },
	{ "add vCPU: beyond the machine", STATE_INIT, VCPU, -NE_ERR_INVALID_VCPU, .flags = 0xffffffff },
	{ "add vCPU: far beyond the machine", STATE_INIT, VCPU, -NE_ERR_INVALID_VCPU, .flags = 1000000 },
	{ "add vCPU: the sign bit", STATE_INIT, VCPU, -NE_ERR_INVALID_VCPU, .flags = 0x80000000 },
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
	IN_EACH_STATE("memory: flag in the high half", MEMORY, -NE_ERR_INVALID_FLAG_VALUE, .flags = 1ULL << 32),
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
	{ "memory: into kernel space", STATE_INIT, MEMORY, -NE_ERR_INVALID_MEM_REGION_ADDR, .value = 1ULL << 63, .address = ADDRESS_FREE },
	{ "memory: around the end of all addresses", STATE_INIT, MEMORY, -NE_ERR_INVALID_MEM_REGION_ADDR, .value = UINT64_MAX - PAGE + 1, .offset = 2 * PAGE },
	{ "memory: address before overlap", STATE_FILLED, MEMORY, -NE_ERR_INVALID_MEM_REGION_ADDR, .value = 1ULL << 63, .address = ADDRESS_ENCLAVE },
	{ "memory: overlap before the pages", STATE_FILLED, MEMORY, -NE_ERR_MEM_REGION_ALREADY_USED, .value = 2 * PAGE, .address = ADDRESS_ENCLAVE, .offset = ENCLAVE_MIN - PAGE },
	{ "memory: nothing, unaligned", STATE_INIT, MEMORY, -NE_ERR_UNALIGNED_MEM_REGION_ADDR, .value = 0, .offset = 4096 },
	{ "memory: nothing, at a kernel address", STATE_INIT, MEMORY, -NE_ERR_INVALID_MEM_REGION_ADDR, .value = 0, .offset = KERNEL_ADDRESS },
	{ "memory: nothing, at 0", STATE_INIT, MEMORY, -ENOMEM },
	{ "memory: nothing, where a region begins", STATE_FILLED, MEMORY, -NE_ERR_MEM_REGION_ALREADY_USED, .value = 0, .address = ADDRESS_ENCLAVE },
	{ "memory: nothing, inside a region", STATE_FILLED, MEMORY, -NE_ERR_MEM_REGION_ALREADY_USED, .value = 0, .address = ADDRESS_ENCLAVE, .offset = PAGE },
	{ "memory: nothing, where a region ends", STATE_FILLED, MEMORY, -ENOMEM, .value = 0, .address = ADDRESS_ENCLAVE, .offset = ENCLAVE_MIN },
	{ "memory: a page at 0", STATE_INIT, MEMORY, -EFAULT, .value = PAGE },
	{ "memory: the same again", STATE_FILLED, MEMORY, -NE_ERR_MEM_REGION_ALREADY_USED, .value = ENCLAVE_MIN, .address = ADDRESS_ENCLAVE },
	{ "memory: a part again", STATE_FILLED, MEMORY, -NE_ERR_MEM_REGION_ALREADY_USED, .value = PAGE, .address = ADDRESS_ENCLAVE, .offset = 4 * PAGE },
	{ "memory: its last page again", STATE_FILLED, MEMORY, -NE_ERR_MEM_REGION_ALREADY_USED, .value = PAGE, .address = ADDRESS_ENCLAVE, .offset = ENCLAVE_MIN - PAGE },
	{ "memory: nothing", STATE_INIT, MEMORY, -ENOMEM, .value = 0, .address = ADDRESS_FREE },
	{ "memory: unmapped", STATE_INIT, MEMORY, -EFAULT, .value = PAGE, .address = ADDRESS_NOTHING },
	{ "memory: ordinary pages", STATE_INIT, MEMORY, -NE_ERR_MEM_NOT_HUGE_PAGE, .value = PAGE, .address = ADDRESS_ORDINARY },

	/* ---- start: the flags, then the CID, then the state, then what is missing ---- */
	IN_EACH_STATE("start: flag 2", START, -NE_ERR_INVALID_FLAG_VALUE, .flags = 2),
	IN_EACH_STATE("start: flags 3", START, -NE_ERR_INVALID_FLAG_VALUE, .flags = 3),
	IN_EACH_STATE("start: all flags", START, -NE_ERR_INVALID_FLAG_VALUE, .flags = UINT64_MAX),
	IN_EACH_STATE("start: flag in the high half", START, -NE_ERR_INVALID_FLAG_VALUE, .flags = 1ULL << 32),
	IN_EACH_STATE("start: flags before the CID", START, -NE_ERR_INVALID_FLAG_VALUE, .flags = 2, .value = 3),
	IN_EACH_STATE("start: CID 1", START, -NE_ERR_INVALID_ENCLAVE_CID, .value = 1),
	IN_EACH_STATE("start: CID 2", START, -NE_ERR_INVALID_ENCLAVE_CID, .value = 2),
	IN_EACH_STATE("start: CID 3", START, -NE_ERR_INVALID_ENCLAVE_CID, .value = 3),
	IN_EACH_STATE("start: CID any", START, -NE_ERR_INVALID_ENCLAVE_CID, .value = 0xffffffff),
	IN_EACH_STATE("start: CID of 33 bits", START, -NE_ERR_INVALID_ENCLAVE_CID, .value = 1ULL << 32),
	IN_EACH_STATE("start: CID of 33 bits, low half fine", START, -NE_ERR_INVALID_ENCLAVE_CID, .value = (1ULL << 32) + 16),
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
	WHEN_OVER("start: again in debug mode", START, -NE_ERR_NOT_IN_INIT_STATE, .flags = 1),
	{ NULL },
};
/* clang-format on */

/* Address space for one row, all of it released together. */
struct spaces {
	void *ordinary; /* 12 MiB, of which 8 are used, aligned */
	void *nothing;
	void *argument;	      /* two small pages, of which the second cannot be touched */
	struct subject *huge; /* huge pages that no enclave has */
};

#define SPACE_SIZE (12 * MIB)
#define SMALL_PAGE 4096

static uint64_t align(const void *address)
{
	return ((uintptr_t)address + PAGE - 1) & ~(PAGE - 1);
}

static uint64_t base_of(
	const struct ioctl_case *row, const struct subject *subject, struct spaces *spaces)
{
	switch (row->address) {
	case ADDRESS_ENCLAVE:
		return (uintptr_t)subject->memory;
	case ADDRESS_FREE:
		subject_map(spaces->huge, 4 * PAGE);
		return (uintptr_t)spaces->huge->memory;
	case ADDRESS_ORDINARY:
		spaces->ordinary = mmap(NULL, SPACE_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		/* Transparent huge pages are no hugetlb pages, but let there be no doubt. */
		madvise(spaces->ordinary, SPACE_SIZE, MADV_NOHUGEPAGE);
		return align(spaces->ordinary);
	case ADDRESS_NOTHING:
		spaces->nothing =
			mmap(NULL, SPACE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return align(spaces->nothing);
	default:
		return 0;
	}
}

static void release(struct spaces *spaces)
{
	munmap(spaces->argument, 2 * SMALL_PAGE);
	if (spaces->ordinary)
		munmap(spaces->ordinary, SPACE_SIZE);
	if (spaces->nothing)
		munmap(spaces->nothing, SPACE_SIZE);
}

/* Puts the row's argument where it says, and returns the address. */
static void *argument_of(
	const struct ioctl_case *row, const struct subject *subject, struct spaces *spaces)
{
	union {
		uint32_t vcpu;
		struct ne_image_load_info image;
		struct ne_user_memory_region memory;
		struct ne_enclave_start_info start;
	} argument = { 0 };
	char *page = spaces->argument;
	size_t half = _IOC_SIZE(row->request) / 2;

	if (row->request == VCPU)
		argument.vcpu = (uint32_t)row->flags;
	else if (row->request == IMAGE)
		argument.image.flags = row->flags;
	else if (row->request == START)
		argument.start = (struct ne_enclave_start_info){ row->flags, row->value };
	else if (row->request == MEMORY)
		argument.memory = (struct ne_user_memory_region){ row->flags, row->value,
			base_of(row, subject, spaces) + row->offset };
	switch (row->pointer) {
	case POINTER_NULL:
		return NULL;
	case POINTER_KERNEL:
		return (void *)KERNEL_ADDRESS;
	case POINTER_UNMAPPED:
		return page + SMALL_PAGE;
	case POINTER_HALF:
		memcpy(page + SMALL_PAGE - half, &argument, half);
		return page + SMALL_PAGE - half;
	default:
		memcpy(page, &argument, sizeof(argument));
		if (row->pointer == POINTER_READ_ONLY)
			mprotect(page, SMALL_PAGE, PROT_READ);
		return page;
	}
}

int ioctl_case_run(struct conformance *conformance, const struct ioctl_case *row)
{
	SUBJECT(huge);
	SUBJECT(subject);
	struct spaces spaces = { .huge = &huge };
	void *argument;
	int result, fd;

	if (!subject_make(&subject, row->state))
		return CASE_FAILED;
	spaces.argument = mmap(
		NULL, 2 * SMALL_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(spaces.argument != MAP_FAILED);
	mprotect((char *)spaces.argument + SMALL_PAGE, SMALL_PAGE, PROT_NONE);
	argument = argument_of(row, &subject, &spaces);
	fd = row->state == STATE_NONE ? conformance->device : subject.fd;
	result = on_fd(conformance, fd, row->request, argument);
	release(&spaces);
	return result;
}
