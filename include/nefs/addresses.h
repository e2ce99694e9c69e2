/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The process's address space. */
#ifndef NEFS_ADDRESSES_H
#define NEFS_ADDRESSES_H

#include <stdint.h>

/*
 * Reserves size bytes of addresses, aligned to alignment (both multiples of 4 KiB, alignment a power
 * of two): nothing else is put there, nothing can be read there, and it costs no memory. To be mapped over
 * (MAP_FIXED), and given back by munmap. NULL with errno: ENOMEM. Any thread.
 */
void *nefs_reserve_addresses(uint64_t size, uint64_t alignment);

#endif
