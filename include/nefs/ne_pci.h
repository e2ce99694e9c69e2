/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Nitro Enclaves PCI device as its driver sees it: registers, commands, payloads.
 *
 * Source: docs/facts/driver.md §2 (Linux, drivers/virt/nitro_enclaves/ne_pci_dev.h). All values are
 * little-endian, the payloads are packed by their explicit padding.
 */
#ifndef NEFS_NE_PCI_H
#define NEFS_NE_PCI_H

#include <stdint.h>

#define NE_PCI_VENDOR	      0x1d0f
#define NE_PCI_DEVICE	      0xe4c1
#define NE_PCI_BAR_REGISTERS  3
#define NE_PCI_VECTOR_REPLY   0
#define NE_PCI_VECTOR_EVENT   1
#define NE_PCI_VECTORS	      2
#define NE_PCI_REGISTERS_SIZE 0x1000

/* Registers: offsets in BAR 3. */
#define NE_REG_ENABLE	 0x00  /* u8: 1 enables, 0 disables and resets; reads back the state */
#define NE_REG_VERSION	 0x02  /* u16: the driver writes the highest version it speaks */
#define NE_REG_COMMAND	 0x04  /* u32, write-only: starts the command whose payload stands ready */
#define NE_REG_EVTCNT	 0x0c  /* u32, read-only: low half replies, high half events */
#define NE_REG_SEND_DATA 0x10  /* request payload */
#define NE_REG_RECV_DATA 0x100 /* reply payload */
#define NE_DATA_SIZE	 240
#define NE_VERSION_MAX	 1

/* Commands: values of NE_REG_COMMAND. */
enum ne_command {
	NE_CMD_ENCLAVE_START = 1,
	NE_CMD_ENCLAVE_GET_SLOT = 2,
	NE_CMD_ENCLAVE_STOP = 3,
	NE_CMD_SLOT_ALLOC = 4,
	NE_CMD_SLOT_FREE = 5,
	NE_CMD_SLOT_ADD_MEM = 6,
	NE_CMD_SLOT_ADD_VCPU = 7,
	NE_CMD_SLOT_COUNT = 8,
	NE_CMD_NEXT_SLOT = 9,
	NE_CMD_SLOT_INFO = 10,
	NE_CMD_SLOT_ADD_BULK_VCPUS = 11,
	NE_CMD_MAX = 12,
};

/* Slot states in a reply. */
#define NE_SLOT_INIT	0
#define NE_SLOT_RUNNING 2
#define NE_SLOT_STOPPED 0xffff

/* Requests. ALLOC and COUNT send one unused byte; STOP, FREE, NEXT_SLOT, INFO a bare slot uid. */
struct ne_req_slot {
	uint64_t slot_uid;
};

struct ne_req_start {
	uint64_t slot_uid;
	uint64_t enclave_cid; /* 0: the device chooses */
	uint64_t flags;	      /* 1: debug mode */
};

struct ne_req_get_slot {
	uint64_t enclave_cid;
};

struct ne_req_add_mem {
	uint64_t slot_uid;
	uint64_t paddr;
	uint64_t size;
};

struct ne_req_add_vcpu {
	uint64_t slot_uid;
	uint32_t vcpu_id;
	uint8_t padding[4];
};

struct ne_req_add_bulk_vcpus {
	uint64_t slot_uid;
	uint64_t nr_vcpus;
};

/* The one reply of all commands; unused members are 0. */
struct ne_reply {
	int32_t rc; /* 0 or a negative errno */
	uint8_t padding0[4];
	uint64_t slot_uid;
	uint64_t enclave_cid;
	uint64_t slot_count;
	uint64_t mem_regions; /* SLOT_ALLOC: the most regions the slot takes */
	uint64_t mem_size;
	uint64_t nr_vcpus;
	uint64_t flags;
	uint16_t state;
	uint8_t padding1[6];
};

_Static_assert(sizeof(struct ne_req_start) == 24, "payload layout");
_Static_assert(sizeof(struct ne_req_add_vcpu) == 16, "payload layout");
_Static_assert(sizeof(struct ne_reply) == 72, "payload layout");

#endif
