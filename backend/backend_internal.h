/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a backend over any device: for backend.c itself, and for tests over devices of their own. */
#ifndef NEFS_BACKEND_INTERNAL_H
#define NEFS_BACKEND_INTERNAL_H

#include "launch/heartbeat.h"
#include <nefs/backend.h>
#include <nefs/ne_dev.h>
#include <stdbool.h>

/*
 * Makes a backend over a device, which becomes its own (also on failure). endpoint is where
 * enclaves report in, used only if the device has heartbeats; NULL: they are not waited for.
 * any_arch as in struct backend. It is no simulated machine: backend_sim_*() refuse.
 */
int backend_new(sd_event *event, struct workers *workers, struct ne_dev *dev,
	const struct heartbeat_endpoint *endpoint, bool any_arch, struct backend **backend,
	struct nefs_error *err);

#endif
