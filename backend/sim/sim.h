/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulated Nitro Enclaves machine: an ne_dev (include/nefs/ne_dev.h) in this process.
 *
 *	driver	the ioctl rules of Linux's driver	(driver.c)
 *	device	registers, commands, slots, faults	(device.c), driven only through its registers
 *	vm	the enclave itself (vm.h): a qemu process (vm_qemu.c), or none (vm_none.c)
 */
#ifndef NEFS_SIM_H
#define NEFS_SIM_H

#include <nefs/ne_dev.h>

struct sim_options {
	unsigned int cpus; /* CPU threads of the machine, two a core; core 0 stays out */
	uint64_t memory;   /* bytes of 2 MiB huge pages */
	bool vm_none;	   /* enclaves without a VM, for tests that need thousands */
	unsigned int reply_timeout_ms; /* how long the driver waits for a reply; 0 = 120 s */
};

/* Makes the machine. EINVAL for options that make no sense, ENOMEM, EMFILE. */
int sim_dev_new(const struct sim_options *options, struct ne_dev **dev, struct nefs_error *err);

/* These take the object made by sim_dev_new, from any thread, and return soon. */

/* Kills the enclave in this slot as if it had ended by itself. ESRCH: no running enclave there. */
int sim_dev_crash(struct ne_dev *dev, uint64_t slot_uid, struct nefs_error *err);

/* Replaces the fault plan; see backend_sim_set_faults. */
int sim_dev_set_faults(struct ne_dev *dev, const char *text, size_t size, struct nefs_error *err);

/*
 * Maps the one huge page (2 MiB) of the machine's second NUMA node, which no enclave may have:
 * NE_ERR_MEM_DIFFERENT_NUMA_NODE can be tried with it. Undone by unmap. EBUSY: it is mapped.
 */
int sim_dev_map_other_node(struct ne_dev *dev, void **address, struct nefs_error *err);

/* "uid state vcpus memory cid" of each slot, a line each, malloc'ed; NULL if out of memory. */
char *sim_dev_slots(struct ne_dev *dev);

#endif
