/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Serves the device to one vfio-user client at a time.
 *
 * A client that goes away takes its enclaves with it: the device is reset, and the next client gets
 * in once that is done. The fault plan stays. Loop thread.
 */
#ifndef NEFS_VFIO_USER_SERVER_H
#define NEFS_VFIO_USER_SERVER_H

#include "listener.h"
#include "vm.h"
#include <nefs/error.h>
#include <systemd/sd-event.h>

struct device;
struct server;

/*
 * Makes the device and serves it on a socket, which it takes in any case. vm is what enclaves
 * are made of, vsock where their vsock devices are (device_set_vsock) or NULL. Says on stderr who
 * comes and goes, and why.
 */
int server_new(sd_event *event, struct listener *listener, const struct vm_ops *vm,
	const char *vsock, struct server **server, struct nefs_error *err);

/* For the control socket; lives as long as the server. */
struct device *server_device(struct server *server);

/* Ends the client's connection, the enclaves, the device. NULL is allowed. */
void server_free(struct server *server);

#endif
