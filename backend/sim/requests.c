/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The driver's side of the PCI interface. */
#include "driver.h"
#include <errno.h>
#include <string.h>
#include <time.h>

void request_interrupt(void *context, unsigned int vector)
{
	struct sim *sim = context;

	pthread_mutex_lock(&sim->irq);
	if (vector == NE_PCI_VECTOR_REPLY) {
		sim->reply_raised = true;
		pthread_cond_signal(&sim->reply);
	} else {
		sim->event_raised = true;
		pthread_cond_signal(&sim->event);
	}
	pthread_mutex_unlock(&sim->irq);
}

static int wait_for_reply(struct sim *sim)
{
	struct timespec until;
	int waited = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += sim->reply_timeout_ms / 1000;
	until.tv_nsec += (long)(sim->reply_timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&sim->irq);
	while (!sim->reply_raised && !waited)
		waited = pthread_cond_timedwait(&sim->reply, &sim->irq, &until);
	pthread_mutex_unlock(&sim->irq);
	return waited ? -ETIMEDOUT : 0;
}

int request_send(
	struct sim *sim, uint32_t command, const void *payload, size_t size, struct ne_reply *reply)
{
	int result;

	pthread_mutex_lock(&sim->request);
	device_write(sim->device, NE_REG_SEND_DATA, payload, size);
	/* A reply that came after its time-out belongs to nobody; from the next write on the
	 * device has forgotten the command that it was for. */
	pthread_mutex_lock(&sim->irq);
	sim->reply_raised = false;
	pthread_mutex_unlock(&sim->irq);
	device_write(sim->device, NE_REG_COMMAND, &command, sizeof(command));
	result = wait_for_reply(sim);
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
