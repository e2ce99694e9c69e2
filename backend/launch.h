/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of one launch, as the loop thread sees it; see launch.c. */
#ifndef NEFS_LAUNCH_H
#define NEFS_LAUNCH_H

#include <nefs/backend.h>
#include <stdint.h>

/* The slot of a launch that the device has started and that has not ended; 0 otherwise. */
uint64_t backend_launch_slot(const struct backend_launch *launch);

/*
 * Milliseconds to the heartbeat if nobody says otherwise (facts/eif.md §7): 90 s for each 6 GiB of
 * image and each 100 GiB of memory, or a part of that.
 */
uint64_t backend_boot_timeout_ms(uint64_t image_size, uint64_t memory);

#endif
