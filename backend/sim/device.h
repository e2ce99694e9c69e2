/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Nitro Enclaves PCI device (include/nefs/ne_pci.h), as its driver sees it: registers, two
 * interrupt vectors, memory reached by DMA. It knows nothing of ioctls, files or FUSE; the
 * simulated driver and the vfio-user server both drive this one.
 *
 * A thread of its own executes the commands, one at a time; it does no I/O, which is each VM's thread's. All functions may be called from any
 * thread and return soon. Whatever a driver writes is answered by an error rc at worst.
 */
#ifndef NEFS_SIM_DEVICE_H
#define NEFS_SIM_DEVICE_H

#include "vm.h"
#include <nefs/error.h>
#include <nefs/ne_pci.h>

struct device;

/*
 * Beside the registers' own, if device_set_patient says so: the rc of a command that waits for a VM, the command
 * (its payload a slot's uid) that gives the reply of the last such one of that slot, or this rc once more, and the
 * vector that says that one can be had. No errno and no number of a real device is like these.
 */
#define DEVICE_RC_LATER	     (-4096)
#define DEVICE_CMD_RESULT    0x100
#define DEVICE_VECTOR_RESULT 2

/* Raises an interrupt vector (NE_PCI_VECTOR_*); called from the device's thread, without locks. */
typedef void (*device_raise)(void *context, unsigned int vector);

/* Makes a device and starts its thread. ENOMEM, EMFILE. */
int device_new(const struct vm_ops *vm, device_raise raise, void *context, struct device **device,
	struct nefs_error *err);

/* Kills its VMs and ends it. NULL is allowed. */
void device_free(struct device *device);

/*
 * Register access, size bytes at an offset in BAR 3. Bytes outside the registers read as 0 and
 * swallow writes.
 */
void device_read(struct device *device, uint64_t offset, void *data, size_t size);
void device_write(struct device *device, uint64_t offset, const void *data, size_t size);

/*
 * Makes [iova, iova + size) reach size bytes of fd (duplicated) at offset, or be known as nothing
 * that can be reached, and not any more; errno as in dma.h.
 */
int device_dma_map(struct device *device, uint64_t iova, uint64_t size, int fd, uint64_t offset);
int device_dma_map_hidden(struct device *device, uint64_t iova, uint64_t size);
int device_dma_unmap(struct device *device, uint64_t iova, uint64_t size);

/* ---- For people and tests, beside the registers ---- */

/* The slot's enclave dies as if by itself. ESRCH if none runs there. */
int device_crash(struct device *device, uint64_t slot_uid, struct nefs_error *err);

/*
 * The same, but no event tells of it: the driver finds out at the next one. What a device that loses
 * an interrupt looks like (docs/facts/lab.md §3).
 */
int device_stop_silently(struct device *device, uint64_t slot_uid, struct nefs_error *err);

/* An event without a cause. */
void device_raise_spurious(struct device *device);

/* Replaces the fault plan (faults.h). */
int device_set_faults(struct device *device, const char *text, size_t size, struct nefs_error *err);

/* "uid state vcpus memory cid" a line, malloc'ed; NULL if out of memory. */
char *device_slots(struct device *device);

/*
 * From now on enclaves have vsock: DIRECTORY/CID.sock has to be the vhost-user socket of the vsock
 * device with this CID. Copied. -ENOMEM. To be called before a driver uses the device.
 */
int device_set_vsock(struct device *device, const char *directory);

/*
 * A command that waits for a VM is no longer under way meanwhile: it is answered by DEVICE_RC_LATER, and others can be
 * given. As it is, a device has one command at a time. Before a driver uses the device.
 */
void device_set_patient(struct device *device);

/* The most memory regions that a slot takes; 512 without this. Before a driver uses the device. */
void device_set_regions_max(struct device *device, uint64_t max);

/* Whose the slot is: its VM runs as they, from the next start on (vm.h). */
void device_own(struct device *device, uint64_t slot_uid, uid_t uid, gid_t gid);

/* The uid of the slot whose enclave has this CID; 0: there is none. */
uint64_t device_slot_of_cid(struct device *device, uint64_t cid);

/* An fd that reads the slot's console (vm_console.h), or a negative errno: ENOTCONN, it has none. */
int device_console(struct device *device, uint64_t slot_uid);

/* What is known of the slot's last failure or end; false: nothing. */
bool device_explain(struct device *device, uint64_t slot_uid, char *text, size_t size);

#endif
