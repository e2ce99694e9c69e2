/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "console_port.h"
#include "vhost_user.h"
#include <endian.h>
#include <errno.h>
#include <linux/virtio_vsock.h>
#include <nefs/cleanup.h>
#include <nefs/ne_limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>

/*
 * Data of a packet. vhost-device-vsock silently drops what is longer than 3,732 bytes between two of its
 * guests (docs/facts/lab.md §4).
 */
#define DATA_MAX 3072

/* What a peer may send us, for nobody to read. */
#define OUR_BUFFER 4096

_Static_assert(sizeof(struct virtio_vsock_hdr) == VHOST_HEADER_SIZE, "the packets' header");

/* Somebody who reads a console. */
struct reader {
	LIST_ENTRY(reader) siblings;
	struct console_port *console_port;
	uint64_t cid;		    /* of the peer */
	uint32_t peer_port, port;   /* its, ours */
	uint32_t buffer, forwarded; /* what it said last of its own buffer */
	uint32_t sent;		    /* bytes so far, wraps as forwarded does */
	uint32_t ignored;	    /* bytes that came so far */
	int console;		    /* -1: at its end */
	sd_event_source *output;
};

struct console_port {
	struct device *device;
	struct vhost_device vsock;
	sd_event *event;
	sd_event_source *received, *taken, *hung_up;
	LIST_HEAD(, reader) readers;
	size_t count;
};

/* ---- packets ---- */

static void send_packet(struct console_port *console_port, const struct virtio_vsock_hdr *to,
	uint16_t operation, uint32_t flags, const struct reader *reader, const void *data,
	size_t size)
{
	struct virtio_vsock_hdr header = {
		.src_cid = htole64(NE_CONSOLE_CID),
		.dst_cid = to->src_cid,
		.src_port = to->dst_port,
		.dst_port = to->src_port,
		.len = htole32((uint32_t)size),
		.type = to->type,
		.op = htole16(operation),
		.flags = htole32(flags),
		.buf_alloc = htole32(OUR_BUFFER),
		.fwd_cnt = htole32(reader ? reader->ignored : 0),
	};

	/* Without room a control packet is lost: its peer's time-out has to do. */
	if (vhost_can_send(&console_port->vsock))
		vhost_send(&console_port->vsock, &header, data, size);
}

/* The same, to a reader, whether it has just sent something or not. */
static void send_to(const struct reader *reader, uint16_t operation, uint32_t flags,
	const void *data, size_t size)
{
	const struct virtio_vsock_hdr from = {
		.src_cid = htole64(reader->cid),
		.src_port = htole32(reader->peer_port),
		.dst_port = htole32(reader->port),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
	};

	send_packet(reader->console_port, &from, operation, flags, reader, data, size);
}

/* ---- readers ---- */

static void drop_reader(struct reader *reader)
{
	LIST_REMOVE(reader, siblings);
	reader->console_port->count--;
	sd_event_source_disable_unref(reader->output);
	if (reader->console >= 0)
		close(reader->console);
	free(reader);
}

static uint32_t credit(const struct reader *reader)
{
	const uint32_t under_way = reader->sent - reader->forwarded;

	return under_way < reader->buffer ? reader->buffer - under_way : 0;
}

/* Goes on with the console as soon as its peer may be sent something. */
static void resume(struct reader *reader)
{
	if (reader->output && credit(reader))
		sd_event_source_set_enabled(reader->output, SD_EVENT_ON);
}

/* The console's end is the stream's: the peer answers by a reset, and is dropped then. */
static void end_console(struct reader *reader)
{
	reader->output = sd_event_source_disable_unref(reader->output);
	close(reader->console);
	reader->console = -1;
	send_to(reader, VIRTIO_VSOCK_OP_SHUTDOWN,
		VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
}

static int on_output(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct reader *reader = userdata;
	char data[DATA_MAX];
	size_t room = credit(reader);
	ssize_t got;

	/* Until the peer has read, or the queue has room again. */
	if (!room || !vhost_can_send(&reader->console_port->vsock))
		return sd_event_source_set_enabled(source, SD_EVENT_OFF);
	got = read(fd, data, room < sizeof(data) ? room : sizeof(data));
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got <= 0) {
		end_console(reader);
		return 0;
	}
	send_to(reader, VIRTIO_VSOCK_OP_RW, 0, data, (size_t)got);
	reader->sent += (uint32_t)got;
	return 0;
}

static struct reader *find_reader(
	struct console_port *console_port, const struct virtio_vsock_hdr *header)
{
	struct reader *reader;

	LIST_FOREACH(reader, &console_port->readers, siblings)
	{
		if (reader->cid == le64toh(header->src_cid) &&
			reader->peer_port == le32toh(header->src_port) &&
			reader->port == le32toh(header->dst_port))
			return reader;
	}
	return NULL;
}

/*
 * Makes room for one more. A connection whose console has ended waits for its peer's reset, which the
 * peer may owe for ever.
 */
static bool make_room(struct console_port *console_port)
{
	struct reader *reader;

	if (console_port->count < CONSOLE_PORT_CONNECTIONS_MAX)
		return true;
	LIST_FOREACH(reader, &console_port->readers, siblings)
	{
		if (reader->console < 0) {
			drop_reader(reader);
			return true;
		}
	}
	return false;
}

/* A connection to some enclave's console. NULL: it has none, or none of that. */
static struct reader *add_reader(
	struct console_port *console_port, const struct virtio_vsock_hdr *header)
{
	const uint32_t port = le32toh(header->dst_port);
	const uint64_t cid = le64toh(header->src_cid);
	NEFS_AUTO_CLOSE int console = -1;
	struct reader *reader;

	/* No enclave reads another's console, or takes it from whoever reads it. */
	if (port < NE_CONSOLE_PORT || device_slot_of_cid(console_port->device, cid) ||
		!make_room(console_port))
		return NULL;
	console = device_console(console_port->device,
		device_slot_of_cid(console_port->device, port - NE_CONSOLE_PORT));
	reader = console >= 0 ? calloc(1, sizeof(*reader)) : NULL;
	if (!reader)
		return NULL;
	reader->console_port = console_port;
	reader->cid = cid;
	reader->peer_port = le32toh(header->src_port);
	reader->port = port;
	if (sd_event_add_io(console_port->event, &reader->output, console, EPOLLIN, on_output,
		    reader) < 0) {
		free(reader);
		return NULL;
	}
	sd_event_source_set_description(reader->output, "console of a reader");
	reader->console = nefs_take_fd(&console);
	LIST_INSERT_HEAD(&console_port->readers, reader, siblings);
	console_port->count++;
	return reader;
}

static void handle(
	struct console_port *console_port, const struct virtio_vsock_hdr *header, size_t size)
{
	const uint16_t operation = le16toh(header->op);
	struct reader *reader;

	if (le64toh(header->dst_cid) != NE_CONSOLE_CID)
		return;
	reader = le16toh(header->type) == VIRTIO_VSOCK_TYPE_STREAM
			 ? find_reader(console_port, header)
			 : NULL;
	if (operation == VIRTIO_VSOCK_OP_REQUEST &&
		le16toh(header->type) == VIRTIO_VSOCK_TYPE_STREAM) {
		/* Without room for the answer there is no connection: its peer asks again. */
		if (!vhost_can_send(&console_port->vsock))
			return;
		/* Whoever asks again has forgotten the one before: its machine was reset, say. */
		if (reader)
			drop_reader(reader);
		reader = add_reader(console_port, header);
		if (reader)
			send_to(reader, VIRTIO_VSOCK_OP_RESPONSE, 0, NULL, 0);
	}
	if (!reader) {
		if (operation != VIRTIO_VSOCK_OP_RST)
			send_packet(console_port, header, VIRTIO_VSOCK_OP_RST, 0, NULL, NULL, 0);
		return;
	}
	reader->buffer = le32toh(header->buf_alloc);
	reader->forwarded = le32toh(header->fwd_cnt);
	switch (operation) {
	case VIRTIO_VSOCK_OP_RST:
		drop_reader(reader);
		return;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		/* One that won't send is fine; one that won't receive is gone. */
		if (le32toh(header->flags) & VIRTIO_VSOCK_SHUTDOWN_RCV) {
			send_to(reader, VIRTIO_VSOCK_OP_RST, 0, NULL, 0);
			drop_reader(reader);
			return;
		}
		break;
	case VIRTIO_VSOCK_OP_RW:
		if (le32toh(header->len) > size) {
			send_to(reader, VIRTIO_VSOCK_OP_RST, 0, NULL, 0);
			drop_reader(reader);
			return;
		}
		reader->ignored += le32toh(header->len);
		send_to(reader, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		send_to(reader, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
		break;
	default:
		break;
	}
	resume(reader);
}

/* ---- the device ---- */

static int on_received(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct console_port *console_port = userdata;
	struct virtio_vsock_hdr header;
	const uint8_t *memory;
	unsigned int packet;
	size_t size;

	/* As many as the queue can hold; more raise the signal again. */
	for (unsigned int i = 0;
		i < VHOST_PACKETS && vhost_receive(&console_port->vsock, &memory, &size, &packet);
		i++) {
		memcpy(&header, memory, sizeof(header));
		vhost_receive_done(&console_port->vsock, packet);
		handle(console_port, &header, size);
	}
	return 0;
}

/* There is room to send: those who waited for it go on. */
static int on_taken(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct console_port *console_port = userdata;
	struct reader *reader;

	LIST_FOREACH(reader, &console_port->readers, siblings)
	{
		resume(reader);
	}
	return 0;
}

/* The other process is gone, and the connections with it. What it says here is nothing that was asked. */
static int on_hung_up(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct console_port *console_port = userdata;
	struct reader *reader;
	char unasked[256];
	ssize_t got = recv(fd, unasked, sizeof(unasked), MSG_DONTWAIT);

	if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)))
		return 0;
	fprintf(stderr,
		"nefs-device: the vsock device of CID %d has hung up: consoles cannot be read any more\n",
		NE_CONSOLE_CID);
	while ((reader = LIST_FIRST(&console_port->readers)))
		drop_reader(reader);
	console_port->received = sd_event_source_disable_unref(console_port->received);
	console_port->taken = sd_event_source_disable_unref(console_port->taken);
	console_port->hung_up = sd_event_source_disable_unref(console_port->hung_up);
	return 0;
}

int console_port_new(sd_event *event, const char *vsock, struct device *device,
	struct console_port **result, struct nefs_error *err)
{
	NEFS_AUTO_FREE struct console_port *console_port = calloc(1, sizeof(*console_port));
	int failed;

	if (!console_port)
		return nefs_error_set(
			err, ENOMEM, "out of memory for the port that consoles are read from");
	failed = vhost_device_open(vsock, &console_port->vsock, err);
	if (failed)
		return failed;
	console_port->device = device;
	console_port->event = event;
	LIST_INIT(&console_port->readers);
	failed = sd_event_add_io(event, &console_port->received, console_port->vsock.receive.call,
		EPOLLIN | EPOLLET, on_received, console_port);
	if (failed >= 0)
		failed = sd_event_add_io(event, &console_port->taken, console_port->vsock.send.call,
			EPOLLIN | EPOLLET, on_taken, console_port);
	if (failed >= 0)
		failed = sd_event_add_io(event, &console_port->hung_up, console_port->vsock.socket,
			EPOLLIN, on_hung_up, console_port);
	if (failed < 0) {
		console_port_free(nefs_take_ptr(console_port));
		return nefs_error_set(
			err, -failed, "cannot watch the vsock device: %s", strerror(-failed));
	}
	sd_event_source_set_description(console_port->received, "console port receives");
	sd_event_source_set_description(console_port->taken, "console port has room");
	sd_event_source_set_description(console_port->hung_up, "console port hung up");
	*result = nefs_take_ptr(console_port);
	return 0;
}

void console_port_free(struct console_port *console_port)
{
	struct reader *reader;

	if (!console_port)
		return;
	while ((reader = LIST_FIRST(&console_port->readers)))
		drop_reader(reader);
	sd_event_source_disable_unref(console_port->received);
	sd_event_source_disable_unref(console_port->taken);
	sd_event_source_disable_unref(console_port->hung_up);
	vhost_device_close(&console_port->vsock);
	free(console_port);
}
