/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ioctls of an enclave fd: each rule, and the order of the rules, as docs/ioctl.md has them from
 * Linux's driver. */
#include "driver.h"
#include "user_copy.h"
#include <errno.h>
#include <nefs/eif.h>
#include <nefs/ne_limits.h>
#include <stdlib.h>
#include <unistd.h>

/* The end of user space on x86-64 with four levels of page tables, as access_ok has it. */
#define USER_ADDRESS_MAX 0x7ffffffff000ULL

static int add_vcpu(struct sim *sim, struct enclave_fd *enclave, uint64_t argument)
{
	struct ne_req_add_vcpu request = { .slot_uid = enclave->slot_uid };
	struct ne_reply reply;
	uint32_t id;
	int result;

	if (user_copy_in(&id, argument, sizeof(id)))
		return -EFAULT;
	if (enclave->state != ENCLAVE_INIT)
		return -NE_ERR_NOT_IN_INIT_STATE;
	if (id >= cpu_pool_cpus(sim->cpus))
		return -NE_ERR_INVALID_VCPU;
	if (id)
		result = cpu_claims_want(sim->cpus, &enclave->cpus, id);
	else
		result = cpu_claims_pick(sim->cpus, &enclave->cpus, &id);
	if (result)
		return result;
	/* As late as this on Linux: the core stays claimed. */
	if (enclave->owner != getpid())
		return -EIO;
	request.vcpu_id = id;
	result = request_send(sim, NE_CMD_SLOT_ADD_VCPU, &request, sizeof(request), &reply);
	if (result)
		return result;
	cpu_claims_use(&enclave->cpus, id);
	enclave->vcpu_count++;
	return user_copy_out(argument, &id, sizeof(id)) ? -EFAULT : 0;
}

static int get_image_load_info(struct sim *sim, struct enclave_fd *enclave, uint64_t argument)
{
	struct ne_image_load_info info;

	if (user_copy_in(&info, argument, sizeof(info)))
		return -EFAULT;
	if (enclave->state != ENCLAVE_INIT)
		return -NE_ERR_NOT_IN_INIT_STATE;
	if (!info.flags || info.flags >= NE_IMAGE_LOAD_MAX_FLAG_VAL)
		return -NE_ERR_INVALID_FLAG_VALUE;
	info.memory_offset = EIF_LOAD_OFFSET;
	return user_copy_out(argument, &info, sizeof(info)) ? -EFAULT : 0;
}

static int check_region(
	const struct enclave_fd *enclave, const struct ne_user_memory_region *region)
{
	uint64_t size = region->memory_size, address = region->userspace_addr;

	if (enclave->owner != getpid())
		return -EIO;
	if (size % MEMORY_PAGE_SIZE)
		return -NE_ERR_INVALID_MEM_REGION_SIZE;
	if (address % MEMORY_PAGE_SIZE)
		return -NE_ERR_UNALIGNED_MEM_REGION_ADDR;
	if (address > USER_ADDRESS_MAX || size > USER_ADDRESS_MAX - address)
		return -NE_ERR_INVALID_MEM_REGION_ADDR;
	for (size_t i = 0; i < enclave->region_count; i++) {
		const struct user_region *other = &enclave->regions[i];

		/* An address inside is enough, even with nothing behind it. */
		if (address < other->address + other->size &&
			other->address < address + (size ? size : 1))
			return -NE_ERR_MEM_REGION_ALREADY_USED;
	}
	return size ? 0 : -ENOMEM;
}

/* Gives the device each piece of a region, and counts those that it has taken. */
static int donate(struct sim *sim, struct enclave_fd *enclave, const struct user_region *region)
{
	for (size_t i = 0; i < region->run_count; i++) {
		const struct ne_req_add_mem request = {
			.slot_uid = enclave->slot_uid,
			.paddr = region->runs[i].paddr,
			.size = region->runs[i].size,
		};
		struct ne_reply reply;
		int result =
			request_send(sim, NE_CMD_SLOT_ADD_MEM, &request, sizeof(request), &reply);

		if (result)
			return result;
		enclave->device_regions++;
		enclave->memory += region->runs[i].size;
	}
	return 0;
}

static int set_user_memory_region(struct sim *sim, struct enclave_fd *enclave, uint64_t argument)
{
	struct ne_user_memory_region wanted;
	struct user_region region = { 0 }, *bigger;
	int result;

	if (user_copy_in(&wanted, argument, sizeof(wanted)))
		return -EFAULT;
	if (wanted.flags >= NE_MEMORY_REGION_MAX_FLAG_VAL)
		return -NE_ERR_INVALID_FLAG_VALUE;
	if (enclave->state != ENCLAVE_INIT)
		return -NE_ERR_NOT_IN_INIT_STATE;
	result = check_region(enclave, &wanted);
	if (result)
		return result;
	bigger = reallocarray(enclave->regions, enclave->region_count + 1, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	enclave->regions = bigger;
	region.address = wanted.userspace_addr;
	region.size = wanted.memory_size;
	result = memory_pin(
		sim->memory, region.address, region.size, &region.runs, &region.run_count);
	if (result)
		return result;
	if (region.run_count > enclave->regions_max - enclave->device_regions) {
		memory_unpin(sim->memory, region.runs, region.run_count);
		free(region.runs);
		return -NE_ERR_MEM_MAX_REGIONS;
	}
	/* From here on the device may have some of it: as on Linux it stays taken, whatever comes. */
	enclave->regions[enclave->region_count++] = region;
	return donate(sim, enclave, &region);
}

static int start_enclave(struct sim *sim, struct enclave_fd *enclave, uint64_t argument)
{
	struct ne_enclave_start_info info;
	struct ne_req_start request = { .slot_uid = enclave->slot_uid };
	struct ne_reply reply;
	int result;

	if (user_copy_in(&info, argument, sizeof(info)))
		return -EFAULT;
	if (info.flags >= NE_ENCLAVE_START_MAX_FLAG_VAL)
		return -NE_ERR_INVALID_FLAG_VALUE;
	if (info.enclave_cid && !ne_cid_is_valid(info.enclave_cid))
		return -NE_ERR_INVALID_ENCLAVE_CID;
	if (enclave->state != ENCLAVE_INIT)
		return -NE_ERR_NOT_IN_INIT_STATE;
	if (!enclave->device_regions)
		return -NE_ERR_NO_MEM_REGIONS_ADDED;
	if (enclave->memory < NE_MEMORY_MIN)
		return -NE_ERR_ENCLAVE_MEM_MIN_SIZE;
	if (!enclave->vcpu_count)
		return -NE_ERR_NO_VCPUS_ADDED;
	if (!cpu_claims_full(&enclave->cpus))
		return -NE_ERR_FULL_CORES_NOT_USED;
	request.enclave_cid = info.enclave_cid;
	request.flags = info.flags;
	result = request_send_long(
		sim, NE_CMD_ENCLAVE_START, enclave->slot_uid, &request, sizeof(request), &reply);
	if (result)
		return result;
	enclave->state = ENCLAVE_RUNNING;
	info.enclave_cid = reply.enclave_cid;
	return user_copy_out(argument, &info, sizeof(info)) ? -EFAULT : 0;
}

int enclave_ioctl(
	struct sim *sim, struct enclave_fd *enclave, unsigned long request, uint64_t argument)
{
	static const struct {
		unsigned long request;
		int (*handler)(struct sim *sim, struct enclave_fd *enclave, uint64_t argument);
	} ioctls[] = {
		{ NE_ADD_VCPU, add_vcpu },
		{ NE_GET_IMAGE_LOAD_INFO, get_image_load_info },
		{ NE_SET_USER_MEMORY_REGION, set_user_memory_region },
		{ NE_START_ENCLAVE, start_enclave },
	};
	int result = -ENOTTY;

	pthread_mutex_lock(&enclave->lock);
	for (size_t i = 0; i < sizeof(ioctls) / sizeof(ioctls[0]); i++)
		if (ioctls[i].request == request)
			result = ioctls[i].handler(sim, enclave, argument);
	pthread_mutex_unlock(&enclave->lock);
	if (atomic_exchange(&enclave->passed_over, false))
		request_interrupt(sim, NE_PCI_VECTOR_EVENT);
	return result;
}
