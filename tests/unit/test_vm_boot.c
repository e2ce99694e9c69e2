/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Real guests of a simulated machine: NEFS_KERNEL is the path of a kernel, NEFS_BUSYBOX that of a static
 * busybox, NEFS_VECTOR4 that of an arm64 image (scripts/fetch gets them).
 */
#include "cunit_main.h"
#include "sim.h"
#include "test_vm_guest.h"
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#define MIB 0x100000ULL

static struct ne_dev *dev;

static void set_up(void)
{
	const struct sim_options options = { .cpus = 8, .memory = 2048 * MIB };

	CU_ASSERT_EQUAL_FATAL(sim_dev_new(&options, &dev, NULL), 0);
}

static void tear_down(void)
{
	dev->ops->destroy(dev);
}

#define CMDLINE "console=ttyS0 reboot=k panic=30 pci=off nomodules random.trust_cpu=on"

static int boot(struct guest *guest, const char *init, bool debug)
{
	int image = guest_image(guest_download("NEFS_KERNEL"), CMDLINE, init), result;

	result = guest_start(guest, dev, 256 * MIB, image, debug);
	close(image);
	return result;
}

static void test_boot(void)
{
	struct guest guest;

	CU_ASSERT_EQUAL(boot(&guest,
				"#!/bin/busybox sh\n/bin/busybox mount -t proc proc /proc\n"
				"echo machine $(/bin/busybox uname -m)\n"
				"/bin/busybox reboot -f\n",
				true),
		0);
	CU_ASSERT_TRUE(guest_says(&guest, "Linux version"));
	CU_ASSERT_TRUE(guest_says(&guest, "machine x86_64"));
	CU_ASSERT_TRUE(guest_hung_up(&guest));
	CU_ASSERT_TRUE(contains(guest_explanation(&guest), "shut down or rebooted"));
	guest_end(&guest);
}

static void test_boot_killed(void)
{
	struct guest guest;
	pid_t pid;

	CU_ASSERT_EQUAL(
		boot(&guest, "#!/bin/busybox sh\necho ready\nexec /bin/busybox sleep 1000\n", true),
		0);
	CU_ASSERT_TRUE(guest_says(&guest, "ready"));
	pid = guest_process("qemu-system-x86_64");
	CU_ASSERT_FATAL(pid > 0);
	CU_ASSERT_EQUAL(kill(pid, SIGKILL), 0);
	CU_ASSERT_TRUE(guest_hung_up(&guest));
	CU_ASSERT_TRUE(contains(guest_explanation(&guest), "killed by signal 9"));
	guest_end(&guest);
}

/* A guest that prints more than any buffer holds, to nobody, goes on all the same. */
static void test_boot_unread(void)
{
	struct guest guest;

	CU_ASSERT_EQUAL(
		boot(&guest,
			"#!/bin/busybox sh\ni=0\nwhile [ $i -lt 6000 ]; do\n"
			"echo $i 0123456789012345678901234567890123456789012345678901234567\n"
			"i=$((i+1)); done\n/bin/busybox reboot -f\n",
			true),
		0);
	CU_ASSERT_TRUE(guest_hung_up(&guest));
	/* The very last of it may still have been in the guest's own buffers when it rebooted. */
	CU_ASSERT_TRUE(guest_says(&guest, "\n5900 0123456789"));
	guest_end(&guest);
}

/* Not in debug mode: it runs, and ends when it wants to, unseen. */
static void test_boot_silent(void)
{
	struct guest guest;

	CU_ASSERT_EQUAL(boot(&guest, "#!/bin/busybox sh\n/bin/busybox reboot -f\n", false), 0);
	CU_ASSERT_EQUAL(guest.console, -1);
	CU_ASSERT_TRUE(guest_hung_up(&guest));
	CU_ASSERT_TRUE(contains(guest_explanation(&guest), "shut down or rebooted"));
	guest_end(&guest);
}

/* AWS's own kernel and init: without vsock the latter gives up, which is as far as it gets here. */
static void test_vector4(void)
{
	int image = open(guest_download("NEFS_VECTOR4"), O_RDONLY | O_CLOEXEC);
	struct guest guest;

	CU_ASSERT_FATAL(image >= 0);
	CU_ASSERT_EQUAL(guest_start(&guest, dev, 512 * MIB, image, true), 0);
	close(image);
	CU_ASSERT_TRUE(guest_says(&guest, "connect: No such device"));
	CU_ASSERT_TRUE(guest_says(&guest, "Attempted to kill init!"));
	CU_ASSERT_TRUE(guest_says(&guest, "amzn2.aarch64"));
	guest_end(&guest);
}

static const CU_TestInfo tests[] = {
	{ "a boot", test_boot },
	{ "a boot whose QEMU is killed", test_boot_killed },
	{ "a console that nobody reads", test_boot_unread },
	{ "a boot without a console", test_boot_silent },
	{ "a boot of AWS's image for arm64", test_vector4 },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("vm_boot", tests, set_up, tear_down);
}
