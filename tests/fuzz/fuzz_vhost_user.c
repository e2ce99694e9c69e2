/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile back end of the vsock device, and hostile peers behind it: answers of any content; packets,
 * used rings and shared memory of any content; consoles that print and end meanwhile. The input is a list of
 * actions, each of them a byte that says which, then its operands; whatever is missing at the end
 * reads as 0. An input whose first byte is odd is what the back end answers, and nothing more.
 */
#include "../unit/vhost_back_end.h"
#include "console_port.h"
#include "fuzz.h"
#include <errno.h>
#include <nefs/cleanup.h>
#include <nefs/ne_limits.h>
#include <sys/socket.h>

#define ACTIONS_MAX 256
#define ENCLAVE	    16 /* the first one's CID */
#define ENCLAVES    8
#define TURNS_MAX   100000 /* of the loop; more is a loop without an end */
#define CARRIED_MAX 3732   /* bytes of data that vhost-device-vsock carries */

struct device {
	int consoles[ENCLAVES]; /* where an enclave prints; -1: nobody reads it */
	bool ended[ENCLAVES];
};

struct fixture {
	struct device device;
	struct back_end end;
	sd_event *event;
	struct console_port *port;
	bool overwritten; /* the memory: no telling any more what is in the front end's rings */
};

/* ---- the device ---- */

uint64_t device_slot_of_cid(struct device *device, uint64_t cid)
{
	return cid >= ENCLAVE && cid < ENCLAVE + ENCLAVES && !device->ended[cid - ENCLAVE]
		       ? cid - ENCLAVE + 1
		       : 0;
}

int device_console(struct device *device, uint64_t slot_uid)
{
	int ends[2];

	if (slot_uid == 0)
		return -ENOTCONN;
	must(slot_uid <= ENCLAVES);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends))
		return -errno;
	nefs_cleanup_close(&device->consoles[slot_uid - 1]);
	device->consoles[slot_uid - 1] = ends[0];
	return ends[1];
}

/* ---- actions ---- */

static void settle(struct fixture *fixture)
{
	unsigned int turns = 0;

	while (sd_event_run(fixture->event, 0) > 0)
		must(turns++ < TURNS_MAX);
}

/* A packet's memory, or any that stands in for it. */
static bool receive_place(struct fixture *fixture, uint16_t *id)
{
	if (!fixture->overwritten)
		return back_end_pop(&fixture->end, BACK_END_RX, id);
	*id = 0;
	return true;
}

/* A packet of these operands, or of these bytes. */
static void give(struct fixture *fixture, const struct virtio_vsock_hdr *header, uint32_t used)
{
	struct back_end *end = &fixture->end;
	uint16_t id;

	if (!receive_place(fixture, &id))
		return;
	if (!fixture->overwritten)
		memcpy(back_end_header(end, BACK_END_RX, id), header, sizeof(*header));
	back_end_push(end, BACK_END_RX, id, used);
	back_end_call(end, BACK_END_RX);
}

/* One that could be: the fields are of few values, so that connections come about. */
static void give_packet(struct fixture *fixture, struct input *input)
{
	const uint8_t where = (uint8_t)number(input, 1), kind = (uint8_t)number(input, 1);
	const uint32_t buffer = (uint32_t)number(input, 2), forwarded = (uint32_t)number(input, 2);
	struct virtio_vsock_hdr header = {
		.src_cid = where & 0x80 ? ENCLAVE : 3,
		.dst_cid = where & 0x40 ? 1 : 0,
		.src_port = 1000 + (where >> 4 & 3),
		.dst_port = NE_CONSOLE_PORT + ENCLAVE + (where & 15),
		.len = kind & 0x80 ? buffer : 0,
		.type = kind & 0x40 ? 2 : 1,
		.op = kind & 15,
		.flags = kind >> 4 & 3,
		.buf_alloc = buffer << 4,
		.fwd_cnt = forwarded,
	};

	give(fixture, &header, (uint32_t)sizeof(header) + header.len);
}

static void give_bytes(struct fixture *fixture, struct input *input)
{
	const uint32_t used = (uint32_t)number(input, 4);
	struct virtio_vsock_hdr header = { 0 };
	const uint8_t *data;
	const size_t size = bytes(input, &data, sizeof(header));

	memcpy(&header, data, size);
	give(fixture, &header, used);
}

static void push(struct fixture *fixture, struct input *input)
{
	const unsigned int queue = number(input, 1) % BACK_END_QUEUES;
	const uint32_t id = (uint32_t)number(input, 4), size = (uint32_t)number(input, 4);

	back_end_push(&fixture->end, queue, id, size);
	back_end_call(&fixture->end, queue);
}

static void jump(struct fixture *fixture, struct input *input)
{
	const unsigned int queue = number(input, 1) % BACK_END_QUEUES;

	back_end_jump(&fixture->end, queue, (uint16_t)number(input, 2));
	back_end_call(&fixture->end, queue);
}

static void overwrite(struct fixture *fixture, struct input *input)
{
	const size_t offset = number(input, 3) % fixture->end.memory_size;
	const size_t wanted = number(input, 2);
	const uint8_t *data;
	size_t size = bytes(input, &data, wanted);

	if (size > fixture->end.memory_size - offset)
		size = fixture->end.memory_size - offset;
	memcpy(fixture->end.memory + offset, data, size);
	fixture->overwritten = true;
}

/* Takes what was sent, and sees that it can be carried. */
static void take(struct fixture *fixture, unsigned int most)
{
	struct virtio_vsock_hdr header;
	uint8_t data[4096];
	ssize_t size;

	for (unsigned int i = 0; i < most && !fixture->overwritten; i++) {
		size = back_end_take(&fixture->end, &header, data);
		if (size < 0)
			return;
		must(size <= CARRIED_MAX && header.len == size && header.src_cid == NE_CONSOLE_CID);
		must(size == 0 || header.op == VIRTIO_VSOCK_OP_RW);
	}
}

static void print(struct fixture *fixture, struct input *input)
{
	static const char text[4096];
	const int console = fixture->device.consoles[number(input, 1) % ENCLAVES];
	const size_t size = number(input, 2) % sizeof(text);

	if (console >= 0 && size > 0 && send(console, text, size, MSG_NOSIGNAL) < 0)
		must(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
}

static void end_enclave(struct fixture *fixture, struct input *input)
{
	const size_t enclave = number(input, 1) % ENCLAVES;

	nefs_cleanup_close(&fixture->device.consoles[enclave]);
	fixture->device.consoles[enclave] = -1;
	fixture->device.ended[enclave] = !fixture->device.ended[enclave];
}

static void act(struct fixture *fixture, struct input *input)
{
	switch (number(input, 1) % 12) {
	case 0:
	case 1:
	case 2:
		give_packet(fixture, input);
		break;
	case 3:
		give_bytes(fixture, input);
		break;
	case 4:
		push(fixture, input);
		break;
	case 5:
		jump(fixture, input);
		break;
	case 6:
		overwrite(fixture, input);
		break;
	case 7:
		take(fixture, (unsigned int)number(input, 1));
		break;
	case 8:
		print(fixture, input);
		break;
	case 9:
		end_enclave(fixture, input);
		break;
	case 10:
		/* Now, with others to come before the loop looks, it is too late. */
		shutdown(fixture->end.client, SHUT_RDWR);
		break;
	default:
		settle(fixture);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct back_end_manners manners = { 0 };
	struct nefs_error err = { 0 };
	struct fixture fixture = { 0 };
	int failed;

	for (size_t i = 0; i < ENCLAVES; i++)
		fixture.device.consoles[i] = -1;
	if (number(&input, 1) & 1) {
		manners.replies = input.data;
		manners.replies_size = input.size < 4096 ? input.size : 4096;
		input.size = 0;
	}
	must(sd_event_new(&fixture.event) >= 0);
	back_end_open(&fixture.end, &manners);
	failed = console_port_new(
		fixture.event, fixture.end.path, &fixture.device, &fixture.port, &err);
	must(!failed == !err.text[0]);
	must(failed || back_end_ready(&fixture.end));
	for (unsigned int i = 0; !failed && i < ACTIONS_MAX && input.size; i++)
		act(&fixture, &input);
	if (!failed) {
		settle(&fixture);
		take(&fixture, UINT32_MAX);
	}
	console_port_free(fixture.port);
	back_end_close(&fixture.end);
	for (size_t i = 0; i < ENCLAVES; i++)
		nefs_cleanup_close(&fixture.device.consoles[i]);
	sd_event_unref(fixture.event);
	return 0;
}
