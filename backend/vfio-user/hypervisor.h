/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hypervisor's end of vsock, CID 0: whoever connects to its port 10000 + CID reads the console of the
 * enclave with that CID, if it was started in debug mode (facts/eif.md §7). Output only.
 *
 * Source of the packets: the VIRTIO 1.2 specification, §5.10. Loop thread.
 */
#ifndef NEFS_VFIO_USER_HYPERVISOR_H
#define NEFS_VFIO_USER_HYPERVISOR_H

#include "device.h"
#include <nefs/error.h>
#include <systemd/sd-event.h>

#define HYPERVISOR_CID		0
#define HYPERVISOR_CONSOLE_PORT 10000

/* Console connections at a time; one more is refused. */
#define HYPERVISOR_CONNECTIONS_MAX 64

struct hypervisor;

/* vsock is the vhost-user socket of the vsock device with CID 0. Errors as vhost_device_open. */
int hypervisor_new(sd_event *event, const char *vsock, struct device *device,
	struct hypervisor **hypervisor, struct nefs_error *err);

/* NULL is allowed. */
void hypervisor_free(struct hypervisor *hypervisor);

#endif
