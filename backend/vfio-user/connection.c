/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "connection.h"
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Messages that one call handles. */
#define BURST 16

void connection_init(struct connection *connection, int fd)
{
	memset(connection, 0, sizeof(*connection));
	connection->fd = fd;
}

uint32_t connection_events(const struct connection *connection)
{
	return connection->sent < connection->out_size ? EPOLLOUT : EPOLLIN;
}

static void close_fds(struct vfio_user_message *message)
{
	for (size_t i = 0; i < message->fd_count; i++)
		if (message->fds[i] >= 0)
			close(message->fds[i]);
	message->fd_count = 0;
}

void connection_close(struct connection *connection)
{
	close_fds(&connection->message);
	if (connection->fd >= 0)
		close(connection->fd);
	connection->fd = -1;
}

/* Takes over the fds that came with a piece of a message. False: more than a message may have. */
static bool take_fds(struct vfio_user_message *message, struct msghdr *header)
{
	bool fits = !(header->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
		size_t count;
		int fds[VFIO_USER_FDS_MAX];

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		/* The control buffer has room for no more than this. */
		count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(part), count * sizeof(int));
		for (size_t i = 0; i < count; i++) {
			if (message->fd_count < VFIO_USER_FDS_MAX) {
				message->fds[message->fd_count++] = fds[i];
			} else {
				close(fds[i]);
				fits = false;
			}
		}
	}
	return fits;
}

/* Up to size bytes into the buffer: how many, 0 at the end of the stream, or a negative errno. */
static ssize_t receive_piece(struct connection *connection, size_t size)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(VFIO_USER_FDS_MAX * sizeof(int))];
	} control;
	struct iovec piece = { connection->in + connection->received, size };
	struct msghdr header = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t got;

	do {
		got = recvmsg(connection->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	return take_fds(&connection->message, &header) ? got : -EPROTO;
}

static int broken(struct nefs_error *err, int code)
{
	switch (code) {
	case -EAGAIN:
		return code;
	case -EPIPE:
		return nefs_error_set(err, EPIPE, "the client closed the connection");
	case -EPROTO:
		return nefs_error_set(err, EPROTO,
			"the client sent more file descriptors with a message than the %d it may, "
			"or than this process can have (ulimit -n)",
			VFIO_USER_FDS_MAX);
	default:
		return nefs_error_set(err, -code, "the client's socket: %s", strerror(-code));
	}
}

/*
 * Receives until the message is whole. Never beyond its end: the fds of the next would be taken for
 * this one's. Returns 0 when it is, or as connection_work.
 */
static int receive(struct connection *connection, struct nefs_error *err)
{
	struct vfio_user_message *message = &connection->message;
	const size_t header_size = sizeof(message->header);

	for (;;) {
		size_t wanted = header_size;
		ssize_t got;

		if (connection->received >= header_size) {
			memcpy(&message->header, connection->in, header_size);
			wanted = message->header.size;
			if (wanted < header_size || wanted > sizeof(connection->in))
				return nefs_error_set(err, EPROTO,
					"the client sent a message of %zu bytes; it can have %zu to %zu",
					wanted, header_size, sizeof(connection->in));
			if (connection->received == wanted)
				break;
		}
		got = receive_piece(connection, wanted - connection->received);
		if (got <= 0)
			return broken(err, got < 0 ? (int)got : -EPIPE);
		connection->received += (size_t)got;
	}
	message->payload = connection->in + header_size;
	message->size = connection->received - header_size;
	return 0;
}

static int send_reply(struct connection *connection, struct nefs_error *err)
{
	while (connection->sent < connection->out_size) {
		ssize_t sent = send(connection->fd, connection->out + connection->sent,
			connection->out_size - connection->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno != EINTR)
			return broken(err, -errno);
		if (sent > 0)
			connection->sent += (size_t)sent;
	}
	connection->sent = 0;
	connection->out_size = 0;
	return 0;
}

int connection_work(struct connection *connection, struct vfio_user *user, struct nefs_error *err)
{
	int failed = 0;

	for (unsigned int i = 0; i < BURST && !failed; i++) {
		failed = send_reply(connection, err);
		if (!failed)
			failed = receive(connection, err);
		if (failed)
			break;
		connection->out_size =
			vfio_user_handle(user, &connection->message, connection->out);
		close_fds(&connection->message);
		connection->received = 0;
	}
	/* The reply to the last one, should it be the last for a while. */
	return failed ? failed : send_reply(connection, err);
}
