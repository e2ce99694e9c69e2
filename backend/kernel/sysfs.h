/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading small files of sysfs. */
#ifndef NEFS_KERNEL_SYSFS_H
#define NEFS_KERNEL_SYSFS_H

#include <stddef.h>
#include <stdint.h>

/* Reads a file of a directory fd into text, without its last newline. 0 or a negative errno. */
int sysfs_read_text(int dir, const char *path, char *text, size_t size);

/* Reads a file that holds one decimal number. 0 or a negative errno. */
int sysfs_read_number(int dir, const char *path, uint64_t *number);

#endif
