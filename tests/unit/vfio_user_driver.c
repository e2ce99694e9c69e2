/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vfio_user_driver.h"
#include <CUnit/CUnit.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static struct driver begin(int client)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_MSIX_IRQ_INDEX,
		.count = NE_PCI_VECTORS,
	};
	struct driver driver = { .client = client };
	uint8_t on = 1;

	driver.memory = memfd_create("guest", MFD_CLOEXEC);
	driver.vectors[0] = eventfd(0, EFD_CLOEXEC);
	driver.vectors[1] = eventfd(0, EFD_CLOEXEC);
	CU_ASSERT_EQUAL(ftruncate(driver.memory, 2 * DRIVER_MEMORY), 0);
	CU_ASSERT_EQUAL(driver_map(&driver, DRIVER_IOVA, 2 * DRIVER_MEMORY, driver.memory), 0);
	CU_ASSERT_EQUAL(client_call(driver.client, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set),
				driver.vectors, NE_PCI_VECTORS, NULL, 0),
		0);
	CU_ASSERT_TRUE(client_write(driver.client, NE_REG_ENABLE, &on, 1));
	return driver;
}

struct driver driver_begin(struct rig *rig)
{
	return begin(rig_greet(rig));
}

struct driver driver_begin_at(const char *path)
{
	return begin(client_greet_at(path));
}

void driver_end(struct driver *driver)
{
	close(driver->client);
	close(driver->memory);
	close(driver->vectors[0]);
	close(driver->vectors[1]);
}

int driver_command(const struct driver *driver, uint32_t number, const void *payload, size_t size,
	struct ne_reply *reply)
{
	memset(reply, 0, sizeof(*reply));
	CU_ASSERT_TRUE_FATAL(
		client_command(driver->client, driver->vectors[0], number, payload, size, reply));
	return reply->rc;
}

uint64_t driver_start(const struct driver *driver, unsigned int half)
{
	struct ne_reply reply;
	struct ne_req_add_mem memory = { .paddr = DRIVER_IOVA + half * DRIVER_MEMORY,
		.size = DRIVER_MEMORY };
	struct ne_req_add_vcpu vcpu = { .vcpu_id = 2 + half };
	struct ne_req_start request = { 0 };

	CU_ASSERT_EQUAL(driver_command(driver, NE_CMD_SLOT_ALLOC, "", 1, &reply), 0);
	memory.slot_uid = vcpu.slot_uid = request.slot_uid = reply.slot_uid;
	CU_ASSERT_EQUAL(
		driver_command(driver, NE_CMD_SLOT_ADD_MEM, &memory, sizeof(memory), &reply), 0);
	CU_ASSERT_EQUAL(
		driver_command(driver, NE_CMD_SLOT_ADD_VCPU, &vcpu, sizeof(vcpu), &reply), 0);
	CU_ASSERT_EQUAL(
		driver_command(driver, NE_CMD_ENCLAVE_START, &request, sizeof(request), &reply), 0);
	CU_ASSERT_TRUE(reply.enclave_cid >= 16);
	return request.slot_uid;
}

ssize_t driver_map(const struct driver *driver, uint64_t iova, uint64_t size, int fd)
{
	const struct vfio_user_dma_map map = {
		.argsz = sizeof(map),
		.flags = 3,
		.address = iova,
		.size = size,
	};

	return client_call(
		driver->client, VFIO_USER_DMA_MAP, &map, sizeof(map), &fd, fd >= 0, NULL, 0);
}
