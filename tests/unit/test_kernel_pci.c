/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cunit_main.h"
#include "kernel/kernel.h"
#include "kernel/pci.h"
#include "kernel/pool.h"
#include "temporary.h"
#include <errno.h>
#include <nefs/cleanup.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[TEMPORARY_MAX];

/* Writes a file below root, its directories included, and returns its path. */
static const char *put(const char *name, const char *text)
{
	static char path[512];
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
	return path;
}

/* What `lspci -x` prints of a machine with a host bridge and, perhaps, the device. */
static const char *put_dump(bool device)
{
	static const char bridge[] =
		"00:00.0 Host bridge: Intel Corporation 440FX - 82441FX PMC [Natoma] (rev 02)\n"
		"00: 86 80 37 12 07 00 00 00 02 00 00 06 00 00 00 00\n"
		"10: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n"
		"20: 00 00 00 00 00 00 00 00 00 00 00 00 f4 1a 00 11\n"
		"30: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n\n";
	static const char ne[] = "00:1e.0 System peripheral: Amazon.com, Inc. Device e4c1\n"
				 "00: 0f 1d c1 e4 02 00 10 00 01 00 80 08 00 00 00 00\n"
				 "10: 00 00 00 c0 00 00 00 00 00 00 00 00 00 20 00 c0\n"
				 "20: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n"
				 "30: 00 00 00 00 40 00 00 00 00 00 00 00 00 00 00 00\n\n";
	char text[sizeof(bridge) + sizeof(ne)];

	snprintf(text, sizeof(text), "%s%s", bridge, device ? ne : "");
	return put(device ? "with" : "without", text);
}

static void set_up(void)
{
	temporary_directory(root, "nefs-pci");
}

static void tear_down(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	CU_ASSERT_EQUAL(system(command), 0);
}

static void test_find(void)
{
	struct pci_ne found = { .numa_node = 7 };

	CU_ASSERT_EQUAL(pci_find_ne(put_dump(true), &found), 1);
	CU_ASSERT_STRING_EQUAL(found.address, "0000:00:1e.0");
	CU_ASSERT_EQUAL(found.numa_node, -1);
	CU_ASSERT_EQUAL(pci_find_ne(put_dump(false), &found), 0);
	/* libpci's own way out would be exit(1). */
	CU_ASSERT_TRUE(pci_find_ne("/nonexistent/dump", &found) < 0);
	CU_ASSERT_TRUE(pci_find_ne(put("junk", "00:00.0 x\n00: zz\n"), &found) <= 0);
	/* This machine, whatever it is. */
	CU_ASSERT_TRUE(pci_find_ne(NULL, &found) <= 1);
}

static void test_messages(void)
{
	const char *path = "/dev/nitro_enclaves";
	struct nefs_error err;

	CU_ASSERT_EQUAL(pci_explain_missing(put_dump(true), path, &err), -ENODEV);
	CU_ASSERT_EQUAL(err.code, ENODEV);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "1d0f:e4c1 at 0000:00:1e.0"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "driver is not loaded: modprobe nitro_enclaves"));

	CU_ASSERT_EQUAL(pci_explain_missing(put_dump(false), path, &err), -ENODEV);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "without enclave support"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "-o backend=sim"));
	CU_ASSERT_PTR_NULL(strstr(err.text, "modprobe"));

	CU_ASSERT_EQUAL(pci_explain_missing("/nonexistent/dump", path, &err), -ENODEV);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "cannot be looked at"));
}

static void test_device(void)
{
	struct nefs_error err;
	struct ne_dev *dev;

	CU_ASSERT_EQUAL(kernel_dev_new("/nonexistent/nitro_enclaves", &dev, &err), -ENODEV);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nonexistent/nitro_enclaves"));
	CU_ASSERT_EQUAL(kernel_dev_new(put("file", ""), &dev, &err), -ENODEV);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "not a device node"));

	/* Any device node will do to look at the operations. */
	CU_ASSERT_EQUAL_FATAL(kernel_dev_new("/dev/null", &dev, &err), 0);
	CU_ASSERT_STRING_EQUAL(dev->ops->name, "kernel");
	CU_ASSERT_TRUE(dev->ops->heartbeat);
	int fd = dev->ops->open(dev, &err);
	__u64 slot;

	CU_ASSERT_TRUE(fd >= 0);
	CU_ASSERT_EQUAL(dev->ops->ioctl(dev, fd, _IOR(0xAE, 0x20, __u64), &slot), -ENOTTY);
	dev->ops->close(dev, fd);
	CU_ASSERT_EQUAL(dev->ops->console(dev, -1, UINT32_MAX - 1, &err), -EINVAL);
	dev->ops->destroy(dev);
}

static void test_pool_node(void)
{
	const char *dump;

	dump = put_dump(true);
	CU_ASSERT_EQUAL(pool_node(root, dump), -1);
	put("module/nitro_enclaves/parameters/ne_cpus", "6-7,14\n");
	CU_ASSERT_EQUAL(pool_node(root, dump), -1);
	put("devices/system/cpu/cpu6/node1/cpulist", "6\n");
	put("devices/system/cpu/cpu2/node0/cpulist", "2\n");
	put("devices/system/cpu/cpu6/nodes", "");
	CU_ASSERT_EQUAL(pool_node(root, dump), 1);
	put("module/nitro_enclaves/parameters/ne_cpus", "2\n");
	CU_ASSERT_EQUAL(pool_node(root, dump), 0);
	/* An empty pool. */
	put("module/nitro_enclaves/parameters/ne_cpus", "\n");
	CU_ASSERT_EQUAL(pool_node(root, dump), -1);
	CU_ASSERT_EQUAL(pool_node("/nonexistent", dump), -1);
}

static const CU_TestInfo tests[] = {
	{ "the device is found in a dump", test_find },
	{ "why there is no device node", test_messages },
	{ "the device's operations", test_device },
	{ "the pool's NUMA node", test_pool_node },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("kernel_pci", tests, set_up, tear_down);
}
