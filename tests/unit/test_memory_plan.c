/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cunit_main.h"
#include "memory_plan.h"
#include <errno.h>
#include <nefs/cleanup.h>
#include <sys/mman.h>
#include <unistd.h>

#define M (1ULL << 20)
#define G (1ULL << 30)

struct row {
	uint64_t size;
	struct ne_dev_pages pages[3];
	size_t page_sizes;
	int result;
	struct memory_part parts[3];
	size_t count;
};

static const struct row rows[] = {
	/* size, page size / total / free, ... */
	{ 64 * M, { { 2 * M, 32, 32 } }, 1, 0, { { 2 * M, 32 } }, 1 },
	{ 64 * M, { { 2 * M, 32, 31 } }, 1, -ENOMEM, { { 0, 0 } }, 0 },
	{ 1 * G, { { 1 * G, 2, 2 }, { 2 * M, 600, 600 } }, 2, 0, { { 1 * G, 1 } }, 1 },
	{ 1 * G, { { 1 * G, 2, 0 }, { 2 * M, 600, 600 } }, 2, 0, { { 2 * M, 512 } }, 1 },
	{ 1536 * M, { { 1 * G, 2, 2 }, { 2 * M, 600, 600 } }, 2, 0,
		{ { 1 * G, 1 }, { 2 * M, 256 } }, 2 },
	{ 2560 * M, { { 1 * G, 1, 1 }, { 2 * M, 768, 768 } }, 2, 0,
		{ { 1 * G, 1 }, { 2 * M, 768 } }, 2 },
	{ 2560 * M, { { 1 * G, 1, 1 }, { 2 * M, 767, 767 } }, 2, -ENOMEM, { { 0, 0 } }, 0 },
	/* Never more than asked: 512 MiB is not made of a 1 GiB page. */
	{ 512 * M, { { 1 * G, 4, 4 } }, 1, -ENOMEM, { { 0, 0 } }, 0 },
	{ 512 * M, { { 1 * G, 4, 4 }, { 2 * M, 256, 256 } }, 2, 0, { { 2 * M, 256 } }, 1 },
	{ 64 * M, { { 0, 0, 0 } }, 0, -ENOMEM, { { 0, 0 } }, 0 },
	/* arm64 with 64 KiB pages: 16 GiB, 512 MiB, 2 MiB. */
	{ 1538 * M, { { 16 * G, 1, 1 }, { 512 * M, 3, 3 }, { 2 * M, 1, 1 } }, 3, 0,
		{ { 512 * M, 3 }, { 2 * M, 1 } }, 2 },
	{ 0, { { 2 * M, 1, 1 } }, 1, -ENOMEM, { { 0, 0 } }, 0 },
	{ UINT64_MAX & ~(2 * M - 1), { { 2 * M, UINT64_MAX, UINT64_MAX } }, 1, 0,
		{ { 2 * M, (UINT64_MAX & ~(2 * M - 1)) / (2 * M) } }, 1 },
};

static void test_table(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nefs_error err = { 0 };
		struct memory_plan plan;

		CU_ASSERT_EQUAL(memory_plan_make(&plan, rows[i].size, rows[i].pages,
					rows[i].page_sizes, &err),
			rows[i].result);
		CU_ASSERT_EQUAL(err.code, -rows[i].result);
		CU_ASSERT_EQUAL_FATAL(plan.count, rows[i].count);
		for (size_t j = 0; j < plan.count; j++) {
			CU_ASSERT_EQUAL(plan.parts[j].page_size, rows[i].parts[j].page_size);
			CU_ASSERT_EQUAL(plan.parts[j].count, rows[i].parts[j].count);
		}
	}
}

static void test_sentences(void)
{
	const struct ne_dev_pages pages[] = { { 1 * G, 4, 3 }, { 2 * M, 20, 7 } };
	struct nefs_error err;
	struct memory_plan plan;

	memory_plan_make(&plan, 64 * M, pages, 2, &err);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "64 MiB"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "3 of 4 pages of 1024 MiB are free"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "7 of 20 pages of 2 MiB are free"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "nr_hugepages"));
	memory_plan_make(&plan, 512 * M, pages, 1, &err);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "exactly"));
	/* Sizes without pages are not worth a word. */
	const struct ne_dev_pages small[] = { { 1 * G, 0, 0 }, { 2 * M, 20, 7 } };

	memory_plan_make(&plan, 512 * M, small, 2, &err);
	CU_ASSERT_PTR_NULL(strstr(err.text, "1024 MiB"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "(7 of 20 pages of 2 MiB are free)"));
	memory_plan_make(&plan, 512 * M, small, 1, &err);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "no huge pages are reserved"));
	memory_plan_make(&plan, 512 * M, pages, 0, &err);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "no huge pages are reserved"));
}

/* A machine whose counts may promise more than it has. */
struct machine {
	struct ne_dev dev;
	struct ne_dev_pages promised[2];
	uint64_t real[2]; /* pages */
	unsigned int attempts;
	unsigned int mappings;
	int other_failure; /* positive errno of every map, or 0 */
};

static size_t machine_pages(struct ne_dev *dev, struct ne_dev_pages *pages, size_t max)
{
	struct machine *machine = (struct machine *)dev;

	memcpy(pages, machine->promised, sizeof(machine->promised));
	return 2;
}

static int machine_map(struct ne_dev *dev, uint64_t size, uint64_t page_size, void **address,
	struct nefs_error *err)
{
	struct machine *machine = (struct machine *)dev;
	size_t i = page_size == machine->promised[0].size ? 0 : 1;

	machine->attempts++;
	if (machine->other_failure)
		return nefs_error_set(err, machine->other_failure, "no");
	if (size / page_size > machine->real[i])
		return nefs_error_set(err, ENOMEM, "not so many");
	/* Address space is enough here. */
	*address = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (*address == MAP_FAILED)
		return nefs_error_set(err, EIO, "mmap");
	machine->real[i] -= size / page_size;
	machine->mappings++;
	return 0;
}

static void machine_unmap(struct ne_dev *dev, void *address, uint64_t size)
{
	struct machine *machine = (struct machine *)dev;

	munmap(address, size);
	machine->mappings--;
}

static const struct ne_dev_ops machine_ops = {
	.name = "machine",
	.pages = machine_pages,
	.map = machine_map,
	.unmap = machine_unmap,
};

static void test_map(void)
{
	struct machine machine = {
		.dev.ops = &machine_ops,
		.promised = { { 32 * M, 4, 4 }, { 2 * M, 64, 64 } },
		.real = { 4, 64 },
	};
	struct enclave_memory memory;
	struct nefs_error err = { 0 };

	CU_ASSERT_EQUAL(enclave_memory_map(&machine.dev, &memory, 100 * M, &err), 0);
	CU_ASSERT_EQUAL(memory.count, 2); /* one a page size */
	CU_ASSERT_EQUAL(memory.size, 100 * M);
	CU_ASSERT_EQUAL(memory.mappings[0].size, 96 * M);
	CU_ASSERT_EQUAL(memory.mappings[1].size, 4 * M);
	enclave_memory_unmap(&machine.dev, &memory);
	CU_ASSERT_EQUAL(machine.mappings, 0);
	enclave_memory_unmap(&machine.dev, &memory); /* twice is nothing */
	CU_ASSERT_EQUAL(machine.mappings, 0);
}

/* Somebody took the large pages between the count and the mapping. */
static void test_fall_back(void)
{
	struct machine machine = {
		.dev.ops = &machine_ops,
		.promised = { { 32 * M, 4, 4 }, { 2 * M, 64, 64 } },
		.real = { 0, 64 },
	};
	struct enclave_memory memory;
	struct nefs_error err = { 0 };

	CU_ASSERT_EQUAL(enclave_memory_map(&machine.dev, &memory, 128 * M, &err), 0);
	CU_ASSERT_EQUAL(memory.size, 128 * M);
	CU_ASSERT_EQUAL(memory.count, 1);
	enclave_memory_unmap(&machine.dev, &memory);

	/* Some of them are left. */
	machine.real[0] = 2;
	machine.real[1] = 32;
	CU_ASSERT_EQUAL(enclave_memory_map(&machine.dev, &memory, 128 * M, &err), 0);
	CU_ASSERT_EQUAL(memory.size, 128 * M);
	enclave_memory_unmap(&machine.dev, &memory);
	CU_ASSERT_EQUAL(machine.mappings, 0);

	/* Nothing is: all given back, in few attempts. */
	machine.real[0] = 2;
	machine.real[1] = 31;
	machine.attempts = 0;
	CU_ASSERT_EQUAL(enclave_memory_map(&machine.dev, &memory, 128 * M, &err), -ENOMEM);
	CU_ASSERT_EQUAL(err.code, ENOMEM);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "128 MiB"));
	CU_ASSERT_EQUAL(machine.mappings, 0);
	CU_ASSERT_EQUAL(memory.count, 0);
	CU_ASSERT_TRUE(machine.attempts < 12);
}

static void test_map_error(void)
{
	struct machine machine = {
		.dev.ops = &machine_ops,
		.promised = { { 32 * M, 4, 4 }, { 2 * M, 64, 64 } },
		.real = { 4, 64 },
		.other_failure = EIO,
	};
	struct enclave_memory memory;
	struct nefs_error err = { 0 };

	CU_ASSERT_EQUAL(enclave_memory_map(&machine.dev, &memory, 128 * M, &err), -EIO);
	CU_ASSERT_EQUAL(err.code, EIO);
	CU_ASSERT_STRING_EQUAL(err.text, "no");
	CU_ASSERT_EQUAL(machine.attempts, 1);
}

/* The image goes straight into the mappings, across their borders. */
static void test_load(void)
{
	NEFS_AUTO_CLOSE int fd = memfd_create("image", MFD_CLOEXEC);
	unsigned char image[3000], first[1024], second[1024], third[4096];
	struct enclave_memory memory = {
		.mappings = { { first, sizeof(first) }, { second, sizeof(second) },
			{ third, sizeof(third) } },
		.count = 3,
		.size = sizeof(first) + sizeof(second) + sizeof(third),
	};
	struct nefs_error err = { 0 };

	for (size_t i = 0; i < sizeof(image); i++)
		image[i] = (unsigned char)(i * 7 + i / 256);
	CU_ASSERT_EQUAL(write(fd, image, sizeof(image)), sizeof(image));

	memset(first, 0xee, sizeof(first));
	memset(third, 0xee, sizeof(third));
	CU_ASSERT_EQUAL(enclave_memory_load(&memory, fd, sizeof(image), 1000, NULL, &err), 0);
	CU_ASSERT_EQUAL(first[999], 0xee);
	CU_ASSERT_EQUAL(memcmp(first + 1000, image, 24), 0);
	CU_ASSERT_EQUAL(memcmp(second, image + 24, 1024), 0);
	CU_ASSERT_EQUAL(memcmp(third, image + 24 + 1024, 3000 - 24 - 1024), 0);
	CU_ASSERT_EQUAL(third[3000 - 24 - 1024], 0xee);

	/* An offset that skips whole mappings. */
	CU_ASSERT_EQUAL(enclave_memory_load(&memory, fd, sizeof(image), 2048 + 16, NULL, &err), 0);
	CU_ASSERT_EQUAL(memcmp(third + 16, image, sizeof(image)), 0);

	/* The very end fits, one byte more does not. */
	CU_ASSERT_EQUAL(
		enclave_memory_load(&memory, fd, sizeof(image), memory.size - 3000, NULL, &err), 0);
	CU_ASSERT_EQUAL(
		enclave_memory_load(&memory, fd, sizeof(image), memory.size - 2999, NULL, &err),
		-EINVAL);
	CU_ASSERT_EQUAL(
		enclave_memory_load(&memory, fd, sizeof(image), UINT64_MAX, NULL, &err), -EINVAL);
	CU_ASSERT_EQUAL(enclave_memory_load(&memory, fd, UINT64_MAX, 1000, NULL, &err), -EINVAL);

	/* Nobody wants it any more. */
	CU_ASSERT_EQUAL(
		enclave_memory_load(&memory, fd, sizeof(image), 0, &(struct nefs_pace){ 0 }, &err),
		0);
	CU_ASSERT_EQUAL(enclave_memory_load(&memory, fd, sizeof(image), 0,
				&(struct nefs_pace){ .cancelled = true }, &err),
		-ECANCELED);

	/* The file became shorter. */
	CU_ASSERT_EQUAL(enclave_memory_load(&memory, fd, sizeof(image) + 1, 0, NULL, &err), -EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "shorter"));
	CU_ASSERT_EQUAL(enclave_memory_load(&memory, -1, 16, 0, NULL, &err), -EIO);
}

/* What nobody could have is known before anything is done for it; what others have is another matter. */
static void test_check(void)
{
	struct machine machine = {
		.dev.ops = &machine_ops,
		.promised = { { 1 * G, 4, 0 }, { 2 * M, 20, 7 } },
	};
	struct nefs_error err = { 0 };

	CU_ASSERT_EQUAL(enclave_memory_check(&machine.dev, 4 * G + 40 * M, &err), 0);
	CU_ASSERT_EQUAL(enclave_memory_check(&machine.dev, 4 * G + 42 * M, &err), -ENOMEM);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "4138 MiB"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "0 of 4 pages of 1024 MiB are free"));
	CU_ASSERT_EQUAL(enclave_memory_check(&machine.dev, 512 * M, &err), -ENOMEM);
	CU_ASSERT_EQUAL(machine.attempts, 0);
}

static const CU_TestInfo tests[] = {
	{ "the plan, row by row", test_table },
	{ "a shortage is told with its figures", test_sentences },
	{ "one mapping a page size", test_map },
	{ "smaller pages where larger ones are gone", test_fall_back },
	{ "another failure is not a shortage", test_map_error },
	{ "the image across the mappings", test_load },
	{ "what can never be had", test_check },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("memory_plan", tests, NULL, NULL);
}
