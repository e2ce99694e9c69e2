/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ne_dev.h by system calls, over nodes that are another device's: what is said where there is none, and
 * that errno comes back as it is. And the order of pages, with small ones. Run as root: the places of
 * pages are secret to others.
 */
#include "cunit_main.h"
#include "kernel/kernel.h"
#include "kernel/page_order.h"
#include "temporary.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <nefs/ne_limits.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define M 0x100000ULL

#ifndef SYS_mseal
#define SYS_mseal 462
#endif

static struct nefs_error err;

static void set_up(void)
{
	nefs_error_clear(&err);
}

/* ---- the device ---- */

static struct ne_dev *dev_of(const char *path)
{
	struct ne_dev *dev = NULL;

	CU_ASSERT_EQUAL_FATAL(kernel_dev_new(path, &dev, &err), 0);
	return dev;
}

static void test_no_node(void)
{
	static const char *const paths[] = { "/nonexistent/nitro_enclaves", "/dev/null/x", "/tmp" };
	struct ne_dev *dev = NULL;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		nefs_error_clear(&err);
		CU_ASSERT_EQUAL(kernel_dev_new(paths[i], &dev, &err), -ENODEV);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, paths[i]));
		CU_ASSERT_PTR_NULL(dev);
	}
	if (access(KERNEL_DEV_PATH, F_OK)) {
		CU_ASSERT_EQUAL(kernel_dev_new(NULL, &dev, &err), -ENODEV);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, KERNEL_DEV_PATH));
	}
}

static void test_calls(void)
{
	struct ne_dev *dev = dev_of("/dev/null");
	int number = 0, fd = dev->ops->open(dev, &err);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CU_ASSERT_EQUAL(dev->ops->ioctl(dev, fd, FIONREAD, &number), -ENOTTY);
	dev->ops->close(dev, fd);
	CU_ASSERT_EQUAL(dev->ops->ioctl(dev, fd, FIONREAD, &number), -EBADF);
	CU_ASSERT_STRING_EQUAL(dev->ops->name, "kernel");
	CU_ASSERT(dev->ops->heartbeat);
	dev->ops->destroy(dev);
}

/* The node goes with its module, while nefs has the device. */
static void test_node_goes(void)
{
	char directory[TEMPORARY_MAX], path[96];
	struct ne_dev *dev;

	temporary_directory(directory, "nefs-dev");
	snprintf(path, sizeof(path), "%s/ne", directory);
	CU_ASSERT_EQUAL_FATAL(symlink("/dev/null", path), 0);
	dev = dev_of(path);
	unlink(path);
	CU_ASSERT_EQUAL(dev->ops->open(dev, &err), -ENODEV);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, path));
	/* Something else that cannot be opened so is told as it is. */
	nefs_error_clear(&err);
	CU_ASSERT_EQUAL_FATAL(mkdir(path, 0700), 0);
	CU_ASSERT_EQUAL(dev->ops->open(dev, &err), -EISDIR);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, path));
	dev->ops->destroy(dev);
	rmdir(path);
	rmdir(directory);
}

static void test_pages(void)
{
	struct ne_dev *dev = dev_of("/dev/null");
	struct ne_dev_pages pages[NE_DEV_PAGE_SIZES_MAX];
	size_t count = dev->ops->pages(dev, pages, NE_DEV_PAGE_SIZES_MAX);
	void *address = NULL;

	CU_ASSERT(dev->ops->node(dev) >= -1);
	CU_ASSERT(count <= NE_DEV_PAGE_SIZES_MAX);
	for (size_t i = 0; i < count; i++) {
		CU_ASSERT(pages[i].size >= 2 * M && pages[i].size % (2 * M) == 0);
		CU_ASSERT(i == 0 || pages[i].size < pages[i - 1].size);
	}
	/* More than any machine has. */
	CU_ASSERT(dev->ops->map(dev, 1ULL << 46, 2 * M, &address, &err) < 0);
	CU_ASSERT_PTR_NULL(address);
	CU_ASSERT_NOT_EQUAL(err.text[0], '\0');
	address = mmap(NULL, 2 * M, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CU_ASSERT_FATAL(address != MAP_FAILED);
	dev->ops->unmap(dev, address, 2 * M);
	CU_ASSERT_EQUAL(msync(address, 2 * M, MS_ASYNC), -1);
	CU_ASSERT_EQUAL(errno, ENOMEM);
	dev->ops->destroy(dev);
}

/* No hypervisor answers here: the reader is told to come again, or that there is no vsock. */
static void test_console(void)
{
	struct ne_dev *dev = dev_of("/dev/null");
	int fd;

	CU_ASSERT_EQUAL(
		dev->ops->console(dev, -1, UINT32_MAX - NE_CONSOLE_PORT + 1, &err), -EINVAL);
	CU_ASSERT_NOT_EQUAL(err.text[0], '\0');
	nefs_error_clear(&err);
	fd = dev->ops->console(dev, -1, UINT32_MAX - NE_CONSOLE_PORT, &err);
	CU_ASSERT(fd >= 0 || err.text[0]);
	CU_ASSERT(fd != -ECONNREFUSED && fd != -ECONNRESET && fd != -ETIMEDOUT);
	nefs_cleanup_close(&fd);
	dev->ops->destroy(dev);
}

/* ---- the order of pages ---- */

#define PAGES 16

static size_t page_size;

static char *mapped(size_t count)
{
	char *address = mmap(NULL, count * page_size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	CU_ASSERT_FATAL(address != MAP_FAILED);
	/* A page each, and no huge one, which would be split. */
	madvise(address, count * page_size, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < count; i++)
		memset(address + i * page_size, (int)('A' + i % 26), page_size);
	return address;
}

static uint64_t frame(const char *address)
{
	NEFS_AUTO_CLOSE int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	CU_ASSERT_EQUAL(pread(pagemap, &entry, sizeof(entry),
				(off_t)((uintptr_t)address / page_size * sizeof(entry))),
		sizeof(entry));
	return entry & ((1ULL << 55) - 1);
}

static bool ascending(const char *address, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		if (frame(address + i * page_size) < frame(address + (i - 1) * page_size))
			return false;
	}
	return true;
}

static void swap_pages(char *left, char *right)
{
	char *spare = mmap(NULL, page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const int how = MREMAP_MAYMOVE | MREMAP_FIXED;

	CU_ASSERT_FATAL(spare != MAP_FAILED &&
			mremap(left, page_size, page_size, how, spare) == spare &&
			mremap(right, page_size, page_size, how, left) == left &&
			mremap(spare, page_size, page_size, how, right) == right);
}

/* Each of the pages' contents once, and no page of two minds. */
static void check_contents(const char *address)
{
	uint32_t seen = 0;

	for (size_t i = 0; i < PAGES; i++) {
		const char *page = address + i * page_size;

		CU_ASSERT_FATAL(page[0] >= 'A' && page[0] < 'A' + PAGES);
		CU_ASSERT_EQUAL(page[page_size - 1], page[0]);
		seen |= 1U << (page[0] - 'A');
	}
	CU_ASSERT_EQUAL(seen, (1U << PAGES) - 1);
}

/* The kernel may move pages meanwhile: then it is tried again. */
static void test_sorts(void)
{
	bool sorted = false;

	for (unsigned int i = 0; i < 10 && !sorted; i++) {
		char *address = mapped(PAGES), *result;

		if (!frame(address)) {
			munmap(address, PAGES * page_size);
			return; /* secret, even to root */
		}
		if (ascending(address, PAGES))
			swap_pages(address, address + 3 * page_size);
		result = page_order_sort(address, PAGES * page_size, page_size);
		CU_ASSERT_PTR_NOT_NULL_FATAL(result);
		check_contents(result);
		sorted = ascending(result, PAGES);
		/* What is in order stays where it is. */
		if (sorted)
			CU_ASSERT_PTR_EQUAL(
				page_order_sort(result, PAGES * page_size, page_size), result);
		munmap(result, PAGES * page_size);
	}
	CU_ASSERT(sorted);
}

static void test_nothing_to_sort(void)
{
	char *address = mapped(2);

	CU_ASSERT_PTR_EQUAL(page_order_sort(address, page_size, page_size), address);
	/* As many as would need too many mappings: not so much as looked at. */
	CU_ASSERT_PTR_EQUAL(page_order_sort(address, 30001 * page_size, page_size), address);
	munmap(address, 2 * page_size);
	/* A page that is not there has no place. */
	address = mmap(NULL, 2 * page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CU_ASSERT_FATAL(address != MAP_FAILED);
	CU_ASSERT_PTR_EQUAL(page_order_sort(address, 2 * page_size, page_size), address);
	munmap(address, 2 * page_size);
}

/* A page that cannot be moved (Linux 6.10 seals): those that were are put back. */
static void test_puts_back(void)
{
	char *address = mapped(PAGES), *result;
	size_t highest = 0;

	/* The one that would be moved last is sealed, so that all others have been by then. */
	if (ascending(address, PAGES))
		swap_pages(address, address + 3 * page_size);
	for (size_t i = 1; i < PAGES; i++) {
		if (frame(address + i * page_size) > frame(address + highest * page_size))
			highest = i;
	}
	if (syscall(SYS_mseal, address + highest * page_size, page_size, 0UL)) {
		CU_ASSERT(errno == ENOSYS || errno == EPERM);
		munmap(address, PAGES * page_size);
		return;
	}
	result = page_order_sort(address, PAGES * page_size, page_size);
	CU_ASSERT_PTR_EQUAL(result, address);
	check_contents(address);
	for (size_t i = 0; i < PAGES; i++) {
		if (i != highest)
			munmap(address + i * page_size, page_size);
	}
}

static const CU_TestInfo tests[] = {
	{ "no node, or no device", test_no_node },
	{ "calls", test_calls },
	{ "the node goes", test_node_goes },
	{ "pages", test_pages },
	{ "the console", test_console },
	{ "pages are put in order", test_sorts },
	{ "nothing to put in order", test_nothing_to_sort },
	{ "a page that stays where it is", test_puts_back },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	page_size = (size_t)sysconf(_SC_PAGESIZE);
	return cunit_run("kernel_dev", tests, set_up, NULL);
}
