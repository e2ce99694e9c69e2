/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket: what people and tests do behind the driver's back.
 *
 * A stream of requests, one line each; the answer is any number of lines and then `ok`, or
 * `error ERRNO SENTENCE` alone:
 *
 *	list			the slots, as in sim/slots
 *	crash UID		the enclave in the slot dies as if by itself
 *	stop-silent UID		it dies without an event; the driver finds out at the next one
 *	spurious		an event without a cause
 *	fault RULE; RULE; ...	replaces the fault plan (sim/fault); none: clears it
 *
 * A client's next request is not looked at before it has taken the answer to the last: it can't make
 * the server grow. Loop thread.
 */
#ifndef NEFS_VFIO_USER_CONTROL_SOCKET_H
#define NEFS_VFIO_USER_CONTROL_SOCKET_H

#include "device.h"
#include "listener.h"
#include <nefs/error.h>
#include <systemd/sd-event.h>

/* Longest request, its newline included. A longer one is refused when its end comes. */
#define CONTROL_LINE_MAX 65536

/* Clients at a time; one more is turned away. */
#define CONTROL_CLIENTS_MAX 64

struct control_socket;

/* Answers on a socket, which it takes in any case. */
int control_socket_new(sd_event *event, struct listener *listener, struct device *device,
	struct control_socket **control, struct nefs_error *err);

/* Ends all connections. NULL is allowed. */
void control_socket_free(struct control_socket *control);

/*
 * The answer to one request line (without its newline), malloc'ed; NULL if out of memory. Any bytes
 * are answered.
 */
char *control_socket_answer(struct device *device, const char *line, size_t size);

#endif
