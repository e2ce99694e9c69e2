/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device's inside, shared by its registers (device.c), commands (commands.c). */
#ifndef NEFS_SIM_DEVICE_INTERNAL_H
#define NEFS_SIM_DEVICE_INTERNAL_H

#include "device.h"
#include "dma.h"
#include "faults.h"
#include "slots.h"
#include <pthread.h>
#include <systemd/sd-event.h>

/* A slot whose enclave somebody wants dead. */
struct device_victim {
	uint64_t slot_uid;
	bool silent; /* without an event */
};

struct device {
	const struct vm_ops *vm;
	device_raise raise;
	void *context;
	pthread_t thread;
	sd_event *event;	/* the thread's */
	sd_event_source *delay; /* the thread's: ends a delayed command */
	int doorbell;		/* eventfd: something below has changed */

	pthread_mutex_t lock; /* everything below */
	uint8_t enabled;
	uint16_t version;
	uint16_t replies, events; /* NE_REG_EVTCNT */
	uint8_t send[NE_DATA_SIZE];
	uint8_t receive[NE_DATA_SIZE];

	bool patient;	 /* device_set_patient */
	bool waits;	 /* the command under way waits for a VM */
	bool rung;	 /* a command has been written and not begun */
	uint64_t serial; /* of the last command; one more with all that makes it obsolete */
	uint64_t begun;	 /* serial of the command under way, or of the last one */
	uint32_t command;
	uint8_t payload[NE_DATA_SIZE];
	bool disable;	       /* NE_ENABLE was written 0 */
	unsigned int spurious; /* events without a cause that are wanted */
	struct device_victim *victims;
	size_t victim_count;
	bool closing;

	struct fault_plan faults;
	struct fault_effect effect; /* of the command that is under way */
	struct slots *slots;
	struct dma_map dma;
	char *vsock; /* directory of vsock devices, or NULL */
};

/*
 * Executes a command, device thread, lock held. Fills *reply and returns true; or returns false: the slot's job
 * is to be waited for.
 */
bool command_execute(
	struct device *device, uint32_t command, const uint8_t *payload, struct ne_reply *reply);

/* A command that command_execute has left waiting is done. Device thread, lock held (given up meanwhile). */
void device_answer_waiting(struct device *device, const struct ne_reply *reply);

/*
 * Takes a slot with all it has back. Device thread, lock held (given up while a VM is ended, which is waited for).
 */
void command_release_slot(struct device *device, struct slot *slot);

/* Begins to end its VM, if it has one. Device thread, lock held. */
void command_kill_vm(struct slot *slot);

/* The slot's enclave ends here and now, and no event says so. As above. */
void command_end_silently(struct device *device, struct slot *slot);

/* The slot's enclave has ended by itself: marks it and counts the event. Lock held. */
void command_slot_died(struct device *device, struct slot *slot, const char *how);

#endif
