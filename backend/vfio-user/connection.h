/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One vfio-user client's socket: bytes and fds in, whole messages out of them, replies back.
 *
 * Never blocks. One message at a time: the next is read when the reply to the last has been sent, so
 * a client that does not read its replies can't make the server grow. Loop thread.
 */
#ifndef NEFS_VFIO_USER_CONNECTION_H
#define NEFS_VFIO_USER_CONNECTION_H

#include "messages.h"
#include <nefs/error.h>

struct connection {
	int fd;
	struct vfio_user_message message; /* being received */
	uint8_t in[VFIO_USER_MESSAGE_MAX];
	size_t received;
	uint8_t out[VFIO_USER_MESSAGE_MAX];
	size_t out_size, sent;
};

/* Takes the socket. */
void connection_init(struct connection *connection, int fd);

/*
 * Goes on with whatever can be gone on with: sends, receives, has messages handled. Returns 0, -EAGAIN
 * if the socket has no more for now (connection_events says what to wait for), or another negative
 * errno with a sentence if the connection is of no more use: -EPIPE the client closed it, -EPROTO
 * what it says can't be a message, errors of the socket. A bounded amount of work for each call, so
 * that a busy client does not shut out others: 0 asks for another call.
 */
int connection_work(struct connection *connection, struct vfio_user *user, struct nefs_error *err);

/* EPOLLIN or EPOLLOUT. */
uint32_t connection_events(const struct connection *connection);

/* Closes the socket and the fds of a message that was not complete. */
void connection_close(struct connection *connection);

#endif
