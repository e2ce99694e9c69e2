/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NUMA node of the CPU pool of the Nitro Enclaves driver. */
#ifndef NEFS_KERNEL_POOL_H
#define NEFS_KERNEL_POOL_H

/*
 * NUMA node of the pool: that of its first CPU (module parameter ne_cpus; all are of one node),
 * else that of the PCI device, else -1. sysfs is the mount point of sysfs ("/sys"), dump as for
 * pci_find_ne. Quick; any thread.
 */
int pool_node(const char *sysfs, const char *dump);

#endif
