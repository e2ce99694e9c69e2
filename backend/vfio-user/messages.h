/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a vfio-user client sees: the Nitro Enclaves device (backend/sim/device.h) as a PCI function.
 *
 * Knows messages, not sockets, so that tests and a fuzzer can send it anything. Whatever a message
 * says is answered, at worst by an error. Loop thread, but for the interrupts that the device raises.
 */
#ifndef NEFS_VFIO_USER_MESSAGES_H
#define NEFS_VFIO_USER_MESSAGES_H

#include "device.h"
#include "interrupts.h"
#include "pci_config.h"
#include "protocol.h"
#include <stdbool.h>

struct vfio_user {
	struct device *device; /* not owned */
	struct interrupts interrupts;
	struct pci_config config;
	bool greeted; /* the client's VERSION was accepted */
};

/* One message of a client. */
struct vfio_user_message {
	struct vfio_user_header header;
	const uint8_t *payload; /* header.size - sizeof(header) bytes */
	size_t size;		/* of the payload */
	int fds[VFIO_USER_FDS_MAX];
	size_t fd_count;
};

/* Begins with no client. The device is set before the first message; it raises by interrupts_raise. */
void vfio_user_init(struct vfio_user *user);

/*
 * Does what a message asks for. Fds that are kept are taken out of it (-1); the rest stays the
 * caller's. Writes the reply to send, at most VFIO_USER_MESSAGE_MAX bytes, and returns its size: 0
 * if the client wants none.
 */
size_t vfio_user_handle(struct vfio_user *user, struct vfio_user_message *message,
	uint8_t reply[VFIO_USER_MESSAGE_MAX]);

/*
 * The client is gone: no vector, no memory, configuration space as at first, and the device is
 * being reset: NE_REG_ENABLE reads 0 once that is done.
 */
void vfio_user_forget_client(struct vfio_user *user);

/* The device must not raise any more. */
void vfio_user_destroy(struct vfio_user *user);

#endif
