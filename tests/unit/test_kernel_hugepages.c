/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Huge pages: the counters from a made-up sysfs, the mappings with this machine's own pages. Run as
 * root: it reserves some pages of 2 MiB for a moment.
 */
#include "cunit_main.h"
#include "kernel/hugepages.h"
#include "temporary.h"
#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define M     (1ULL << 20)
#define PAGES 8

#define RESERVED "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

static char root[TEMPORARY_MAX];

static void put(const char *name, const char *text)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	file = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	fputs(text, file);
	fclose(file);
}

static uint64_t reserved(void)
{
	FILE *file = fopen(RESERVED, "r");
	uint64_t count = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%" SCNu64, &count) != 1)
		count = 0;
	fclose(file);
	return count;
}

static void reserve(uint64_t count)
{
	FILE *file = fopen(RESERVED, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	fprintf(file, "%" PRIu64 "\n", count);
	CU_ASSERT_EQUAL(fclose(file), 0);
}

/* Free pages of 2 MiB of the whole machine or of a node. */
static uint64_t free_pages(int node)
{
	struct ne_dev_pages pages[NE_DEV_PAGE_SIZES_MAX];
	size_t count = hugepages_list("/sys", node, pages, NE_DEV_PAGE_SIZES_MAX);

	for (size_t i = 0; i < count; i++) {
		if (pages[i].size == 2 * M)
			return pages[i].free;
	}
	return 0;
}

static void test_list(void)
{
	struct ne_dev_pages pages[NE_DEV_PAGE_SIZES_MAX];

	temporary_directory(root, "nefs-huge");
	CU_ASSERT_EQUAL(hugepages_list(root, 1, pages, NE_DEV_PAGE_SIZES_MAX), 0);
	put("kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512\n");
	put("kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "300\n");
	put("kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "44\n");
	put("kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "4\n");
	put("kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "3\n");
	put("kernel/mm/hugepages/hugepages-64kB/nr_hugepages", "9\n"); /* arm64; too small */
	put("kernel/mm/hugepages/hugepages-64kB/free_hugepages", "9\n");
	put("kernel/mm/hugepages/hugepages-32768kB/nr_hugepages", "junk\n");
	put("kernel/mm/hugepages/hugepages-3000kB/nr_hugepages", "1\n");
	put("kernel/mm/hugepages/hugepages-3000kB/free_hugepages", "1\n");
	put("kernel/mm/hugepages/elsewhere/nr_hugepages", "1\n");
	CU_ASSERT_EQUAL_FATAL(hugepages_list(root, -1, pages, NE_DEV_PAGE_SIZES_MAX), 2);
	CU_ASSERT_EQUAL(pages[0].size, 1024 * M);
	CU_ASSERT_EQUAL(pages[0].total, 4);
	CU_ASSERT_EQUAL(pages[0].free, 3);
	CU_ASSERT_EQUAL(pages[1].size, 2 * M);
	CU_ASSERT_EQUAL(pages[1].total, 512);
	CU_ASSERT_EQUAL(pages[1].free, 256);
	CU_ASSERT_EQUAL(hugepages_list(root, -1, pages, 1), 1);

	/* A node's own. Without a directory for it, the machine's. */
	put("devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "100\n");
	put("devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "60\n");
	CU_ASSERT_EQUAL_FATAL(hugepages_list(root, 1, pages, NE_DEV_PAGE_SIZES_MAX), 1);
	CU_ASSERT_EQUAL(pages[0].total, 100);
	CU_ASSERT_EQUAL(pages[0].free, 60);
	CU_ASSERT_EQUAL(hugepages_list(root, 5, pages, NE_DEV_PAGE_SIZES_MAX), 2);

	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	CU_ASSERT_EQUAL(system(command), 0);
}

static void test_refused(void)
{
	struct nefs_error err;
	void *address = NULL;

	CU_ASSERT_EQUAL(hugepages_map(3 * M, 2 * M, -1, &address, &err), -EINVAL);
	CU_ASSERT_EQUAL(hugepages_map(0, 2 * M, -1, &address, &err), -EINVAL);
	CU_ASSERT_EQUAL(hugepages_map(4 * M, 4096, -1, &address, &err), -EINVAL);
	CU_ASSERT_EQUAL(hugepages_map(6 * M, 3 * M, -1, &address, &err), -EINVAL);
	/* More than any machine has. */
	CU_ASSERT_EQUAL(hugepages_map(1ULL << 46, 2 * M, -1, &address, &err), -ENOMEM);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "of 2 MiB"));
	/* A size that no machine has. */
	CU_ASSERT_EQUAL(hugepages_map(1ULL << 40, 1ULL << 40, -1, &address, &err), -ENOMEM);
	CU_ASSERT_PTR_NULL(address);
}

static void test_real(void)
{
	uint64_t before = reserved(), base, last;
	struct nefs_error err = { 0 };
	void *address = NULL;
	pid_t child;
	int status;

	reserve(before + PAGES);
	CU_ASSERT_EQUAL_FATAL(reserved(), before + PAGES);
	base = free_pages(-1);
	CU_ASSERT_TRUE(base >= PAGES);

	for (int node = -1; node <= 0; node++) {
		CU_ASSERT_EQUAL_FATAL(hugepages_map(PAGES * 2 * M, 2 * M, node, &address, &err), 0);
		CU_ASSERT_EQUAL((uintptr_t)address % (2 * M), 0);
		/* Faulted in, not only promised. */
		CU_ASSERT_EQUAL(free_pages(node), base - PAGES);
		last = 1;
		memcpy(&last, (char *)address + PAGES * 2 * M - sizeof(last), sizeof(last));
		CU_ASSERT_EQUAL(last, 0);
		memset(address, 0x5a, PAGES * 2 * M);

		/* A child does not have them. */
		child = fork();
		if (child == 0) {
			int fds[2];

			_exit(pipe(fds) == 0 && write(fds[1], address, 1) == -1 && errno == EFAULT
					? 0
					: 1);
		}
		CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
		CU_ASSERT_EQUAL(status, 0);

		hugepages_unmap(address, PAGES * 2 * M);
		CU_ASSERT_EQUAL(free_pages(node), base);
	}

	/* One page too many is an error, not a signal, and leaves nothing behind. */
	CU_ASSERT_EQUAL(hugepages_map((base + 1) * 2 * M, 2 * M, 0, &address, &err), -ENOMEM);
	CU_ASSERT_EQUAL(err.code, ENOMEM);
	CU_ASSERT_EQUAL(free_pages(-1), base);

	/* A node that does not exist. */
	CU_ASSERT_TRUE(hugepages_map(2 * M, 2 * M, 900, &address, &err) < 0);
	CU_ASSERT_EQUAL(free_pages(-1), base);

	reserve(before);
	CU_ASSERT_EQUAL(reserved(), before);
}

/* Where a page is, as /proc/self/pagemap has it. */
static uint64_t frame_of(const char *address)
{
	FILE *pagemap = fopen("/proc/self/pagemap", "r");
	uint64_t entry = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(pagemap);
	CU_ASSERT_EQUAL(
		fseek(pagemap, (long)((uintptr_t)address / 4096 * sizeof(entry)), SEEK_SET), 0);
	CU_ASSERT_EQUAL(fread(&entry, sizeof(entry), 1, pagemap), 1);
	fclose(pagemap);
	return entry & ((1ULL << 55) - 1);
}

static unsigned int descents(const char *address)
{
	unsigned int count = 0;

	for (size_t i = 1; i < PAGES; i++)
		count += frame_of(address + i * 2 * M) < frame_of(address + (i - 1) * 2 * M);
	return count;
}

static void test_order(void)
{
	static const size_t odd_order[PAGES] = { 3, 0, 6, 1, 7, 4, 2, 5 };
	uint64_t before = reserved(), base;
	struct nefs_error err = { 0 };
	void *address = NULL;
	char *plain;

	reserve(before + PAGES);
	base = free_pages(-1);
	/* What is freed last is given out first: so the next mapping's pages are in no order. */
	plain = mmap(NULL, PAGES * 2 * M, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
	CU_ASSERT_PTR_NOT_EQUAL_FATAL(plain, MAP_FAILED);
	for (size_t i = 0; i < PAGES; i++)
		CU_ASSERT_EQUAL(munmap(plain + odd_order[i] * 2 * M, 2 * M), 0);
	plain = mmap(NULL, PAGES * 2 * M, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
	CU_ASSERT_PTR_NOT_EQUAL_FATAL(plain, MAP_FAILED);
	CU_ASSERT_TRUE(descents(plain) > 0);
	for (size_t i = PAGES; i-- > 0;)
		CU_ASSERT_EQUAL(munmap(plain + i * 2 * M, 2 * M), 0);

	CU_ASSERT_EQUAL_FATAL(hugepages_map(PAGES * 2 * M, 2 * M, -1, &address, &err), 0);
	CU_ASSERT_EQUAL((uintptr_t)address % (2 * M), 0);
	CU_ASSERT_EQUAL(descents(address), 0);
	CU_ASSERT_EQUAL(free_pages(-1), base - PAGES);
	/* All of it can be written to, and all of it goes. */
	memset(address, 0x5a, PAGES * 2 * M);
	hugepages_unmap(address, PAGES * 2 * M);
	CU_ASSERT_EQUAL(free_pages(-1), base);
	reserve(before);
}

static const CU_TestInfo tests[] = {
	{ "counters of a made-up sysfs", test_list },
	{ "what cannot be mapped", test_refused },
	{ "real pages of 2 MiB", test_real },
	{ "pages in physical order", test_order },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("kernel_hugepages", tests, NULL, NULL);
}
