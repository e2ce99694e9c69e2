/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the device's commands do. What a real device would do differently is not known: its rc
 * values and limits here are inventions (docs/device.md). */
#include "device_internal.h"
#include "vm_console.h"
#include "vm_keeper.h"
#include <errno.h>
#include <inttypes.h>
#include <nefs/bell.h>
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

/* ---- VMs, which take their time ---- */

static void drop_keeper(struct device *device, struct slot *slot)
{
	struct vm_keeper *keeper = slot->keeper;

	slot->keeper = NULL;
	slot->watch = sd_event_source_disable_unref(slot->watch);
	/* At once, if the VM's end is there already. */
	pthread_mutex_unlock(&device->lock);
	vm_keeper_free(keeper);
	pthread_mutex_lock(&device->lock);
}

static void drop_console(struct slot *slot)
{
	vm_console_free(slot->console);
	slot->console = NULL;
}

/* What the slot's job waited for is done. Lock held; given up meanwhile. */
static void finish_job(struct device *device, struct slot *slot, int rc)
{
	struct ne_reply reply = { .rc = rc };

	if (!slot->job)
		return;
	if (!rc)
		fill_reply(slot, &reply);
	slot->job = 0;
	if (!device->patient) {
		device_answer_waiting(device, &reply);
		return;
	}
	slot->result = reply;
	slot->has_result = true;
	pthread_mutex_unlock(&device->lock);
	device->raise(device->context, DEVICE_VECTOR_RESULT);
	pthread_mutex_lock(&device->lock);
}

/* Begins to read the console of a VM that was just started in debug mode. */
static int open_console(struct device *device, struct slot *slot)
{
	int fd = vm_keeper_console(slot->keeper);

	if (fd < 0)
		return fd == -ENOTCONN ? 0 : fd;
	slot->console = vm_console_new(device->event, fd);
	return slot->console ? 0 : -errno;
}

/* Its start has failed, and nothing of it is left. Returns the rc. */
static int undo_start(struct device *device, struct slot *slot, int rc)
{
	drop_keeper(device, slot);
	drop_console(slot);
	slots_clear_cid(device->slots, slot);
	slot->state = NE_SLOT_INIT;
	slot->start_code = 0;
	return rc;
}

/* The VM has been started, or not. 0 or the start's rc; -EINPROGRESS: what was started is ended again first. */
static int begun(struct device *device, struct slot *slot, enum vm_stage stage)
{
	struct nefs_error err = { 0 };
	int result = vm_keeper_outcome(slot->keeper, &err);

	snprintf(slot->explain, sizeof(slot->explain), "%.*s", SLOT_EXPLAIN_SIZE - 1, err.text);
	if (result)
		return undo_start(device, slot, result);
	if (slot->flags & 1)
		result = open_console(device, slot);
	if (!result) {
		slot->state = NE_SLOT_RUNNING;
		return 0;
	}
	if (stage == VM_ENDED)
		return undo_start(device, slot, result);
	slot->start_code = result;
	vm_keeper_kill(slot->keeper);
	return -EINPROGRESS;
}

/* The VM has ended. Lock held; given up meanwhile. Returns whether an event is due. */
static bool ended(struct device *device, struct slot *slot)
{
	char how[SLOT_EXPLAIN_SIZE];
	bool event = slot->state == NE_SLOT_RUNNING;

	if (slot->start_code) {
		finish_job(device, slot, undo_start(device, slot, slot->start_code));
		return false;
	}
	/* First, so that whoever hears of the end finds all that came before it. */
	if (slot->console)
		vm_console_finish(slot->console);
	vm_keeper_describe_end(slot->keeper, how, sizeof(how));
	drop_keeper(device, slot);
	command_slot_died(device, slot, how);
	if (slot->job != NE_CMD_SLOT_FREE)
		finish_job(device, slot, 0);
	return event;
}

/* What was to be done with the slot after its VM's end. Lock held; given up meanwhile. */
static void follow_up(struct device *device, struct slot *slot)
{
	const struct ne_reply reply = { 0 };
	bool waits = slot->job == NE_CMD_SLOT_FREE;

	if (!waits && !slot->unowned)
		return;
	command_release_slot(device, slot);
	if (waits)
		device_answer_waiting(device, &reply);
}

/* Lock held; given up meanwhile. Returns whether an event is due. */
static bool take_news(struct device *device, struct slot *slot)
{
	enum vm_stage stage = vm_keeper_stage(slot->keeper);
	bool event = false;
	int result = 0;

	if (stage == VM_STARTING)
		return false;
	if (slot->job == NE_CMD_ENCLAVE_START && !slot->start_code) {
		result = begun(device, slot, stage);
		if (result == -EINPROGRESS)
			return false;
		if (slot->unowned)
			command_kill_vm(slot);
		finish_job(device, slot, result);
	}
	if (slot->keeper && stage == VM_ENDED)
		event = ended(device, slot);
	if (!slot->keeper)
		follow_up(device, slot);
	return event;
}

static int on_news(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct slot *slot = userdata;
	struct device *device = slot->device;
	bool event;

	nefs_bell_silence(fd);
	pthread_mutex_lock(&device->lock);
	event = take_news(device, slot);
	pthread_mutex_unlock(&device->lock);
	if (event)
		device->raise(device->context, NE_PCI_VECTOR_EVENT);
	return 0;
}

/* The end that follows is nobody's surprise. */
void command_kill_vm(struct slot *slot)
{
	slot->state = NE_SLOT_STOPPED;
	if (slot->keeper)
		vm_keeper_kill(slot->keeper);
}

/* Has the VM's end, if it is not there yet, waited for by a job. 0: it is there. */
static int await_end(struct device *device, struct slot *slot, uint32_t job)
{
	if (slot->keeper && vm_keeper_stage(slot->keeper) == VM_ENDED)
		ended(device, slot);
	if (!slot->keeper)
		return 0;
	slot->job = job;
	slot->has_result = false;
	return -EINPROGRESS;
}

void command_end_silently(struct device *device, struct slot *slot)
{
	snprintf(slot->explain, sizeof(slot->explain), "it was made to stop without an event");
	command_kill_vm(slot);
	await_end(device, slot, 0);
}

void command_release_slot(struct device *device, struct slot *slot)
{
	command_kill_vm(slot);
	drop_keeper(device, slot);
	drop_console(slot);
	slots_release(device->slots, slot);
}

/* Makes the keeper of the slot's VM, which begins to start it. */
static int make_keeper(struct device *device, struct slot *slot)
{
	struct dma_view memory = { 0 };
	struct nefs_error err = { 0 };
	struct vm_config config = {
		.cid = slot->cid,
		.vcpus = (uint32_t)slot->nr_vcpus,
		.debug = slot->flags & 1,
		.uid = slot->owner,
		.gid = slot->group,
	};
	NEFS_AUTO_FREE char *vsock = NULL;
	int result = 0;

	if (device->vsock &&
		asprintf(&vsock, "%s/%" PRIu64 ".sock", device->vsock, slot->cid) < 0) {
		vsock = NULL;
		return -ENOMEM;
	}
	config.vsock = vsock;
	for (const struct slot_region *region = slot->regions; !result && region;
		region = region->next)
		result = dma_view_append(&memory, &device->dma, region->paddr, region->size);
	config.memory = &memory;
	if (!result)
		result = vm_keeper_new(device->vm, &config, &memory, &slot->keeper, &err);
	dma_view_clear(&memory);
	snprintf(slot->explain, sizeof(slot->explain), "%.*s", SLOT_EXPLAIN_SIZE - 1, err.text);
	return result;
}

/* Begins to start the VM of a slot: 0 if that is done, or the rc, or -EINPROGRESS. */
static int start_vm(struct device *device, struct slot *slot)
{
	int result = make_keeper(device, slot), fd;

	if (result)
		return result;
	fd = vm_keeper_news(slot->keeper);
	if (fd < 0)
		return begun(device, slot, vm_keeper_stage(slot->keeper));
	result = sd_event_add_io(device->event, &slot->watch, fd, EPOLLIN, on_news, slot);
	sd_event_source_set_description(slot->watch, "VM news");
	if (result < 0) {
		drop_keeper(device, slot);
		return result;
	}
	slot->job = NE_CMD_ENCLAVE_START;
	slot->has_result = false;
	return -EINPROGRESS;
}

/* ---- the commands ---- */

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
	if (!result)
		fill_reply(slot, reply);
	else if (result != -EINPROGRESS)
		slots_clear_cid(device->slots, slot);
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
	int result;

	if (slot->state == NE_SLOT_INIT)
		return -EINVAL;
	command_kill_vm(slot);
	result = await_end(device, slot, NE_CMD_ENCLAVE_STOP);
	if (!result)
		fill_reply(slot, reply);
	return result;
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
	int result;

	if (slot->state == NE_SLOT_RUNNING)
		return -EBUSY;
	/* Whoever gave up waiting for its start has given up the slot: it must not run without anybody. */
	if (slot->job) {
		slot->unowned = true;
		return -EBUSY;
	}
	command_kill_vm(slot);
	result = await_end(device, slot, NE_CMD_SLOT_FREE);
	if (!result)
		command_release_slot(device, slot);
	return result;
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
		if (command->subject == A_NEW_SLOT && (slot->state != NE_SLOT_INIT || slot->keeper))
			return -EBUSY;
	}
	return command->execute(device, slot, payload, reply);
}

/* The reply of the slot's last job: DEVICE_CMD_RESULT. */
static int take_result(struct device *device, const void *payload, struct ne_reply *reply)
{
	const struct ne_req_slot *head = payload;
	struct slot *slot = slots_find(device->slots, head->slot_uid);

	if (!slot || (!slot->job && !slot->has_result))
		return -ENOENT;
	if (slot->job)
		return DEVICE_RC_LATER;
	*reply = slot->result;
	slot->has_result = false;
	return reply->rc;
}

bool command_execute(
	struct device *device, uint32_t command, const uint8_t *payload, struct ne_reply *reply)
{
	/* Aligned, and all of a request there whatever was written. */
	uint64_t request[NE_DATA_SIZE / sizeof(uint64_t)];
	int rc;

	memset(reply, 0, sizeof(*reply));
	memcpy(request, payload, sizeof(request));
	if (!device->enabled)
		rc = -ENODEV;
	else if (device->patient && command == DEVICE_CMD_RESULT)
		rc = take_result(device, request, reply);
	else if (command >= NE_CMD_MAX || !commands[command].execute)
		rc = -EINVAL;
	else if (device->effect.fail)
		rc = -device->effect.fail;
	else
		rc = execute(device, &commands[command], request, reply);
	/* The plan may have any errno in it, but then it has not been executed. */
	if (rc == -EINPROGRESS && !device->effect.fail) {
		if (!device->patient)
			return false;
		rc = DEVICE_RC_LATER;
	}
	reply->rc = rc;
	return true;
}
