/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ne_dev.h by system calls: Linux's driver, hugetlb, AF_VSOCK. */
#ifndef NEFS_KERNEL_H
#define NEFS_KERNEL_H

#include <nefs/ne_dev.h>

#define KERNEL_DEV_PATH "/dev/nitro_enclaves"

/*
 * Makes a device over a device node; path NULL means KERNEL_DEV_PATH. ENODEV if there is none, with
 * a sentence that says whether the driver is missing or the device itself.
 */
int kernel_dev_new(const char *path, struct ne_dev **dev, struct nefs_error *err);

#endif
