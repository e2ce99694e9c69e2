/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hypervisor's end of vsock, CID 0: whoever connects to its port 10000 + CID reads the console of the
 * enclave with that CID, if it was started in debug mode (docs/facts/eif.md §7). Output only. Enclaves
 * are refused: none reads another's console. Once the vsock device's process is gone, so is the port.
 *
 * Source of the packets: the VIRTIO 1.2 specification, §5.10. Loop thread.
 */
#ifndef NEFS_VSOCK_CONSOLE_PORT_H
#define NEFS_VSOCK_CONSOLE_PORT_H

#include "device.h"
#include <nefs/error.h>
#include <systemd/sd-event.h>

/* Console connections at a time; one more is refused, or takes the place of one whose console has ended. */
#define CONSOLE_PORT_CONNECTIONS_MAX 64

struct console_port;

/* vsock is the vhost-user socket of the vsock device with CID 0. Errors as vhost_device_open. */
int console_port_new(sd_event *event, const char *vsock, struct device *device,
	struct console_port **console_port, struct nefs_error *err);

/* NULL is allowed. */
void console_port_free(struct console_port *console_port);

#endif
