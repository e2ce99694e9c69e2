/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The driver's side of the PCI interface. */
#include "driver.h"
#include <errno.h>
#include <nefs/clock.h>
#include <string.h>
#include <unistd.h>

void request_interrupt(void *context, unsigned int vector)
{
	struct sim *sim = context;

	pthread_mutex_lock(&sim->irq);
	if (vector == NE_PCI_VECTOR_REPLY) {
		pthread_cond_signal(&sim->reply);
	} else if (vector == DEVICE_VECTOR_RESULT) {
		sim->results++;
		pthread_cond_broadcast(&sim->result);
	} else {
		sim->event_raised = true;
		pthread_cond_signal(&sim->event);
	}
	pthread_mutex_unlock(&sim->irq);
}

static uint16_t reply_count(struct sim *sim)
{
	uint32_t counters;

	device_read(sim->device, NE_REG_EVTCNT, &counters, sizeof(counters));
	return (uint16_t)counters;
}

/* Waits until the device has answered once more than before. 0 or -ETIMEDOUT. */
static int wait_for_reply(struct sim *sim, uint16_t before)
{
	const struct timespec until = nefs_deadline_ms(sim->reply_timeout_ms);
	int waited = 0;

	pthread_mutex_lock(&sim->irq);
	/* The counter, as the vector may still be that of an earlier reply. */
	while (reply_count(sim) == before && !waited)
		waited = pthread_cond_timedwait(&sim->reply, &sim->irq, &until);
	if (waited && reply_count(sim) != before)
		waited = 0;
	pthread_mutex_unlock(&sim->irq);
	return waited ? -ETIMEDOUT : 0;
}

int request_send(
	struct sim *sim, uint32_t command, const void *payload, size_t size, struct ne_reply *reply)
{
	uint16_t before;
	int result;

	memset(reply, 0, sizeof(*reply));
	/* A child that inherited the object has nobody to answer it, and maybe locks in any state. */
	if (sim->owner != getpid())
		return -EIO;
	pthread_mutex_lock(&sim->request);
	/* A command that had no reply in time gets none from here on: the count stands still. */
	device_write(sim->device, NE_REG_SEND_DATA, payload, size);
	before = reply_count(sim);
	device_write(sim->device, NE_REG_COMMAND, &command, sizeof(command));
	result = wait_for_reply(sim, before);
	if (!result) {
		device_read(sim->device, NE_REG_RECV_DATA, reply, sizeof(*reply));
		result = reply->rc;
	}
	pthread_mutex_unlock(&sim->request);
	return result;
}

int request_slot(struct sim *sim, uint32_t command, uint64_t slot_uid, struct ne_reply *reply)
{
	const struct ne_req_slot payload = { .slot_uid = slot_uid };

	return request_send(sim, command, &payload, sizeof(payload), reply);
}

static uint64_t result_count(struct sim *sim)
{
	uint64_t count;

	pthread_mutex_lock(&sim->irq);
	count = sim->results;
	pthread_mutex_unlock(&sim->irq);
	return count;
}

/* Waits until there are more of them than *seen, and counts those. 0 or -ETIMEDOUT. */
static int wait_for_result(struct sim *sim, uint64_t *seen, const struct timespec *until)
{
	int waited = 0;

	pthread_mutex_lock(&sim->irq);
	while (sim->results == *seen && !waited)
		waited = pthread_cond_timedwait(&sim->result, &sim->irq, until);
	if (sim->results != *seen)
		waited = 0;
	*seen = sim->results;
	pthread_mutex_unlock(&sim->irq);
	return waited ? -ETIMEDOUT : 0;
}

int request_send_long(struct sim *sim, uint32_t command, uint64_t slot_uid, const void *payload,
	size_t size, struct ne_reply *reply)
{
	const struct timespec until = nefs_deadline_ms(sim->reply_timeout_ms);
	uint64_t seen = result_count(sim);
	int result = request_send(sim, command, payload, size, reply);

	while (result == DEVICE_RC_LATER) {
		result = wait_for_result(sim, &seen, &until);
		if (!result)
			result = request_slot(sim, DEVICE_CMD_RESULT, slot_uid, reply);
		else
			memset(reply, 0, sizeof(*reply));
	}
	return result;
}

int request_slot_long(struct sim *sim, uint32_t command, uint64_t slot_uid, struct ne_reply *reply)
{
	const struct ne_req_slot payload = { .slot_uid = slot_uid };

	return request_send_long(sim, command, slot_uid, &payload, sizeof(payload), reply);
}
