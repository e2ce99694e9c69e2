/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nefs-device: what a client of its socket, and one of its control socket, gets. */
#include "cunit_main.h"
#include "vfio_user_driver.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <nefs/cleanup.h>
#include <nefs/ne_pci.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define QUIET_MS 100
#define LONG_MS	 20000

static struct rig *rig;

static void set_up(void)
{
	rig = rig_new(&vm_none);
}

static void tear_down(void)
{
	rig_free(rig);
}

/* ---- what it is ---- */

static void test_version(void)
{
	static const char hello[] = "\0\0\1\0{}";
	char answer[256] = "";
	int client = rig_connect(rig);
	ssize_t size = client_call(
		client, VFIO_USER_VERSION, hello, sizeof(hello), NULL, 0, answer, sizeof(answer));

	CU_ASSERT_FATAL(size > 5);
	CU_ASSERT_EQUAL(memcmp(answer, "\0\0\1\0{\"capabilities\":{", 21), 0);
	CU_ASSERT_EQUAL(answer[size - 1], '\0');
	/* Once. */
	CU_ASSERT_EQUAL(
		client_call(client, VFIO_USER_VERSION, hello, sizeof(hello), NULL, 0, NULL, 0),
		-1 - EINVAL);
	close(client);
}

static void test_version_refused(void)
{
	static const struct {
		const char *data;
		size_t size;
		int code;
	} table[] = {
		{ "\1\0\0\0", 4, ENOTSUP },   /* a major version that is not ours */
		{ "\0\0", 2, EINVAL },	      /* half of it */
		{ "", 0, EINVAL },	      /* none */
		{ "\0\0\1\0{}x", 7, EINVAL }, /* capabilities that do not end */
	};
	int client = rig_connect(rig);

	/* Nothing before it. */
	CU_ASSERT_EQUAL(client_call(client, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0, NULL, 0),
		-1 - EINVAL);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		CU_ASSERT_EQUAL(client_call(client, VFIO_USER_VERSION, table[i].data, table[i].size,
					NULL, 0, NULL, 0),
			-1 - table[i].code);
	/* And yet it can be said right afterwards; an older minor version is met. */
	CU_ASSERT_TRUE(client_call(client, VFIO_USER_VERSION, "\0\0\0\0", 4, NULL, 0, NULL, 0) > 4);
	close(client);
}

static void test_info(void)
{
	struct {
		uint32_t argsz, flags, regions, irqs;
	} info = { .argsz = sizeof(info) };
	int client = rig_greet(rig);

	CU_ASSERT_EQUAL(client_call(client, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info), NULL, 0,
				&info, sizeof(info)),
		sizeof(info));
	CU_ASSERT_EQUAL(info.flags, VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
	CU_ASSERT_EQUAL(info.regions, VFIO_PCI_NUM_REGIONS);
	CU_ASSERT_EQUAL(info.irqs, VFIO_PCI_NUM_IRQS);
	close(client);
}

static void test_regions(void)
{
	static const uint64_t sizes[VFIO_PCI_NUM_REGIONS] = {
		[VFIO_PCI_BAR0_REGION_INDEX] = 0x2000,
		[VFIO_PCI_BAR3_REGION_INDEX] = 0x1000,
		[VFIO_PCI_CONFIG_REGION_INDEX] = 256,
	};
	int client = rig_greet(rig);

	for (uint32_t i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
		struct vfio_region_info info = { .argsz = sizeof(info), .index = i };

		CU_ASSERT_EQUAL(client_call(client, VFIO_USER_DEVICE_GET_REGION_INFO, &info,
					sizeof(info), NULL, 0, &info, sizeof(info)),
			sizeof(info));
		CU_ASSERT_EQUAL(info.size, sizes[i]);
		/* Not VFIO_REGION_INFO_FLAG_MMAP: a register must not be missed. */
		CU_ASSERT_EQUAL(info.flags,
			sizes[i] ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE : 0);
	}
	close(client);
}

static void test_irqs(void)
{
	int client = rig_greet(rig);

	for (uint32_t i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
		struct vfio_irq_info info = { .argsz = sizeof(info), .index = i };

		CU_ASSERT_EQUAL(client_call(client, VFIO_USER_DEVICE_GET_IRQ_INFO, &info,
					sizeof(info), NULL, 0, &info, sizeof(info)),
			sizeof(info));
		CU_ASSERT_EQUAL(info.count, i == VFIO_PCI_MSIX_IRQ_INDEX ? 2 : 0);
	}
	close(client);
}

static bool config(int client, bool write, uint64_t offset, void *data, uint32_t size)
{
	struct vfio_user_region_access access = { offset, VFIO_PCI_CONFIG_REGION_INDEX, size };
	uint8_t message[sizeof(access) + 256];

	memcpy(message, &access, sizeof(access));
	if (write) {
		memcpy(message + sizeof(access), data, size);
		return client_call(client, VFIO_USER_REGION_WRITE, message, sizeof(access) + size,
			       NULL, 0, NULL, 0) == sizeof(access);
	}
	if (client_call(client, VFIO_USER_REGION_READ, &access, sizeof(access), NULL, 0, message,
		    sizeof(message)) != (ssize_t)(sizeof(access) + size))
		return false;
	memcpy(data, message + sizeof(access), size);
	return true;
}

static void test_configuration_space(void)
{
	uint8_t space[256], wanted[256];
	uint32_t all = UINT32_MAX, bar = 0;
	int client = rig_greet(rig);

	CU_ASSERT_TRUE_FATAL(config(client, false, 0, space, sizeof(space)));
	CU_ASSERT_EQUAL(memcmp(space, "\x0f\x1d\xc1\xe4", 4), 0);
	CU_ASSERT_EQUAL(space[PCI_CAPABILITY_LIST], 0x40);
	/* MSI-X, the last capability, two vectors, in BAR 0. */
	CU_ASSERT_EQUAL(memcmp(space + 0x40, "\x11\0\1\0\0\0\0\0\0\x10\0\0", 12), 0);
	/* How big BARs are is found out by writing ones. */
	CU_ASSERT_TRUE(config(client, true, PCI_BASE_ADDRESS_0 + 12, &all, 4));
	CU_ASSERT_TRUE(config(client, false, PCI_BASE_ADDRESS_0 + 12, &bar, 4));
	CU_ASSERT_EQUAL(bar, 0xfffff000);
	/* What can't be changed isn't, whatever is written. */
	memcpy(wanted, space, sizeof(wanted));
	memset(space, 0xff, sizeof(space));
	CU_ASSERT_TRUE(config(client, true, 0, space, sizeof(space)));
	CU_ASSERT_TRUE(config(client, false, 0, space, sizeof(space)));
	CU_ASSERT_EQUAL(memcmp(space, wanted, 4), 0);
	CU_ASSERT_EQUAL(memcmp(space + 0x44, wanted + 0x44, 256 - 0x44), 0);
	CU_ASSERT_EQUAL(space[0x43], 0xc0); /* enable, mask all */
	/* The next client finds it as new. */
	close(client);
	client = rig_greet(rig);
	CU_ASSERT_TRUE(config(client, false, 0, space, sizeof(space)));
	CU_ASSERT_EQUAL(memcmp(space, wanted, PCI_BASE_ADDRESS_0), 0);
	CU_ASSERT_EQUAL(space[0x43], 0);
	close(client);
}

/* ---- what it does ---- */

static int state(const struct driver *driver, uint64_t uid)
{
	struct ne_req_slot request = { uid };
	struct ne_reply reply;

	CU_ASSERT_EQUAL(
		driver_command(driver, NE_CMD_SLOT_INFO, &request, sizeof(request), &reply), 0);
	return reply.state;
}

static const char *ask(const char *format, unsigned long long uid)
{
	int control = rig_connect_control(rig);
	char request[64];
	const char *answer;

	snprintf(request, sizeof(request), format, uid);
	answer = control_ask(control, request);
	close(control);
	return answer;
}

static void test_crash(void)
{
	struct driver driver = driver_begin(rig);
	uint64_t uid = driver_start(&driver, 0);
	char wanted[128];

	snprintf(wanted, sizeof(wanted), "%#llx running 1 %llu 16\nok\n", (unsigned long long)uid,
		DRIVER_MEMORY);
	CU_ASSERT_STRING_EQUAL(ask("list\n", 0), wanted);
	CU_ASSERT_STRING_EQUAL(ask("crash %llu\n", uid), "ok\n");
	CU_ASSERT_EQUAL(client_wait(driver.vectors[1], LONG_MS), 1);
	CU_ASSERT_EQUAL(state(&driver, uid), NE_SLOT_STOPPED);
	CU_ASSERT_EQUAL(strncmp(ask("crash %#llx\n", uid), "error 3 ", 8), 0);
	driver_end(&driver);
}

static void test_stop_silent(void)
{
	struct driver driver = driver_begin(rig);
	uint64_t uid = driver_start(&driver, 0);

	CU_ASSERT_STRING_EQUAL(ask("stop-silent %#llx\n", uid), "ok\n");
	/* The device has done it once its thread has answered something else. */
	CU_ASSERT_EQUAL(state(&driver, uid), NE_SLOT_STOPPED);
	CU_ASSERT_EQUAL(client_wait(driver.vectors[1], QUIET_MS), 0);
	driver_end(&driver);
}

static void test_spurious(void)
{
	struct driver driver = driver_begin(rig);
	uint64_t uid = driver_start(&driver, 0);

	CU_ASSERT_STRING_EQUAL(ask("spurious\n", 0), "ok\n");
	CU_ASSERT_EQUAL(client_wait(driver.vectors[1], LONG_MS), 1);
	CU_ASSERT_EQUAL(state(&driver, uid), NE_SLOT_RUNNING);
	driver_end(&driver);
}

static void test_faults(void)
{
	struct driver driver = driver_begin(rig);
	struct ne_reply reply;

	CU_ASSERT_STRING_EQUAL(ask("fault SLOT_ALLOC fail 12 1; SLOT_COUNT fail 5\n", 0), "ok\n");
	CU_ASSERT_EQUAL(driver_command(&driver, NE_CMD_SLOT_ALLOC, "", 1, &reply), -ENOMEM);
	CU_ASSERT_EQUAL(driver_command(&driver, NE_CMD_SLOT_ALLOC, "", 1, &reply), 0);
	CU_ASSERT_EQUAL(driver_command(&driver, NE_CMD_SLOT_COUNT, "", 1, &reply), -EIO);
	/* A wrong plan leaves the old one. */
	CU_ASSERT_EQUAL(strncmp(ask("fault SLOT_COUNT explode\n", 0), "error 22 ", 9), 0);
	CU_ASSERT_EQUAL(driver_command(&driver, NE_CMD_SLOT_COUNT, "", 1, &reply), -EIO);
	CU_ASSERT_STRING_EQUAL(ask("fault\n", 0), "ok\n");
	CU_ASSERT_EQUAL(driver_command(&driver, NE_CMD_SLOT_COUNT, "", 1, &reply), 0);
	driver_end(&driver);
}

static void test_client_leaves(void)
{
	struct driver driver = driver_begin(rig);
	struct ne_reply reply;

	driver_start(&driver, 0);
	driver_end(&driver);
	/* Its enclave went with it, its CPU and memory can be had again, and its counters are gone. */
	driver = driver_begin(rig);
	CU_ASSERT_STRING_EQUAL(ask("list\n", 0), "ok\n");
	CU_ASSERT_EQUAL(driver_command(&driver, NE_CMD_SLOT_COUNT, "", 1, &reply), 0);
	CU_ASSERT_EQUAL(reply.slot_count, 0);
	driver_start(&driver, 0);
	driver_end(&driver);
}

static void test_second_client(void)
{
	struct driver driver = driver_begin(rig);
	int second = rig_connect(rig);
	struct ne_reply reply;

	CU_ASSERT_TRUE(client_is_shut_out(second));
	close(second);
	CU_ASSERT_EQUAL(driver_command(&driver, NE_CMD_SLOT_COUNT, "", 1, &reply), 0);
	driver_end(&driver);
}

static void test_reset(void)
{
	struct driver driver = driver_begin(rig);
	uint8_t enabled = 1;

	driver_start(&driver, 0);
	CU_ASSERT_EQUAL(
		client_call(driver.client, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0, NULL, 0), 0);
	for (unsigned int i = 0; i < 10000 && enabled; i++)
		CU_ASSERT_TRUE_FATAL(client_read(driver.client, NE_REG_ENABLE, &enabled, 1));
	CU_ASSERT_EQUAL(enabled, 0);
	CU_ASSERT_STRING_EQUAL(ask("list\n", 0), "ok\n");
	driver_end(&driver);
}

static void test_dma(void)
{
	struct vfio_user_dma_map map = { sizeof(map), 3, 0, 1ULL << 40, DRIVER_MEMORY };
	struct vfio_user_dma_unmap unmap = { sizeof(unmap), 0, DRIVER_IOVA, 2 * DRIVER_MEMORY };
	struct driver driver = driver_begin(rig);
	struct ne_req_add_mem memory = { .paddr = 1ULL << 40, .size = DRIVER_MEMORY };
	struct ne_reply reply;

	/* A window without a file: nothing is behind it. */
	CU_ASSERT_EQUAL(
		client_call(driver.client, VFIO_USER_DMA_MAP, &map, sizeof(map), NULL, 0, NULL, 0),
		0);
	CU_ASSERT_EQUAL(driver_command(&driver, NE_CMD_SLOT_ALLOC, "", 1, &reply), 0);
	memory.slot_uid = reply.slot_uid;
	CU_ASSERT_NOT_EQUAL(
		driver_command(&driver, NE_CMD_SLOT_ADD_MEM, &memory, sizeof(memory), &reply), 0);
	/* Twice the same, with a file. */
	map.address = DRIVER_IOVA;
	CU_ASSERT_EQUAL(client_call(driver.client, VFIO_USER_DMA_MAP, &map, sizeof(map),
				&driver.memory, 1, NULL, 0),
		-1 - EEXIST);
	CU_ASSERT_EQUAL(client_call(driver.client, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap), NULL,
				0, &unmap, sizeof(unmap)),
		sizeof(unmap));
	memory.paddr = DRIVER_IOVA;
	CU_ASSERT_NOT_EQUAL(
		driver_command(&driver, NE_CMD_SLOT_ADD_MEM, &memory, sizeof(memory), &reply), 0);
	CU_ASSERT_EQUAL(client_call(driver.client, VFIO_USER_DMA_MAP, &map, sizeof(map),
				&driver.memory, 1, NULL, 0),
		0);
	CU_ASSERT_EQUAL(
		driver_command(&driver, NE_CMD_SLOT_ADD_MEM, &memory, sizeof(memory), &reply), 0);
	unmap = (struct vfio_user_dma_unmap){ sizeof(unmap), VFIO_USER_UNMAP_ALL, 0, 0 };
	CU_ASSERT_EQUAL(client_call(driver.client, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap), NULL,
				0, NULL, 0),
		sizeof(unmap));
	driver_end(&driver);
}

static void test_vectors(void)
{
	struct driver driver = driver_begin(rig);
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_MSIX_IRQ_INDEX,
		.start = 1,
		.count = 1,
	};
	int pipes[2];

	CU_ASSERT_EQUAL(client_call(driver.client, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set),
				NULL, 0, NULL, 0),
		0);
	CU_ASSERT_EQUAL(client_wait(driver.vectors[1], LONG_MS), 1);
	CU_ASSERT_EQUAL(client_wait(driver.vectors[0], QUIET_MS), 0);
	/* None is left after "all of them off". */
	set.start = set.count = 0;
	CU_ASSERT_EQUAL(client_call(driver.client, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set),
				NULL, 0, NULL, 0),
		0);
	CU_ASSERT_STRING_EQUAL(ask("spurious\n", 0), "ok\n");
	CU_ASSERT_EQUAL(client_wait(driver.vectors[1], QUIET_MS), 0);
	/* Only an eventfd is one. */
	CU_ASSERT_EQUAL(pipe2(pipes, O_CLOEXEC), 0);
	set.count = 1;
	set.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	CU_ASSERT_EQUAL(client_call(driver.client, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set),
				&pipes[1], 1, NULL, 0),
		-1 - EINVAL);
	close(pipes[0]);
	close(pipes[1]);
	driver_end(&driver);
}

/* ---- what is wrong ---- */

static void test_wrong_requests(void)
{
	static const struct {
		uint16_t command;
		int code;
		size_t size;
		uint32_t words[8];
	} table[] = {
		{ 0, ENOTSUP, 0, { 0 } },
		{ 6, ENOTSUP, 0, { 0 } },
		{ 11, ENOTSUP, 0, { 0 } },
		{ 12, ENOTSUP, 0, { 0 } },
		{ 65535, ENOTSUP, 0, { 0 } },
		{ VFIO_USER_DMA_MAP, EINVAL, 31, { 32, 3, 0, 0, 0, 0, 4096, 0 } },
		{ VFIO_USER_DMA_MAP, EINVAL, 32, { 31, 3, 0, 0, 0, 0, 4096, 0 } },
		{ VFIO_USER_DMA_MAP, EINVAL, 32, { 32, 3, 0, 0, 0, 0, 0, 0 } },
		{ VFIO_USER_DMA_MAP, EINVAL, 32, { 32, 3, 0, 0, ~0U, ~0U, 4096, 0 } },
		{ VFIO_USER_DMA_MAP, EINVAL, 32, { 32, 3, ~0U, ~0U >> 1, 0, 0, 4096, 0 } },
		{ VFIO_USER_DMA_UNMAP, EINVAL, 23, { 24, 0, 0, 0, 4096, 0 } },
		{ VFIO_USER_DMA_UNMAP, ENOTSUP, 24, { 24, 1, 0, 0, 4096, 0 } },
		{ VFIO_USER_DMA_UNMAP, EINVAL, 24, { 24, 2, 0, 0, 4096, 0 } },
		{ VFIO_USER_DMA_UNMAP, EINVAL, 24, { 24, 0, ~0U, ~0U, 4096, 0 } },
		{ VFIO_USER_DEVICE_GET_INFO, EINVAL, 3, { 16 } },
		{ VFIO_USER_DEVICE_GET_INFO, EINVAL, 16, { 15 } },
		{ VFIO_USER_DEVICE_GET_REGION_INFO, EINVAL, 31, { 32 } },
		{ VFIO_USER_DEVICE_GET_REGION_INFO, EINVAL, 32, { 32, 0, 9 } },
		{ VFIO_USER_DEVICE_GET_REGION_INFO, EINVAL, 32, { 32, 0, ~0U } },
		{ VFIO_USER_DEVICE_GET_IRQ_INFO, EINVAL, 15, { 16 } },
		{ VFIO_USER_DEVICE_GET_IRQ_INFO, EINVAL, 16, { 16, 0, 5 } },
		{ VFIO_USER_DEVICE_SET_IRQS, EINVAL, 19, { 20, 0x24, 2, 0, 1 } },
		{ VFIO_USER_DEVICE_SET_IRQS, EINVAL, 20, { 20, 0x21, 9, 0, 0 } },
		{ VFIO_USER_DEVICE_SET_IRQS, EINVAL, 20, { 20, 0x21, 2, 0, 3 } },
		{ VFIO_USER_DEVICE_SET_IRQS, EINVAL, 20, { 20, 0x21, 2, 2, ~0U } },
		{ VFIO_USER_DEVICE_SET_IRQS, EINVAL, 20, { 20, 0x21, 2, ~0U, 2 } },
		{ VFIO_USER_DEVICE_SET_IRQS, EINVAL, 20, { 20, 0x21, 0, 0, 1 } },
		{ VFIO_USER_DEVICE_SET_IRQS, EINVAL, 20, { 20, 0x22, 2, 0, 1 } },
		{ VFIO_USER_DEVICE_SET_IRQS, EINVAL, 20, { 20, 0x09, 2, 0, 1 } },
		{ VFIO_USER_DEVICE_SET_IRQS, EINVAL, 20, { 20, 0x23, 2, 0, 1 } },
		{ VFIO_USER_DEVICE_SET_IRQS, EINVAL, 20, { 20, 0x24, 2, 0, 0 } },
		{ VFIO_USER_REGION_READ, EINVAL, 15, { 0, 0, 3, 4 } },
		{ VFIO_USER_REGION_READ, EINVAL, 16, { 0, 0, 3, 0 } },
		{ VFIO_USER_REGION_READ, EINVAL, 16, { 0, 0, 1, 4 } },
		{ VFIO_USER_REGION_READ, EINVAL, 16, { 0, 0, 9, 4 } },
		{ VFIO_USER_REGION_READ, EINVAL, 16, { 0, 0, ~0U, 4 } },
		{ VFIO_USER_REGION_READ, EINVAL, 16, { 0xffd, 0, 3, 4 } },
		{ VFIO_USER_REGION_READ, EINVAL, 16, { ~0U, ~0U, 3, 4 } },
		{ VFIO_USER_REGION_READ, EINVAL, 16, { 0, 0, 3, ~0U } },
		{ VFIO_USER_REGION_READ, EINVAL, 16, { 0, 0, 7, 257 } },
		{ VFIO_USER_REGION_WRITE, EINVAL, 16, { 0, 0, 3, 4 } },
		{ VFIO_USER_REGION_WRITE, EINVAL, 19, { 0, 0, 3, 4, 1 } },
		{ VFIO_USER_REGION_WRITE, EINVAL, 24, { 0, 0, 3, 4, 1, 1 } },
		{ VFIO_USER_REGION_WRITE, EINVAL, 20, { 0x1000, 0, 3, 4, 1 } },
	};
	int client = rig_greet(rig);
	uint8_t enabled = 7;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		ssize_t got = client_call(
			client, table[i].command, table[i].words, table[i].size, NULL, 0, NULL, 0);

		CU_ASSERT_EQUAL(got, -1 - table[i].code);
		if (got != -1 - table[i].code)
			printf("request %zu: %zd\n", i, got);
	}
	/* It goes on as if nothing had been said. */
	CU_ASSERT_TRUE(client_read(client, NE_REG_ENABLE, &enabled, 1));
	CU_ASSERT_EQUAL(enabled, 0);
	close(client);
}

static void test_wrong_messages(void)
{
	static const struct vfio_user_header table[] = {
		{ 1, VFIO_USER_DEVICE_RESET, 15, 0, 0 },
		{ 1, VFIO_USER_DEVICE_RESET, 0, 0, 0 },
		{ 1, VFIO_USER_DEVICE_RESET, VFIO_USER_MESSAGE_MAX + 1, 0, 0 },
		{ 1, VFIO_USER_DEVICE_RESET, UINT32_MAX, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int client = rig_greet(rig);

		CU_ASSERT_TRUE(client_send(client, &table[i], sizeof(table[i]), NULL, 0));
		CU_ASSERT_TRUE(client_is_shut_out(client));
		close(client);
	}
}

static void test_reply_as_a_request(void)
{
	struct vfio_user_header reply = { 1, VFIO_USER_DEVICE_RESET, sizeof(reply), VFIO_USER_REPLY,
		0 };
	int client = rig_greet(rig);

	CU_ASSERT_TRUE(client_send(client, &reply, sizeof(reply), NULL, 0));
	CU_ASSERT_EQUAL(client_reply(client, NULL, 0), -1 - EINVAL);
	close(client);
}

static void test_no_reply(void)
{
	struct vfio_user_header quiet = { 1, VFIO_USER_DEVICE_RESET, sizeof(quiet),
		VFIO_USER_NO_REPLY, 0 };
	int client = rig_greet(rig);
	uint16_t version = 0;

	CU_ASSERT_TRUE(client_send(client, &quiet, sizeof(quiet), NULL, 0));
	/* The next reply is the next request's. */
	CU_ASSERT_TRUE(client_read(client, NE_REG_VERSION, &version, sizeof(version)));
	close(client);
}

static void test_byte_by_byte(void)
{
	struct {
		struct vfio_user_header header;
		struct vfio_user_region_access access;
	} message = {
		{ 1, VFIO_USER_REGION_READ, sizeof(message), 0, 0 },
		{ 0, VFIO_PCI_CONFIG_REGION_INDEX, 4 },
	};
	uint8_t answer[20];
	int client = rig_greet(rig);

	for (size_t i = 0; i < sizeof(message); i++)
		CU_ASSERT_TRUE(client_send(client, (char *)&message + i, 1, NULL, 0));
	CU_ASSERT_EQUAL(client_reply(client, answer, sizeof(answer)), sizeof(answer));
	CU_ASSERT_EQUAL(memcmp(answer + 16, "\x0f\x1d\xc1\xe4", 4), 0);
	/* A client that goes in the middle of one is none. */
	CU_ASSERT_TRUE(client_send(client, &message, 20, NULL, 0));
	close(client);
	close(rig_greet(rig));
}

static void test_many_fds(void)
{
	struct vfio_user_header message = { 1, VFIO_USER_DEVICE_RESET, sizeof(message), 0, 0 };
	int fds[32], client = rig_greet(rig);

	for (size_t i = 0; i < 32; i++)
		fds[i] = client;
	/* Fds that a message has no use for are closed, so many of them as to be an attack: shut out. */
	CU_ASSERT_TRUE(client_send(client, &message, sizeof(message), fds, 8));
	CU_ASSERT_EQUAL(client_reply(client, NULL, 0), 0);
	CU_ASSERT_TRUE(client_send(client, &message, sizeof(message), fds, 32));
	CU_ASSERT_TRUE(client_is_shut_out(client));
	close(client);
}

static void test_reader_that_does_not_read(void)
{
	struct {
		struct vfio_user_header header;
		struct vfio_user_region_access access;
	} message = {
		{ 1, VFIO_USER_REGION_READ, sizeof(message), 0, 0 },
		{ 0, NE_PCI_BAR_REGISTERS, NE_PCI_REGISTERS_SIZE },
	};
	int client = rig_greet(rig);
	unsigned int sent = 0;

	/* Until neither side's buffers have room: the server must not wait for this client. */
	while (sent < 100000 && send(client, &message, sizeof(message), MSG_DONTWAIT) > 0)
		sent++;
	CU_ASSERT_TRUE(sent < 100000);
	CU_ASSERT_STRING_EQUAL(ask("list\n", 0), "ok\n");
	/* And it gets all that it asked for once it reads. */
	for (unsigned int i = 0; i < sent; i++)
		CU_ASSERT_EQUAL_FATAL(client_reply(client, NULL, 0), 16 + NE_PCI_REGISTERS_SIZE);
	close(client);
}

/* ---- the control socket ---- */

static void test_control(void)
{
	static const struct {
		const char *request, *answer;
	} table[] = {
		{ "list\n", "ok\n" },
		{ "\n", "error 22 " },
		{ "nonsense\n", "error 22 " },
		{ "crash\n", "error 22 " },
		{ "crash -1\n", "error 22 " },
		{ "crash 0x\n", "error 22 " },
		{ "crash 010\n", "error 22 " },
		{ "crash +1\n", "error 22 " },
		{ "crash 0x-1\n", "error 22 " },
		{ "crash 1 2\n", "error 22 " },
		{ "crash ff\n", "error 22 " },
		{ "crash 0\n", "error 3 " },
		{ "crash 0xffffffffffffffff\n", "error 3 " },
		{ "crash 99999999999999999999\n", "error 22 " },
		{ "crash 1\n", "error 3 " },
		{ "stop-silent 1\n", "error 3 " },
		{ "fault SLOT_ALLOC fail 5000\n", "error " },
		{ "spurious\n", "ok\n" },
		{ "list   \n", "ok\n" },
	};
	int control = rig_connect_control(rig);

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const char *answer = control_ask(control, table[i].request);

		CU_ASSERT_EQUAL(strncmp(answer, table[i].answer, strlen(table[i].answer)), 0);
		if (strncmp(answer, table[i].answer, strlen(table[i].answer)))
			printf("%s: %s", table[i].request, answer);
	}
	/* Two requests at once, one of them in two parts. */
	CU_ASSERT_STRING_EQUAL(control_ask(control, "list\nsp"), "ok\n");
	CU_ASSERT_STRING_EQUAL(control_ask(control, "urious\n"), "ok\n");
	close(control);
}

static void test_control_long_line(void)
{
	NEFS_AUTO_FREE char *line = calloc(1, 100002);
	int control = rig_connect_control(rig);

	memset(line, 'x', 100000);
	line[100000] = '\n';
	CU_ASSERT_EQUAL(strncmp(control_ask(control, line), "error 7 ", 8), 0);
	CU_ASSERT_STRING_EQUAL(control_ask(control, "list\n"), "ok\n");
	close(control);
}

static void test_control_crowd(void)
{
	int first = rig_connect_control(rig), crowd[64];

	for (size_t i = 0; i < 64; i++)
		crowd[i] = rig_connect_control(rig);
	CU_ASSERT_EQUAL(strncmp(control_ask(crowd[63], ""), "error 11 ", 9), 0);
	CU_ASSERT_STRING_EQUAL(control_ask(first, "list\n"), "ok\n");
	for (size_t i = 0; i < 64; i++)
		close(crowd[i]);
	close(first);
}

static const CU_TestInfo tests[] = {
	{ "VERSION", test_version },
	{ "VERSION refused", test_version_refused },
	{ "the device's info", test_info },
	{ "its regions", test_regions },
	{ "its interrupts", test_irqs },
	{ "its configuration space", test_configuration_space },
	{ "an enclave crashes", test_crash },
	{ "one stops silently", test_stop_silent },
	{ "a spurious event", test_spurious },
	{ "a fault plan", test_faults },
	{ "the client leaves", test_client_leaves },
	{ "a second client", test_second_client },
	{ "a reset", test_reset },
	{ "DMA windows", test_dma },
	{ "vectors", test_vectors },
	{ "wrong requests", test_wrong_requests },
	{ "wrong messages", test_wrong_messages },
	{ "a reply as a request", test_reply_as_a_request },
	{ "no reply wanted", test_no_reply },
	{ "byte by byte", test_byte_by_byte },
	{ "many fds", test_many_fds },
	{ "a reader that does not read", test_reader_that_does_not_read },
	{ "control requests", test_control },
	{ "a long control request", test_control_long_line },
	{ "a crowd of control connections", test_control_crowd },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("vfio-user", tests, set_up, tear_down);
}
