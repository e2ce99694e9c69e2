/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Huge pages of hugetlb: what the kernel has reserved, and mapping them. Any thread.
 */
#ifndef NEFS_KERNEL_HUGEPAGES_H
#define NEFS_KERNEL_HUGEPAGES_H

#include <nefs/error.h>
#include <nefs/ne_dev.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Fills pages[] with the page sizes of at least 2 MiB of a node (-1: of the whole machine), largest
 * first, those without pages included, and returns the count. sysfs is the mount point of sysfs.
 */
size_t hugepages_list(const char *sysfs, int node, struct ne_dev_pages *pages, size_t max);

/*
 * Maps size bytes in pages of page_size on node (-1: any), faulted in, and in physical order where that
 * can be had (page_order.h). Pages that are missing are ENOMEM here, not SIGBUS later; nothing is
 * mapped then.
 */
int hugepages_map(
	uint64_t size, uint64_t page_size, int node, void **address, struct nefs_error *err);

void hugepages_unmap(void *address, uint64_t size);

#endif
