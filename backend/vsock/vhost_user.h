/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver's side of a virtio device that another process serves by vhost-user: its two queues of
 * packets, one to receive and one to send.
 *
 * Source: the VIRTIO 1.2 specification, §2.7 (split virtqueues), and QEMU's
 * docs/interop/vhost-user.rst. A packet is a header of fixed size and data, in a descriptor each. The
 * other process shares the memory of queues and packets and nothing else; what it writes there is
 * checked before it is used. Loop thread.
 */
#ifndef NEFS_VSOCK_VHOST_USER_H
#define NEFS_VSOCK_VHOST_USER_H

#include <nefs/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Packets that a queue holds, and bytes of a packet's data at most. */
#define VHOST_PACKETS	  64
#define VHOST_HEADER_SIZE 44 /* struct virtio_vsock_hdr */
#define VHOST_DATA_SIZE	  3584

struct vhost_queue {
	uint8_t *memory;    /* of its rings and packets */
	int kick, kicked;   /* sockets: our end, by which we tell them, and theirs */
	int call;	    /* an eventfd, by which they tell us; see below */
	uint16_t used;	    /* how much of the used ring has been looked at */
	uint16_t available; /* entries made available so far */
	uint64_t idle;	    /* a bit for each packet that is ours */
};

/*
 * The queues' `call` is to be watched edge-triggered (EPOLLET) and never read: the other process has
 * it, too, and could make that block. socket is readable once the other process has hung up.
 */
struct vhost_device {
	int socket;
	int memfd;
	uint8_t *memory;
	struct vhost_queue receive, send;
};

/*
 * Connects to a vhost-user socket and sets the device up: from now on it can send. Blocks for a few
 * round trips, at most 5 s each. ECONNREFUSED, ENOENT, ENAMETOOLONG, EPROTO, EPIPE and
 * ECONNRESET (it hung up), ETIMEDOUT, ENOMEM, EMFILE.
 */
int vhost_device_open(const char *path, struct vhost_device *device, struct nefs_error *err);

/* Of one that is closed, or was not to be had, nothing happens. */
void vhost_device_close(struct vhost_device *device);

/*
 * The next packet that came, or false; what is shorter than a header is none. header and data stay
 * valid until vhost_receive_done, which gives the packet back; size is that of the data, at most
 * VHOST_DATA_SIZE.
 */
bool vhost_receive(
	struct vhost_device *device, const uint8_t **header, size_t *size, unsigned int *packet);
void vhost_receive_done(struct vhost_device *device, unsigned int packet);

/* Is there room to send one? Takes back what has been sent. */
bool vhost_can_send(struct vhost_device *device);

/* Sends one; vhost_can_send was true, size <= VHOST_DATA_SIZE. */
void vhost_send(struct vhost_device *device, const void *header, const void *data, size_t size);

#endif
