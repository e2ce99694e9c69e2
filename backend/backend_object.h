/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The backend itself, as its parts see it. */
#ifndef NEFS_BACKEND_OBJECT_H
#define NEFS_BACKEND_OBJECT_H

#include "heartbeat.h"
#include <nefs/backend.h>
#include <nefs/ne_dev.h>
#include <stdbool.h>

struct backend {
	sd_event *event;
	struct workers *workers;
	struct ne_dev *dev;
	struct heartbeat *heartbeat; /* NULL: the device knows none */
	bool is_sim;		     /* dev was made by sim_dev_new */
	bool any_arch;		     /* boots images of any architecture, not this machine's only */
	unsigned int launches;	     /* not released yet */
};

/*
 * Makes a backend over a device, which becomes its own (also on failure). endpoint is where
 * enclaves report in, used only if the device has heartbeats; NULL: they are not waited for.
 * is_sim is false, any_arch as given.
 */
int backend_new(sd_event *event, struct workers *workers, struct ne_dev *dev,
	const struct heartbeat_endpoint *endpoint, bool any_arch, struct backend **backend,
	struct nefs_error *err);

#endif
