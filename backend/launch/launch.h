/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Launches, as the loop thread sees them: what they share, and the life of one (launch.c). */
#ifndef NEFS_LAUNCH_H
#define NEFS_LAUNCH_H

#include "heartbeat.h"
#include <nefs/backend.h>
#include <nefs/ne_dev.h>
#include <stdbool.h>
#include <stdint.h>

/* The backend itself: what its launches stand on. Made by backend.c. */
struct backend {
	sd_event *event;
	struct workers *workers;
	struct ne_dev *dev;
	struct heartbeat *heartbeat; /* NULL: the device knows none */
	bool is_sim;		     /* dev was made by sim_dev_new */
	bool any_arch;		     /* boots images of any architecture, not this machine's only */
	unsigned int launches;	     /* not released yet */
};

/* The slot of a launch that the device has started and that has not ended; 0 otherwise. */
uint64_t backend_launch_slot(const struct backend_launch *launch);

/*
 * Milliseconds to the heartbeat if nobody says otherwise (docs/facts/eif.md §7): 90 s for each 6 GiB
 * of image and each 100 GiB of memory, or a part of that.
 */
uint64_t backend_boot_timeout_ms(uint64_t image_size, uint64_t memory);

#endif
