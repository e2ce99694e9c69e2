/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vfio-user protocol, as far as a PCI device without mappable regions needs it.
 *
 * Source: QEMU's docs/interop/vfio-user.rst. Values that the protocol shares with VFIO are in
 * <linux/vfio.h>. All fields are in the byte order of the machine: both ends are on it.
 */
#ifndef NEFS_VFIO_USER_PROTOCOL_H
#define NEFS_VFIO_USER_PROTOCOL_H

#include <stdint.h>

#define VFIO_USER_MAJOR 0
#define VFIO_USER_MINOR 1

/* What the server offers, and so the most that a client may send. */
#define VFIO_USER_FDS_MAX  8
#define VFIO_USER_DATA_MAX 65536
/* The longest message: header, the largest fixed part, data. */
#define VFIO_USER_MESSAGE_MAX (VFIO_USER_DATA_MAX + 64)

enum vfio_user_command {
	VFIO_USER_VERSION = 1,
	VFIO_USER_DMA_MAP = 2,
	VFIO_USER_DMA_UNMAP = 3,
	VFIO_USER_DEVICE_GET_INFO = 4,
	VFIO_USER_DEVICE_GET_REGION_INFO = 5,
	VFIO_USER_DEVICE_GET_IRQ_INFO = 7,
	VFIO_USER_DEVICE_SET_IRQS = 8,
	VFIO_USER_REGION_READ = 9,
	VFIO_USER_REGION_WRITE = 10,
	VFIO_USER_DEVICE_RESET = 13,
};

#define VFIO_USER_TYPE	   0xfU /* of flags: 0 a command, 1 a reply */
#define VFIO_USER_REPLY	   0x1U
#define VFIO_USER_NO_REPLY 0x10U
#define VFIO_USER_ERROR	   0x20U

struct vfio_user_header {
	uint16_t id;
	uint16_t command;
	uint32_t size; /* of the message, this header included */
	uint32_t flags;
	uint32_t error; /* errno of a reply with VFIO_USER_ERROR */
};

struct vfio_user_version {
	uint16_t major;
	uint16_t minor;
	/* then JSON, NUL-terminated, or nothing */
};

struct vfio_user_dma_map {
	uint32_t argsz;
	uint32_t flags; /* 1 readable, 2 writable */
	uint64_t offset;
	uint64_t address;
	uint64_t size;
};

#define VFIO_USER_UNMAP_ALL 2U

struct vfio_user_dma_unmap {
	uint32_t argsz;
	uint32_t flags;
	uint64_t address;
	uint64_t size;
};

/* REGION_READ and REGION_WRITE; data follows a write and the reply to a read. */
struct vfio_user_region_access {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
};

_Static_assert(sizeof(struct vfio_user_header) == 16, "on the wire");
_Static_assert(sizeof(struct vfio_user_dma_map) == 32, "on the wire");
_Static_assert(sizeof(struct vfio_user_dma_unmap) == 24, "on the wire");
_Static_assert(sizeof(struct vfio_user_region_access) == 16, "on the wire");

#endif
