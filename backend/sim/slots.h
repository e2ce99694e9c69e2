/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device's slots: what each enclave has been given, and who has what.
 *
 * No rule about states is here (commands.c has them), only the bookkeeping that makes a region, a
 * vCPU or a CID belong to one slot at most. Used under the device's lock; everything is O(log n)
 * in the number of slots, but for the memmove that keeps the table sorted.
 *
 * Inventions, as no public source tells: slot uids count from 1 and are never used twice; CIDs are
 * chosen from 16 up; a slot keeps its CID until it is freed (docs/device.md).
 */
#ifndef NEFS_SIM_SLOTS_H
#define NEFS_SIM_SLOTS_H

#include <nefs/ne_pci.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#define SLOT_COUNT_MAX 32768

/* Most memory regions of a slot, unless slots_set_regions_max says otherwise. */
#define SLOT_REGIONS_MAX 512

/* First CID that the device chooses by itself. */
#define SLOT_CID_FIRST 16

/* Longest clause about a failure or an end. */
#define SLOT_EXPLAIN_SIZE 256

struct device;
struct vm_console;
struct vm_keeper;

/* A region of memory that a slot owns; a link of the slot's list, in the order of adding. */
struct slot_region {
	uint64_t paddr;
	uint64_t size;
	struct slot_region *next;
};

struct slot {
	uint64_t uid;
	uint16_t state;	   /* NE_SLOT_* */
	uint64_t flags;	   /* of ENCLAVE_START */
	uint64_t cid;	   /* 0: none yet */
	uint64_t mem_size; /* bytes of all regions */
	uint64_t nr_vcpus;
	uint64_t regions_max; /* the reply to SLOT_ALLOC says so */
	uint64_t region_count;
	struct slot_region *regions;
	struct slot_region **regions_tail;
	uint32_t *vcpu_ids; /* those that SLOT_ADD_VCPU named */
	size_t vcpu_id_count;
	size_t vcpu_id_room;
	struct vm_keeper *keeper; /* of its VM, from the command to start it to its end */
	uint32_t job;		  /* the command that waits for the VM (enum ne_command), or 0 */
	int start_code;	 /* the VM ends because it could not be used: its start's rc, or 0 */
	bool unowned;	 /* whoever wanted it started has given up: it ends when it has been */
	bool has_result; /* of the last job, and nobody has asked for it yet */
	struct ne_reply result;
	uid_t owner; /* VM_NO_OWNER: nobody has said whose it is */
	gid_t group;
	struct device *device;
	struct vm_console *console;	 /* of a start in debug mode, to SLOT_FREE; or NULL */
	sd_event_source *watch;		 /* of the VM's news */
	char explain[SLOT_EXPLAIN_SIZE]; /* its last failure or end, in words; "" without */
};

struct slots;

/* NULL: out of memory. */
struct slots *slots_new(void);

/* Frees all slots (without a VM) and the table. NULL is allowed. */
void slots_free(struct slots *slots);

/* The most regions that slots take that are allocated from now on. */
void slots_set_regions_max(struct slots *slots, uint64_t max);

size_t slots_count(const struct slots *slots);

/* The slot at a position of the table, by ascending uid; index < slots_count. */
struct slot *slots_at(const struct slots *slots, size_t index);

/* NULL if there is no such slot. slots_next: the one with the lowest uid above this. */
struct slot *slots_find(const struct slots *slots, uint64_t uid);
struct slot *slots_next(const struct slots *slots, uint64_t uid);
struct slot *slots_find_cid(const struct slots *slots, uint64_t cid);

/* A new slot without anything. -ENOSPC (SLOT_COUNT_MAX), -ENOMEM. */
int slots_alloc(struct slots *slots, struct slot **slot);

/* Takes everything back and frees the slot, which has no VM. */
void slots_release(struct slots *slots, struct slot *slot);

/*
 * Adds [paddr, paddr + size), which is not empty and does not wrap. -EEXIST if some slot has a
 * part of it, -ENOSPC (regions_max), -ENOMEM.
 */
int slots_add_region(struct slots *slots, struct slot *slot, uint64_t paddr, uint64_t size);

/* Adds a vCPU by its id. -EINVAL: not below NE_CPUS_MAX, -EEXIST if some slot has it, -ENOMEM. */
int slots_add_vcpu(struct slots *slots, struct slot *slot, uint32_t id);

/*
 * Gives the slot a CID: this one, or, if it is 0, one that is free. -EBUSY if another slot has it,
 * -ENOMEM.
 */
int slots_set_cid(struct slots *slots, struct slot *slot, uint64_t cid);

/* Takes the CID back. */
void slots_clear_cid(struct slots *slots, struct slot *slot);

/* "uid state vcpus memory cid\n" of each slot, malloc'ed; NULL: out of memory. */
char *slots_text(const struct slots *slots);

#endif
