/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket of nefs-device (backend/vfio-user/control_socket.h), from inside the virtual machine: a
 * virtio port that QEMU connects to it.
 */
#ifndef NEFS_CONFORMANCE_CONTROL_PORT_H
#define NEFS_CONFORMANCE_CONTROL_PORT_H

#include <nefs/error.h>
#include <stddef.h>

struct control_port;

/* path NULL: the virtio port that is called nefs.control. ENOENT if there is none. */
int control_port_open(const char *path, struct control_port **port, struct nefs_error *err);

/*
 * Sends a request (without a newline) and waits for its answer: 0, the negative errno that it says,
 * -ETIMEDOUT, -EPROTO. lines, if not NULL, gets how many lines came before the `ok`.
 */
int control_port_request(struct control_port *port, const char *request, size_t *lines);

#endif
