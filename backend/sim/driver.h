/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inside of the simulated driver: what Linux's nitro_enclaves module is to the real device
 * (docs/facts/driver.md §1). Its ioctls: ioctls.c; its talk with the device: requests.c; fds, life and
 * the ne_dev around it: driver.c.
 */
#ifndef NEFS_SIM_DRIVER_H
#define NEFS_SIM_DRIVER_H

#include "cpu_pool.h"
#include "device.h"
#include "memory.h"
#include "sim.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

enum enclave_fd_state {
	ENCLAVE_INIT,
	ENCLAVE_RUNNING,
	ENCLAVE_STOPPED,
};

/* A range of user addresses that was given to an enclave. */
struct user_region {
	uint64_t address;
	uint64_t size;
	struct memory_run *runs;
	size_t run_count;
};

/* An enclave fd. */
struct enclave_fd {
	LIST_ENTRY(enclave_fd) siblings; /* in sim->enclaves */
	int fd;				 /* of hang_up_new */
	unsigned int refs;		 /* sim->lock */
	pid_t owner;			 /* the process of NE_CREATE_VM */
	atomic_bool passed_over; /* an event was not looked into, as an ioctl was under way */
	uint64_t slot_uid;
	uint64_t regions_max;

	pthread_mutex_t lock; /* everything below */
	enum enclave_fd_state state;
	bool hang_up_owed; /* it has ended, and could not be hung up so far */
	struct cpu_claims cpus;
	size_t vcpu_count;
	struct user_region *regions;
	size_t region_count;
	uint64_t memory;       /* bytes that the device has taken */
	size_t device_regions; /* physically contiguous pieces that it has, of regions_max */
};

struct sim {
	struct ne_dev dev; /* first */
	struct memory *memory;
	struct cpu_pool *cpus;
	struct device *device;
	unsigned int reply_timeout_ms;
	bool exact_fds; /* hang_up_is_exact */
	pid_t owner;	/* the device's thread is in this process only */

	pthread_mutex_t request; /* one request at a time */
	pthread_mutex_t irq;	 /* event_raised, closing */
	pthread_cond_t reply;
	pthread_cond_t event;
	pthread_cond_t result;
	uint64_t results; /* how often some command's that took its time could be had */
	bool event_raised;
	bool closing;
	pthread_t event_thread;

	/*
	 * Held while an event is looked into, and while an enclave fd is closed: without it a close
	 * could return before the enclave's last user, the former, has let go of it. Comes first.
	 */
	pthread_mutex_t scan;

	pthread_mutex_t lock; /* fds, enclaves, refs */
	void *by_fd;	      /* tsearch(3) tree of enclave_fd */
	LIST_HEAD(, enclave_fd) enclaves;
};

/*
 * Sends a command and waits for its reply: 0 or the rc, -ETIMEDOUT after reply_timeout_ms (*reply is
 * all 0 then). Takes sim->request.
 */
int request_send(struct sim *sim, uint32_t command, const void *payload, size_t size,
	struct ne_reply *reply);

/*
 * The same for a command that may take a VM's time: others are sent meanwhile. slot_uid is whose it is.
 */
int request_send_long(struct sim *sim, uint32_t command, uint64_t slot_uid, const void *payload,
	size_t size, struct ne_reply *reply);

/* ... for a payload that is a slot uid alone. */
int request_slot_long(struct sim *sim, uint32_t command, uint64_t slot_uid, struct ne_reply *reply);

/* The same as request_send for such a payload. */
int request_slot(struct sim *sim, uint32_t command, uint64_t slot_uid, struct ne_reply *reply);

/* The vectors' handler, for device_new. */
void request_interrupt(void *context, unsigned int vector);

/* The ioctls of an enclave fd; argument is a user address that can't be trusted. */
int enclave_ioctl(
	struct sim *sim, struct enclave_fd *enclave, unsigned long request, uint64_t argument);

#endif
