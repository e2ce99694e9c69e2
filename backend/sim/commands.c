/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the device's commands do. What a real device would do differently is not known: its rc
 * values and limits here are inventions (docs/device.md). */
#include "device_internal.h"
#include "vm_console.h"
#include <errno.h>
#include <inttypes.h>
#include <nefs/cleanup.h>
#include <nefs/ne_limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Which slot a command is about: the one whose uid its request begins with, if it is about one. */
enum subject {
	NO_SLOT,
	A_SLOT,	    /* ENOENT without it */
	A_NEW_SLOT, /* EBUSY, too, if it has been started */
};

struct command {
	enum subject subject;
	/* Executes it; slot is NULL for NO_SLOT. Returns 0 or a negative errno, the reply's rc. */
	int (*execute)(struct device *device, struct slot *slot, const void *payload,
		struct ne_reply *reply);
};

static void fill_reply(const struct slot *slot, struct ne_reply *reply)
{
	reply->slot_uid = slot->uid;
	reply->enclave_cid = slot->cid;
	reply->mem_regions = slot->regions_max;
	reply->mem_size = slot->mem_size;
	reply->nr_vcpus = slot->nr_vcpus;
	reply->flags = slot->flags;
	reply->state = slot->state;
}

void command_slot_died(struct device *device, struct slot *slot, const char *how)
{
	if (slot->state != NE_SLOT_RUNNING)
		return;
	slot->state = NE_SLOT_STOPPED;
	snprintf(slot->explain, sizeof(slot->explain), "%s", how);
	device->events++;
}

static int on_vm_end(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct slot *slot = userdata;
	struct device *device = slot->device;
	char how[SLOT_EXPLAIN_SIZE] = "";

	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	pthread_mutex_lock(&device->lock);
	/* First, so that whoever hears of the end finds all that came before it. */
	if (slot->console)
		vm_console_finish(slot->console);
	device->vm->describe_end(slot->vm, how, sizeof(how));
	command_slot_died(device, slot, how);
	pthread_mutex_unlock(&device->lock);
	device->raise(device->context, NE_PCI_VECTOR_EVENT);
	return 0;
}

void command_end_vm(struct device *device, struct slot *slot)
{
	struct vm *vm = slot->vm;

	if (!vm)
		return;
	slot->vm = NULL;
	slot->watch = sd_event_source_disable_unref(slot->watch);
	pthread_mutex_unlock(&device->lock);
	device->vm->destroy(vm);
	pthread_mutex_lock(&device->lock);
	if (slot->console)
		vm_console_finish(slot->console);
}

void command_end_silently(struct device *device, struct slot *slot)
{
	slot->state = NE_SLOT_STOPPED;
	snprintf(slot->explain, sizeof(slot->explain), "it was made to stop without an event");
	command_end_vm(device, slot);
}

void command_release_slot(struct device *device, struct slot *slot)
{
	command_end_vm(device, slot);
	vm_console_free(slot->console);
	slot->console = NULL;
	slots_release(device->slots, slot);
}

/* Begins to read the console of a VM that was just started in debug mode. */
static int open_console(struct device *device, struct slot *slot)
{
	int fd = device->vm->console(slot->vm);

	if (fd < 0)
		return fd == -ENOTCONN ? 0 : fd;
	slot->console = vm_console_new(device->event, fd);
	return slot->console ? 0 : -errno;
}

/* Starts the VM of a slot; the lock is given up, as reading and checking an image takes its time. */
static int start_vm(struct device *device, struct slot *slot)
{
	struct dma_view memory = { 0 };
	struct nefs_error err = { 0 };
	struct vm_config config = {
		.cid = slot->cid,
		.vcpus = (uint32_t)slot->nr_vcpus,
		.debug = slot->flags & 1,
		.memory = &memory,
		.uid = slot->owner,
		.gid = slot->group,
	};
	const struct slot_region *region = slot->regions;
	NEFS_AUTO_FREE char *vsock = NULL;
	struct vm *vm = NULL;
	int result = 0, fd;

	if (device->vsock && asprintf(&vsock, "%s/%" PRIu64 ".sock", device->vsock, slot->cid) < 0)
		return -ENOMEM;
	config.vsock = vsock;
	for (; !result && region; region = region->next)
		result = dma_view_append(&memory, &device->dma, region->paddr, region->size);
	if (!result) {
		pthread_mutex_unlock(&device->lock);
		result = device->vm->start(&config, &vm, &err);
		pthread_mutex_lock(&device->lock);
	}
	dma_view_clear(&memory);
	snprintf(slot->explain, sizeof(slot->explain), "%.*s", SLOT_EXPLAIN_SIZE - 1, err.text);
	if (result)
		return result;
	slot->vm = vm;
	slot->state = NE_SLOT_RUNNING;
	fd = device->vm->pidfd(vm);
	if (config.debug)
		result = open_console(device, slot);
	if (fd >= 0 && !result)
		result = sd_event_add_io(device->event, &slot->watch, fd, EPOLLIN, on_vm_end, slot);
	sd_event_source_set_description(slot->watch, "VM end");
	if (result < 0) {
		slot->state = NE_SLOT_INIT;
		command_end_vm(device, slot);
		vm_console_free(slot->console);
		slot->console = NULL;
	}
	return result < 0 ? result : 0;
}

static int cmd_enclave_start(
	struct device *device, struct slot *slot, const void *payload, struct ne_reply *reply)
{
	const struct ne_req_start *request = payload;
	int result;

	if (request->flags > 1 || !slot->mem_size || !slot->nr_vcpus)
		return -EINVAL;
	if (request->enclave_cid && !ne_cid_is_valid(request->enclave_cid))
		return -EINVAL;
	result = slots_set_cid(device->slots, slot, request->enclave_cid);
	if (result)
		return result;
	slot->flags = request->flags;
	result = start_vm(device, slot);
	if (result)
		slots_clear_cid(device->slots, slot);
	else
		fill_reply(slot, reply);
	return result;
}

static int cmd_enclave_get_slot(
	struct device *device, struct slot *slot, const void *payload, struct ne_reply *reply)
{
	const struct ne_req_get_slot *request = payload;

	slot = slots_find_cid(device->slots, request->enclave_cid);
	if (!slot)
		return -ENOENT;
	fill_reply(slot, reply);
	return 0;
}

static int cmd_enclave_stop(
	struct device *device, struct slot *slot, const void *payload, struct ne_reply *reply)
{
	if (slot->state == NE_SLOT_INIT)
		return -EINVAL;
	/* First, so that the end that follows is nobody's surprise. */
	slot->state = NE_SLOT_STOPPED;
	command_end_vm(device, slot);
	fill_reply(slot, reply);
	return 0;
}

static int cmd_slot_alloc(
	struct device *device, struct slot *slot, const void *payload, struct ne_reply *reply)
{
	int result = slots_alloc(device->slots, &slot);

	if (result)
		return result;
	slot->device = device;
	fill_reply(slot, reply);
	return 0;
}

static int cmd_slot_free(
	struct device *device, struct slot *slot, const void *payload, struct ne_reply *reply)
{
	if (slot->state == NE_SLOT_RUNNING)
		return -EBUSY;
	command_release_slot(device, slot);
	return 0;
}

static int cmd_slot_add_mem(
	struct device *device, struct slot *slot, const void *payload, struct ne_reply *reply)
{
	const struct ne_req_add_mem *request = payload;
	int result;

	if (!request->size || request->size % NE_MEMORY_UNIT || request->paddr % NE_MEMORY_UNIT ||
		request->size > UINT64_MAX - request->paddr)
		return -EINVAL;
	if (!dma_map_covers(&device->dma, request->paddr, request->size))
		return -EFAULT;
	result = slots_add_region(device->slots, slot, request->paddr, request->size);
	if (!result)
		fill_reply(slot, reply);
	return result;
}

static int cmd_slot_add_vcpu(
	struct device *device, struct slot *slot, const void *payload, struct ne_reply *reply)
{
	const struct ne_req_add_vcpu *request = payload;
	int result;

	result = slots_add_vcpu(device->slots, slot, request->vcpu_id);
	if (!result)
		fill_reply(slot, reply);
	return result;
}

static int cmd_slot_add_bulk_vcpus(
	struct device *device, struct slot *slot, const void *payload, struct ne_reply *reply)
{
	const struct ne_req_add_bulk_vcpus *request = payload;

	if (!request->nr_vcpus || request->nr_vcpus > NE_CPUS_MAX - slot->nr_vcpus)
		return -EINVAL;
	/* The device chooses which; it names none. */
	slot->nr_vcpus += request->nr_vcpus;
	fill_reply(slot, reply);
	return 0;
}

static int cmd_slot_count(
	struct device *device, struct slot *slot, const void *payload, struct ne_reply *reply)
{
	reply->slot_count = slots_count(device->slots);
	return 0;
}

static int cmd_next_slot(
	struct device *device, struct slot *slot, const void *payload, struct ne_reply *reply)
{
	const struct ne_req_slot *request = payload;

	slot = slots_next(device->slots, request->slot_uid);
	if (!slot)
		return -ENOENT;
	fill_reply(slot, reply);
	return 0;
}

static int cmd_slot_info(
	struct device *device, struct slot *slot, const void *payload, struct ne_reply *reply)
{
	fill_reply(slot, reply);
	return 0;
}

static const struct command commands[NE_CMD_MAX] = {
	[NE_CMD_ENCLAVE_START] = { A_NEW_SLOT, cmd_enclave_start },
	[NE_CMD_ENCLAVE_GET_SLOT] = { NO_SLOT, cmd_enclave_get_slot },
	[NE_CMD_ENCLAVE_STOP] = { A_SLOT, cmd_enclave_stop },
	[NE_CMD_SLOT_ALLOC] = { NO_SLOT, cmd_slot_alloc },
	[NE_CMD_SLOT_FREE] = { A_SLOT, cmd_slot_free },
	[NE_CMD_SLOT_ADD_MEM] = { A_NEW_SLOT, cmd_slot_add_mem },
	[NE_CMD_SLOT_ADD_VCPU] = { A_NEW_SLOT, cmd_slot_add_vcpu },
	[NE_CMD_SLOT_COUNT] = { NO_SLOT, cmd_slot_count },
	[NE_CMD_NEXT_SLOT] = { NO_SLOT, cmd_next_slot },
	[NE_CMD_SLOT_INFO] = { A_SLOT, cmd_slot_info },
	[NE_CMD_SLOT_ADD_BULK_VCPUS] = { A_NEW_SLOT, cmd_slot_add_bulk_vcpus },
};

static int execute(struct device *device, const struct command *command, const void *payload,
	struct ne_reply *reply)
{
	const struct ne_req_slot *head = payload;
	struct slot *slot = NULL;

	if (command->subject != NO_SLOT) {
		slot = slots_find(device->slots, head->slot_uid);
		if (!slot)
			return -ENOENT;
		if (command->subject == A_NEW_SLOT && slot->state != NE_SLOT_INIT)
			return -EBUSY;
	}
	return command->execute(device, slot, payload, reply);
}

void command_execute(
	struct device *device, uint32_t command, const uint8_t *payload, struct ne_reply *reply)
{
	/* Aligned, and all of a request there whatever was written. */
	uint64_t request[NE_DATA_SIZE / sizeof(uint64_t)];

	memset(reply, 0, sizeof(*reply));
	memcpy(request, payload, sizeof(request));
	if (!device->enabled)
		reply->rc = -ENODEV;
	else if (command >= NE_CMD_MAX || !commands[command].execute)
		reply->rc = -EINVAL;
	else if (device->effect.fail)
		reply->rc = -device->effect.fail;
	else
		reply->rc = execute(device, &commands[command], request, reply);
}
