/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device's registers and its thread. */
#include "device.h"
#include "device_internal.h"
#include "vm_console.h"
#include "vm_keeper.h"
#include <errno.h>
#include <inttypes.h>
#include <nefs/bell.h>
#include <nefs/cleanup.h>
#include <nefs/clock.h>
#include <nefs/shortage.h>
#include <nefs/thread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- registers ---- */

/* Copies the part of a register block that an access covers. */
static void read_block(uint64_t base, const void *block, size_t block_size, uint64_t offset,
	uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (offset + i >= base && offset + i - base < block_size)
			data[i] = ((const uint8_t *)block)[offset + i - base];
}

void device_read(struct device *device, uint64_t offset, void *data, size_t size)
{
	uint8_t enabled;
	uint32_t counters;

	memset(data, 0, size);
	if (offset >= NE_PCI_REGISTERS_SIZE || size > NE_PCI_REGISTERS_SIZE - offset)
		return;
	pthread_mutex_lock(&device->lock);
	counters = (uint32_t)device->events << 16 | device->replies;
	enabled = device->enabled || device->disable;
	read_block(NE_REG_ENABLE, &enabled, 1, offset, data, size);
	read_block(NE_REG_VERSION, &device->version, 2, offset, data, size);
	read_block(NE_REG_EVTCNT, &counters, 4, offset, data, size);
	read_block(NE_REG_SEND_DATA, device->send, NE_DATA_SIZE, offset, data, size);
	read_block(NE_REG_RECV_DATA, device->receive, NE_DATA_SIZE, offset, data, size);
	pthread_mutex_unlock(&device->lock);
}

/*
 * There is one buffer for requests and one for replies: whoever writes to the first has given up
 * waiting for the second. The command under way, if any, is not answered any more, so that a late
 * reply can never be taken for the next command's. Lock held.
 */
static void abandon_command(struct device *device)
{
	device->serial++;
	device->rung = false;
}

static void write_enable(struct device *device, uint8_t value)
{
	if (value == 1) {
		device->enabled = 1;
	} else if (value == 0) {
		/* Of a device that is disabled, too: it has counters and buffers, and may have a
		 * command that says so under way. */
		device->disable = true;
		abandon_command(device);
	}
}

void device_write(struct device *device, uint64_t offset, const void *data, size_t size)
{
	const uint8_t *bytes = data;
	bool wake = false;

	if (offset >= NE_PCI_REGISTERS_SIZE || size > NE_PCI_REGISTERS_SIZE - offset)
		return;
	pthread_mutex_lock(&device->lock);
	if (offset == NE_REG_ENABLE && size == 1) {
		write_enable(device, bytes[0]);
		wake = device->disable;
	} else if (offset == NE_REG_VERSION && size == 2) {
		memcpy(&device->version, bytes, 2);
		if (device->version > NE_VERSION_MAX)
			device->version = NE_VERSION_MAX;
	} else if (offset == NE_REG_COMMAND && size == 4) {
		abandon_command(device);
		memcpy(&device->command, bytes, 4);
		memcpy(device->payload, device->send, NE_DATA_SIZE);
		device->rung = true;
		wake = true;
	} else if (offset >= NE_REG_SEND_DATA && offset < NE_REG_SEND_DATA + NE_DATA_SIZE &&
		   size <= NE_REG_SEND_DATA + NE_DATA_SIZE - offset) {
		abandon_command(device);
		memcpy(device->send + (offset - NE_REG_SEND_DATA), bytes, size);
	}
	pthread_mutex_unlock(&device->lock);
	if (wake)
		nefs_bell_ring(device->doorbell);
}

/* ---- the thread ---- */

/* Unless the command was abandoned meanwhile. Lock held; given up to raise the vector. */
static void give_reply(struct device *device, const struct ne_reply *reply)
{
	if (device->begun != device->serial)
		return;
	memset(device->receive, 0, NE_DATA_SIZE);
	memcpy(device->receive, reply, sizeof(*reply));
	device->replies++;
	pthread_mutex_unlock(&device->lock);
	device->raise(device->context, NE_PCI_VECTOR_REPLY);
	pthread_mutex_lock(&device->lock);
}

/* Executes the command and answers it, or leaves it waiting for a VM. Lock held; given up as above. */
static void answer(struct device *device)
{
	struct ne_reply reply;
	uint32_t command = device->command;
	uint8_t payload[NE_DATA_SIZE];

	memcpy(payload, device->payload, sizeof(payload));
	if (command_execute(device, command, payload, &reply))
		give_reply(device, &reply);
	else
		device->waits = true;
}

void device_answer_waiting(struct device *device, const struct ne_reply *reply)
{
	if (!device->waits)
		return;
	device->waits = false;
	give_reply(device, reply);
	/* The next one, if it was written already: not here, amid what a slot is told. */
	if (device->rung)
		nefs_bell_ring(device->doorbell);
}

static int on_delay(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct device *device = userdata;

	pthread_mutex_lock(&device->lock);
	if (device->begun == device->serial)
		answer(device);
	pthread_mutex_unlock(&device->lock);
	return 0;
}

/* A new command: faults first. Lock held. */
static void begin_command(struct device *device)
{
	uint64_t now;

	device->rung = false;
	device->begun = device->serial;
	sd_event_source_set_enabled(device->delay, SD_EVENT_OFF);
	device->effect = fault_plan_strike(&device->faults, device->command);
	if (device->effect.drop)
		return;
	if (device->effect.delay_ms) {
		sd_event_now(device->event, CLOCK_MONOTONIC, &now);
		sd_event_source_set_time(
			device->delay, now + (uint64_t)device->effect.delay_ms * 1000);
		sd_event_source_set_enabled(device->delay, SD_EVENT_ONESHOT);
		return;
	}
	answer(device);
}

/* Lock held; given up meanwhile. */
static void free_all_slots(struct device *device)
{
	/* All before the first is waited for. */
	for (size_t i = slots_count(device->slots); i-- > 0;)
		command_kill_vm(slots_at(device->slots, i));
	for (size_t i = slots_count(device->slots); i-- > 0;)
		command_release_slot(device, slots_at(device->slots, i));
	device->waits = false;
}

/* NE_ENABLE was written 0: back to how the device came to the world, but for its uids. Lock held. */
static void reset(struct device *device)
{
	sd_event_source_set_enabled(device->delay, SD_EVENT_OFF);
	free_all_slots(device);
	device->disable = false;
	device->enabled = 0;
	device->version = 0;
	device->replies = 0;
	device->events = 0;
	memset(device->send, 0, sizeof(device->send));
	memset(device->receive, 0, sizeof(device->receive));
}

/* Lock held. Returns whether an event is due. */
static bool crash_slots(struct device *device)
{
	bool event = false;

	/* The lock is given up below: there may be more of them then, and the list elsewhere. */
	for (size_t i = 0; i < device->victim_count; i++) {
		const struct device_victim victim = device->victims[i];
		struct slot *slot = slots_find(device->slots, victim.slot_uid);

		if (!slot || slot->state != NE_SLOT_RUNNING)
			continue;
		if (victim.silent) {
			command_end_silently(device, slot);
			continue;
		}
		if (slot->keeper && vm_keeper_crash(slot->keeper))
			continue; /* its end comes as an event of its own */
		command_slot_died(device, slot, "it was made to crash by sim/crash");
		event = true;
	}
	device->victim_count = 0;
	return event;
}

static int on_doorbell(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct device *device = userdata;
	bool event;

	nefs_bell_silence(fd);
	pthread_mutex_lock(&device->lock);
	if (device->closing)
		sd_event_exit(device->event, 0);
	if (device->disable)
		reset(device);
	if (device->rung && !device->waits)
		begin_command(device);
	event = crash_slots(device);
	if (device->spurious) {
		device->events = (uint16_t)(device->events + device->spurious);
		device->spurious = 0;
		event = true;
	}
	pthread_mutex_unlock(&device->lock);
	if (event)
		device->raise(device->context, NE_PCI_VECTOR_EVENT);
	return 0;
}

static void *device_main(void *argument)
{
	struct device *device = argument;
	struct nefs_shortage shortage = { 0 };

	nefs_event_loop(device->event, &shortage);
	pthread_mutex_lock(&device->lock);
	free_all_slots(device);
	pthread_mutex_unlock(&device->lock);
	return NULL;
}

/* ---- life ---- */

/*
 * The loop and its sources; used by this thread only until the device's thread is started. Returns 0
 * or a negative errno.
 */
static int make_loop(struct device *device)
{
	sd_event_source *doorbell = NULL;
	int result;

	device->doorbell = nefs_bell_new();
	if (device->doorbell < 0)
		return device->doorbell;
	result = sd_event_new(&device->event);
	if (result >= 0)
		result = sd_event_add_io(
			device->event, &doorbell, device->doorbell, EPOLLIN, on_doorbell, device);
	if (result >= 0)
		result = sd_event_add_time(device->event, &device->delay, CLOCK_MONOTONIC, 0,
			NEFS_TIMER_ACCURACY_USEC, on_delay, device);
	if (result >= 0)
		result = sd_event_source_set_enabled(device->delay, SD_EVENT_OFF);
	sd_event_source_set_description(doorbell, "doorbell");
	sd_event_source_set_description(device->delay, "delayed reply");
	/* The loop's own from here on: it goes with it. */
	sd_event_source_set_floating(doorbell, true);
	sd_event_source_unref(doorbell);
	return result < 0 ? result : 0;
}

static void free_loop(struct device *device)
{
	sd_event_source_unref(device->delay);
	sd_event_unref(device->event);
	if (device->doorbell >= 0)
		close(device->doorbell);
}

int device_new(const struct vm_ops *vm, device_raise raise, void *context, struct device **result,
	struct nefs_error *err)
{
	NEFS_AUTO_FREE struct device *device = calloc(1, sizeof(*device));
	int failed;

	if (!device)
		return nefs_error_set(err, ENOMEM, "out of memory for the simulated device");
	device->vm = vm;
	device->raise = raise;
	device->context = context;
	device->doorbell = -1;
	pthread_mutex_init(&device->lock, NULL);
	device->slots = slots_new();
	failed = device->slots ? make_loop(device) : -ENOMEM;
	if (!failed)
		failed = nefs_thread_start(&device->thread, device_main, device);
	if (failed) {
		free_loop(device);
		slots_free(device->slots);
		pthread_mutex_destroy(&device->lock);
		return nefs_error_set(
			err, -failed, "cannot start the simulated device: %s", strerror(-failed));
	}
	*result = nefs_take_ptr(device);
	return 0;
}

void device_free(struct device *device)
{
	if (!device)
		return;
	pthread_mutex_lock(&device->lock);
	device->closing = true;
	pthread_mutex_unlock(&device->lock);
	nefs_bell_ring(device->doorbell);
	pthread_join(device->thread, NULL);
	free_loop(device);
	dma_map_clear(&device->dma);
	slots_free(device->slots);
	free(device->victims);
	free(device->vsock);
	pthread_mutex_destroy(&device->lock);
	free(device);
}

/* ---- beside the registers ---- */

/* Has the device's thread end the enclave in a slot. */
static int end_enclave(
	struct device *device, uint64_t slot_uid, bool silent, struct nefs_error *err)
{
	struct device_victim *bigger = NULL;
	struct slot *slot;
	bool runs;

	pthread_mutex_lock(&device->lock);
	slot = slots_find(device->slots, slot_uid);
	runs = slot && slot->state == NE_SLOT_RUNNING;
	if (runs) {
		bigger = reallocarray(device->victims, device->victim_count + 1, sizeof(*bigger));
		if (bigger) {
			device->victims = bigger;
			bigger[device->victim_count++] = (struct device_victim){ slot_uid, silent };
		}
	}
	pthread_mutex_unlock(&device->lock);
	if (runs && !bigger)
		return nefs_error_set(
			err, ENOMEM, "out of memory for a crash of slot 0x%" PRIx64, slot_uid);
	if (!bigger)
		return nefs_error_set(err, ESRCH,
			"no enclave runs in slot 0x%" PRIx64 ", so none can crash", slot_uid);
	nefs_bell_ring(device->doorbell);
	return 0;
}

int device_crash(struct device *device, uint64_t slot_uid, struct nefs_error *err)
{
	return end_enclave(device, slot_uid, false, err);
}

int device_stop_silently(struct device *device, uint64_t slot_uid, struct nefs_error *err)
{
	return end_enclave(device, slot_uid, true, err);
}

void device_raise_spurious(struct device *device)
{
	pthread_mutex_lock(&device->lock);
	device->spurious++;
	pthread_mutex_unlock(&device->lock);
	nefs_bell_ring(device->doorbell);
}

int device_set_faults(struct device *device, const char *text, size_t size, struct nefs_error *err)
{
	struct fault_plan plan;
	unsigned int spurious;
	int failed = fault_plan_parse(text, size, &plan, &spurious, err);

	if (failed)
		return failed;
	pthread_mutex_lock(&device->lock);
	device->faults = plan;
	device->spurious += spurious;
	pthread_mutex_unlock(&device->lock);
	if (spurious)
		nefs_bell_ring(device->doorbell);
	return 0;
}

char *device_slots(struct device *device)
{
	char *text;

	pthread_mutex_lock(&device->lock);
	text = slots_text(device->slots);
	pthread_mutex_unlock(&device->lock);
	return text;
}

int device_dma_map(struct device *device, uint64_t iova, uint64_t size, int fd, uint64_t offset)
{
	int result;

	pthread_mutex_lock(&device->lock);
	result = dma_map_add(&device->dma, iova, size, fd, offset);
	pthread_mutex_unlock(&device->lock);
	return result;
}

int device_dma_map_hidden(struct device *device, uint64_t iova, uint64_t size)
{
	int result;

	pthread_mutex_lock(&device->lock);
	result = dma_map_add_hidden(&device->dma, iova, size);
	pthread_mutex_unlock(&device->lock);
	return result;
}

int device_dma_unmap(struct device *device, uint64_t iova, uint64_t size)
{
	int result;

	pthread_mutex_lock(&device->lock);
	result = dma_map_remove(&device->dma, iova, size);
	pthread_mutex_unlock(&device->lock);
	return result;
}

int device_set_vsock(struct device *device, const char *directory)
{
	char *copy = strdup(directory);

	if (!copy)
		return -ENOMEM;
	pthread_mutex_lock(&device->lock);
	free(device->vsock);
	device->vsock = copy;
	pthread_mutex_unlock(&device->lock);
	return 0;
}

void device_set_patient(struct device *device)
{
	pthread_mutex_lock(&device->lock);
	device->patient = true;
	pthread_mutex_unlock(&device->lock);
}

void device_set_regions_max(struct device *device, uint64_t max)
{
	pthread_mutex_lock(&device->lock);
	slots_set_regions_max(device->slots, max);
	pthread_mutex_unlock(&device->lock);
}

void device_own(struct device *device, uint64_t slot_uid, uid_t uid, gid_t gid)
{
	struct slot *slot;

	pthread_mutex_lock(&device->lock);
	slot = slots_find(device->slots, slot_uid);
	if (slot) {
		slot->owner = uid;
		slot->group = gid;
	}
	pthread_mutex_unlock(&device->lock);
}

uint64_t device_slot_of_cid(struct device *device, uint64_t cid)
{
	const struct slot *slot;
	uint64_t uid;

	pthread_mutex_lock(&device->lock);
	slot = slots_find_cid(device->slots, cid);
	uid = slot ? slot->uid : 0;
	pthread_mutex_unlock(&device->lock);
	return uid;
}

int device_console(struct device *device, uint64_t slot_uid)
{
	struct slot *slot;
	int fd = -ENOTCONN;

	pthread_mutex_lock(&device->lock);
	slot = slots_find(device->slots, slot_uid);
	if (slot && slot->console)
		fd = vm_console_attach(slot->console);
	pthread_mutex_unlock(&device->lock);
	return fd;
}

bool device_explain(struct device *device, uint64_t slot_uid, char *text, size_t size)
{
	struct slot *slot;
	bool known;

	pthread_mutex_lock(&device->lock);
	slot = slots_find(device->slots, slot_uid);
	known = slot && slot->explain[0];
	snprintf(text, size, "%s", known ? slot->explain : "");
	pthread_mutex_unlock(&device->lock);
	return known;
}
