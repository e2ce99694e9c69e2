/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The simulated machine's parts: huge pages, CPU pool, and what a device sees of memory by DMA. */
#include "cpu_pool.h"
#include "cunit_main.h"
#include "dma.h"
#include "memory.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/nitro_enclaves.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE MEMORY_PAGE_SIZE

static struct memory *memory;

static void set_up(void)
{
	CU_ASSERT_EQUAL_FATAL(memory_new(16 * PAGE, &memory, NULL), 0);
}

static void tear_down(void)
{
	memory_free(memory);
}

static char *map(uint64_t pages)
{
	void *address = NULL;

	CU_ASSERT_EQUAL_FATAL(memory_map(memory, pages * PAGE, &address, NULL), 0);
	CU_ASSERT_EQUAL((uintptr_t)address % PAGE, 0);
	return address;
}

static uint64_t available(void)
{
	uint64_t total, now;

	memory_count(memory, &total, &now);
	CU_ASSERT_EQUAL(total, 16);
	return now;
}

static uint64_t host_bytes(void)
{
	struct stat attributes;

	CU_ASSERT_EQUAL(fstat(memory_fd(memory), &attributes), 0);
	return (uint64_t)attributes.st_blocks * 512;
}

/* The runs of a range, in the caller's buffer of four; their number. */
static size_t pin(const char *address, uint64_t pages, struct memory_run *runs)
{
	struct memory_run *found = NULL;
	size_t count = 0;

	CU_ASSERT_EQUAL_FATAL(
		memory_pin(memory, (uintptr_t)address, pages * PAGE, &found, &count), 0);
	CU_ASSERT_FATAL(count <= 4);
	memcpy(runs, found, count * sizeof(*runs));
	free(found);
	return count;
}

/* Is all of the memory that is mapped left out of core files? */
static void test_not_dumped(void)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	char *line = NULL;
	size_t room = 0, found = 0;
	bool ours = false;

	map(4);
	map(2);
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	while (getline(&line, &room, file) > 0) {
		if (strncmp(line, "VmFlags:", 8) == 0 && ours) {
			CU_ASSERT_PTR_NOT_NULL(strstr(line, " dd"));
			found++;
			ours = false;
		} else if (strstr(line, "memfd:nefs-sim-memory")) {
			ours = true;
		}
	}
	CU_ASSERT_TRUE(found > 0);
	free(line);
	fclose(file);
}

static void test_map(void)
{
	struct nefs_error err = { 0 };
	char *first = map(4), *second = map(12);
	void *none = NULL;

	CU_ASSERT_EQUAL(available(), 0);
	first[0] = 1;
	first[4 * PAGE - 1] = 2;
	second[0] = 3;
	CU_ASSERT_EQUAL(first[0], 1);
	CU_ASSERT_EQUAL(memory_map(memory, PAGE, &none, &err), -ENOMEM);
	CU_ASSERT_PTR_NULL(none);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "only 0 of the simulated machine's 16 are free"));
	memory_unmap(memory, first + PAGE);
	CU_ASSERT_EQUAL(available(), 0);
	memory_unmap(memory, first);
	CU_ASSERT_EQUAL(available(), 4);
	memory_unmap(memory, first);
	CU_ASSERT_EQUAL(available(), 4);
	memory_unmap(memory, second);
	CU_ASSERT_EQUAL(available(), 16);
}

static void test_zeroed(void)
{
	char *address = map(2);

	CU_ASSERT_EQUAL(host_bytes(), 0);
	memset(address, 0xaa, 2 * PAGE);
	CU_ASSERT_EQUAL(host_bytes(), 2 * PAGE);
	memory_unmap(memory, address);
	/* The host has it back, and the next owner finds nothing. */
	CU_ASSERT_EQUAL(host_bytes(), 0);
	address = map(2);
	CU_ASSERT_EQUAL(address[0], 0);
	CU_ASSERT_EQUAL(address[2 * PAGE - 1], 0);
	memory_unmap(memory, address);
}

/* A page that cannot be emptied is lost: the next owner would find in it what an enclave had there. */
static void test_not_emptied(void)
{
	const int fd = memory_fd(memory);
	char *address = map(3);
	void *none = NULL;
	int kept = fcntl(fd, F_DUPFD_CLOEXEC, 0), null = open("/dev/null", O_RDWR | O_CLOEXEC);

	memset(address, 0xaa, 3 * PAGE);
	/* /dev/null has no holes. */
	CU_ASSERT_EQUAL_FATAL(dup3(null, fd, O_CLOEXEC), fd);
	memory_unmap(memory, address);
	CU_ASSERT_EQUAL_FATAL(dup3(kept, fd, O_CLOEXEC), fd);
	CU_ASSERT_EQUAL(available(), 13);
	CU_ASSERT_EQUAL(memory_map(memory, 14 * PAGE, &none, NULL), -ENOMEM);
	address = map(13);
	for (size_t i = 0; i < 13; i++)
		CU_ASSERT_EQUAL(address[i * PAGE], 0);
	memory_unmap(memory, address);
	CU_ASSERT_EQUAL(available(), 13);
	close(kept);
	close(null);
}

static void test_pinned(void)
{
	struct memory_run runs[4];
	char *address = map(4), *again, byte;

	memset(address, 0x55, 4 * PAGE);
	CU_ASSERT_EQUAL(pin(address + PAGE, 2, runs), 1);
	CU_ASSERT_EQUAL(runs[0].size, 2 * PAGE);
	memory_unmap(memory, address);
	/* The enclave's two are held, unmapped as they are, and hold what was in them. */
	CU_ASSERT_EQUAL(available(), 14);
	CU_ASSERT_EQUAL(
		pread(memory_fd(memory), &byte, 1, (off_t)(runs[0].paddr - MEMORY_BASE)), 1);
	CU_ASSERT_EQUAL(byte, 0x55);
	again = map(14);
	for (uint64_t i = 0; i < 14; i++)
		again[i * PAGE] = 1;
	CU_ASSERT_EQUAL(
		pread(memory_fd(memory), &byte, 1, (off_t)(runs[0].paddr - MEMORY_BASE)), 1);
	CU_ASSERT_EQUAL(byte, 0x55);
	memory_unpin(memory, runs, 1);
	CU_ASSERT_EQUAL(available(), 2);
	memory_unmap(memory, again);
	CU_ASSERT_EQUAL(host_bytes(), 0);
}

static void test_fragments(void)
{
	char *pieces[8], *scattered, *whole, byte = 0;
	struct memory_run runs[4];

	for (int i = 0; i < 8; i++)
		pieces[i] = map(2);
	for (int i = 1; i < 8; i += 2)
		memory_unmap(memory, pieces[i]);
	/* Four times two pages are free: five must be gathered, two fit in the first hole. */
	scattered = map(5);
	CU_ASSERT_EQUAL(pin(scattered, 5, runs), 3);
	CU_ASSERT_EQUAL(runs[0].paddr, MEMORY_BASE + 2 * PAGE);
	CU_ASSERT_EQUAL(runs[0].size, 2 * PAGE);
	CU_ASSERT_EQUAL(runs[1].paddr, MEMORY_BASE + 6 * PAGE);
	CU_ASSERT_EQUAL(runs[2].paddr, MEMORY_BASE + 10 * PAGE);
	CU_ASSERT_EQUAL(runs[2].size, PAGE);
	memory_unpin(memory, runs, 3);
	/* One space all the same: page 2 of it is physical page 6. */
	scattered[2 * PAGE] = 77;
	CU_ASSERT_EQUAL(pread(memory_fd(memory), &byte, 1, 6 * PAGE), 1);
	CU_ASSERT_EQUAL(byte, 77);
	memory_unmap(memory, scattered);
	whole = map(2);
	CU_ASSERT_EQUAL(pin(whole, 2, runs), 1);
	CU_ASSERT_EQUAL(runs[0].paddr, MEMORY_BASE + 2 * PAGE);
	memory_unpin(memory, runs, 1);
	memory_unmap(memory, whole);
	for (int i = 0; i < 8; i += 2)
		memory_unmap(memory, pieces[i]);
	CU_ASSERT_EQUAL(available(), 16);
}

static void test_unfit(void)
{
	char *address = map(2);
	struct memory_run *runs;
	size_t count;
	void *other = NULL;

	/* One page too far: whatever is behind it, it is not ours, and nothing stays held. */
	CU_ASSERT_TRUE(memory_pin(memory, (uintptr_t)address, 3 * PAGE, &runs, &count) < 0);
	memory_unmap(memory, address);
	CU_ASSERT_EQUAL(available(), 16);
	CU_ASSERT_EQUAL(memory_pin(memory, (uintptr_t)address, PAGE, &runs, &count), -EFAULT);
	CU_ASSERT_EQUAL_FATAL(memory_map_other_node(memory, &other, NULL), 0);
	CU_ASSERT_EQUAL(memory_pin(memory, (uintptr_t)other, PAGE, &runs, &count),
		-NE_ERR_MEM_DIFFERENT_NUMA_NODE);
	CU_ASSERT_EQUAL(available(), 16);
	memory_unmap(memory, other);
}

static void test_pool(void)
{
	struct cpu_pool *pool = cpu_pool_new(8);
	struct cpu_claims one = { 0 }, two = { 0 };
	uint32_t cpu = 99;

	CU_ASSERT_EQUAL(cpu_pool_cpus(pool), 8);
	/* Core 0 is kept back; a core belongs to whom its first thread does. */
	CU_ASSERT_EQUAL(cpu_claims_want(pool, &one, 0), -NE_ERR_VCPU_NOT_IN_CPU_POOL);
	CU_ASSERT_EQUAL(cpu_claims_want(pool, &one, 1), -NE_ERR_VCPU_NOT_IN_CPU_POOL);
	CU_ASSERT_EQUAL(cpu_claims_want(pool, &one, 5), 0);
	CU_ASSERT_EQUAL(cpu_claims_want(pool, &two, 4), -NE_ERR_VCPU_NOT_IN_CPU_POOL);
	CU_ASSERT_FALSE(cpu_claims_uses(&one, 5));
	cpu_claims_use(&one, 5);
	CU_ASSERT_TRUE(cpu_claims_uses(&one, 5));
	CU_ASSERT_EQUAL(cpu_claims_want(pool, &one, 5), -NE_ERR_VCPU_ALREADY_USED);
	CU_ASSERT_FALSE(cpu_claims_full(&one));
	/* The unused sibling first, then the lowest free core. */
	CU_ASSERT_EQUAL(cpu_claims_pick(pool, &one, &cpu), 0);
	CU_ASSERT_EQUAL(cpu, 4);
	cpu_claims_use(&one, 4);
	CU_ASSERT_TRUE(cpu_claims_full(&one));
	CU_ASSERT_EQUAL(cpu_claims_pick(pool, &one, &cpu), 0);
	CU_ASSERT_EQUAL(cpu, 2);
	CU_ASSERT_FALSE(cpu_claims_full(&one));
	CU_ASSERT_EQUAL(cpu_claims_pick(pool, &two, &cpu), 0);
	CU_ASSERT_EQUAL(cpu, 6);
	CU_ASSERT_FALSE(cpu_pool_has_free(pool));
	cpu_claims_use(&two, 6);
	cpu_claims_use(&two, 7);
	CU_ASSERT_EQUAL(cpu_claims_pick(pool, &two, &cpu), -NE_ERR_NO_CPUS_AVAIL_IN_POOL);
	cpu_claims_release(pool, &one);
	CU_ASSERT_EQUAL(one.count, 0);
	CU_ASSERT_TRUE(cpu_pool_has_free(pool));
	CU_ASSERT_EQUAL(cpu_claims_pick(pool, &two, &cpu), 0);
	CU_ASSERT_EQUAL(cpu, 2);
	cpu_claims_release(pool, &two);
	cpu_pool_free(pool);
}

static void test_dma_map(void)
{
	struct dma_map dma = { 0 };
	int fd = memfd_create("dma", MFD_CLOEXEC);

	CU_ASSERT_EQUAL(dma_map_add(&dma, 0x1000, 0, fd, 0), -EINVAL);
	CU_ASSERT_EQUAL(dma_map_add(&dma, UINT64_MAX - 0xfff, 0x2000, fd, 0), -EINVAL);
	CU_ASSERT_EQUAL(dma_map_add(&dma, 0, 1ULL << 63, fd, 0), -EINVAL);
	CU_ASSERT_EQUAL(dma_map_add(&dma, 0, 0x1000, fd, INT64_MAX), -EINVAL);
	CU_ASSERT_EQUAL(dma_map_add(&dma, 0x1000, 0x1000, -1, 0), -EBADF);
	CU_ASSERT_EQUAL(dma_map_add(&dma, 0x1000, 0x1000, fd, 0), 0);
	CU_ASSERT_EQUAL(dma_map_add(&dma, 0x3000, 0x1000, fd, 0), 0);
	CU_ASSERT_EQUAL(dma_map_add(&dma, 0x0, 0x1001, fd, 0), -EEXIST);
	CU_ASSERT_EQUAL(dma_map_add(&dma, 0x1fff, 0x10, fd, 0), -EEXIST);
	CU_ASSERT_EQUAL(dma_map_add(&dma, 0x0, 0x10000, fd, 0), -EEXIST);
	CU_ASSERT_FALSE(dma_map_covers(&dma, 0x1000, 0x3000));
	CU_ASSERT_EQUAL(dma_map_add(&dma, 0x2000, 0x1000, fd, 0), 0);
	CU_ASSERT_TRUE(dma_map_covers(&dma, 0x1000, 0x3000));
	CU_ASSERT_TRUE(dma_map_covers(&dma, 0x1fff, 2));
	CU_ASSERT_FALSE(dma_map_covers(&dma, 0xfff, 2));
	CU_ASSERT_FALSE(dma_map_covers(&dma, 0x3fff, 2));
	CU_ASSERT_FALSE(dma_map_covers(&dma, 0x1000, UINT64_MAX));
	/* As vfio has it: whole ranges, as many as lie inside. */
	CU_ASSERT_EQUAL(dma_map_remove(&dma, 0x1000, 0x800), -EINVAL);
	CU_ASSERT_EQUAL(dma_map_remove(&dma, 0x1800, 0x1800), -EINVAL);
	CU_ASSERT_EQUAL(dma_map_remove(&dma, 0x8000, 0x1000), -ENOENT);
	CU_ASSERT_EQUAL(dma_map_remove(&dma, 0x1000, 0), -EINVAL);
	CU_ASSERT_EQUAL(dma_map_remove(&dma, 0x2000, UINT64_MAX), -EINVAL);
	CU_ASSERT_EQUAL(dma_map_remove(&dma, 0x0, 0x3000), 0);
	CU_ASSERT_EQUAL(dma.count, 1);
	CU_ASSERT_TRUE(dma_map_covers(&dma, 0x3000, 0x1000));
	dma_map_clear(&dma);
	close(fd);
}

static void test_dma_view(void)
{
	struct dma_map dma = { 0 };
	struct dma_view view = { 0 };
	int fd = memfd_create("dma", MFD_CLOEXEC);
	char text[16] = "";

	CU_ASSERT_EQUAL(pwrite(fd, "abcdefghijklmnop", 16, 0x1000), 16);
	/* Two ranges in a row by address, the other way round in the file. */
	CU_ASSERT_EQUAL(dma_map_add(&dma, 0x10, 8, fd, 0x1008), 0);
	CU_ASSERT_EQUAL(dma_map_add(&dma, 0x18, 8, fd, 0x1000), 0);
	CU_ASSERT_EQUAL(dma_view_append(&view, &dma, 0x14, 8), 0);
	CU_ASSERT_EQUAL(dma_view_append(&view, &dma, 0x10, 2), 0);
	CU_ASSERT_EQUAL(dma_view_append(&view, &dma, 0x1f, 2), -EFAULT);
	CU_ASSERT_EQUAL(view.size, 10);
	close(fd);
	dma_map_clear(&dma);
	/* The view does not need the map any more. */
	CU_ASSERT_EQUAL(dma_view_read(&view, text, 10, 0), 0);
	CU_ASSERT_STRING_EQUAL(text, "mnopabcdij");
	memset(text, 0, sizeof(text));
	CU_ASSERT_EQUAL(dma_view_read(&view, text, 6, 3), 0);
	CU_ASSERT_STRING_EQUAL(text, "pabcdi");
	CU_ASSERT_EQUAL(dma_view_read(&view, text, 0, 10), 0);
	CU_ASSERT_EQUAL(dma_view_read(&view, text, 1, 10), -EFAULT);
	CU_ASSERT_EQUAL(dma_view_read(&view, text, 11, 0), -EFAULT);
	CU_ASSERT_EQUAL(dma_view_read(&view, text, 2, UINT64_MAX), -EFAULT);
	dma_view_clear(&view);
}

static void test_dma_short_file(void)
{
	struct dma_map dma = { 0 };
	struct dma_view view = { 0 };
	int fd = memfd_create("dma", MFD_CLOEXEC);
	char text[16];

	/* A guest may promise more than its file holds. */
	CU_ASSERT_EQUAL(ftruncate(fd, 8), 0);
	CU_ASSERT_EQUAL(dma_map_add(&dma, 0, 16, fd, 0), 0);
	CU_ASSERT_EQUAL(dma_view_append(&view, &dma, 0, 16), 0);
	CU_ASSERT_EQUAL(dma_view_read(&view, text, 8, 0), 0);
	CU_ASSERT_EQUAL(dma_view_read(&view, text, 9, 0), -EFAULT);
	dma_view_clear(&view);
	dma_map_clear(&dma);
	close(fd);
}

static const CU_TestInfo tests[] = {
	{ "pages are mapped while there are any", test_map },
	{ "a page that comes back is empty", test_zeroed },
	{ "a page that cannot be emptied does not come back", test_not_emptied },
	{ "an enclave's pages outlive their mapping", test_pinned },
	{ "contiguous pages first, scattered ones else", test_fragments },
	{ "what cannot be pinned", test_unfit },
	{ "the CPU pool", test_pool },
	{ "DMA ranges", test_dma_map },
	{ "a view of DMA ranges", test_dma_view },
	{ "a range beyond its file", test_dma_short_file },
	{ "core files", test_not_dumped },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("sim_memory", tests, set_up, tear_down);
}
