/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The order of huge pages in a mapping.
 *
 * The driver makes one region of pages that follow each other physically within one call, and the
 * device takes only so many regions (docs/facts/driver.md §1). But hugetlb gives out first what came
 * back last, so the pages of a second start come in reverse, and each is a region of its own. Any thread.
 */
#ifndef NEFS_KERNEL_PAGE_ORDER_H
#define NEFS_KERNEL_PAGE_ORDER_H

#include <stdint.h>

/*
 * Moves the pages of a populated private mapping so that their addresses ascend as their places in
 * physical memory do, in a mapping of the same size. Returns where that is: the address as it was if
 * nothing had or was to be done, because pages are in order, their places are secret (no
 * CAP_SYS_ADMIN), or the kernel can't move them (before Linux 5.16); NULL if the mapping was lost.
 */
void *page_order_sort(void *address, uint64_t size, uint64_t page_size);

#endif
