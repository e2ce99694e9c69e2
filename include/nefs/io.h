/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading and writing that does not stop half-way: through signals and short counts. fds that block.
 * All return 0 or a negative errno. Any thread.
 */
#ifndef NEFS_IO_H
#define NEFS_IO_H

#include <stddef.h>
#include <stdint.h>

/* Exactly size bytes at offset. ENODATA if the file ends before. */
int nefs_pread_all(int fd, void *data, size_t size, uint64_t offset);

/* All of it at offset, or, without one, where the file stands. */
int nefs_pwrite_all(int fd, const void *data, size_t size, uint64_t offset);
int nefs_write_all(int fd, const void *data, size_t size);

#endif
