/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * copy_from_user and copy_to_user of a driver that lives in the process it serves: a bad address
 * is an errno, not a SIGSEGV.
 */
#ifndef NEFS_SIM_USER_COPY_H
#define NEFS_SIM_USER_COPY_H

#include <stddef.h>
#include <stdint.h>

/* Copy size bytes from or to an address that cannot be trusted. 0 or -EFAULT. Any thread. */
int user_copy_in(void *to, uint64_t from, size_t size);
int user_copy_out(uint64_t to, const void *from, size_t size);

#endif
