/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading of what may be on a disk, at a pace (pace.h). A turn is for what costs CPU: what the kernel has at hand is
 * copied in one. A disk that does not answer is waited for without, as the others' work would wait, too.
 */
#ifndef NEFS_PACED_READ_H
#define NEFS_PACED_READ_H

#include <nefs/pace.h>
#include <stdint.h>

/* Is the file in memory, whatever of it is read? May block. Any thread. */
bool nefs_is_in_memory(int fd);

/*
 * As nefs_pread_all, in a worker. If it returns 0 a turn has begun, for what is done with the data: nefs_pace_end is
 * the caller's. Else, which may be -ECANCELED, there is none. in_memory: by nefs_is_in_memory.
 */
int nefs_paced_read(
	int fd, bool in_memory, void *data, size_t size, uint64_t offset, struct nefs_pace *pace);

#endif
