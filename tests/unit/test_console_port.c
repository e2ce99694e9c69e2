/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The port that consoles are read from: connections of all kinds, their credit, their ends; peers and
 * enclaves that are gone; packets that are wrong. The device is a table of consoles in this file.
 */
#include "console_port.h"
#include "cunit_main.h"
#include "vhost_back_end.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <nefs/ne_limits.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define PARENT	     3
#define ENCLAVE	     16 /* the first one's CID */
#define ENCLAVES     80
#define PEER_PORT    1234
#define BUFFER	     65536
#define LONG_SECONDS 60 /* what hangs is ended by this */
#define DATA_ROOM    4096

/* ---- the device ---- */

struct device {
	int consoles[ENCLAVES]; /* where an enclave prints; -1: nobody reads it */
	bool running[ENCLAVES], debug[ENCLAVES];
	unsigned int attached; /* how often a console was opened */
};

uint64_t device_slot_of_cid(struct device *device, uint64_t cid)
{
	return cid >= ENCLAVE && cid < ENCLAVE + ENCLAVES && device->running[cid - ENCLAVE]
		       ? cid - ENCLAVE + 1
		       : 0;
}

int device_console(struct device *device, uint64_t slot_uid)
{
	int ends[2];

	if (slot_uid == 0 || !device->debug[slot_uid - 1])
		return -ENOTCONN;
	CU_ASSERT_FATAL(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends));
	/* Whoever read before gets an end. */
	nefs_cleanup_close(&device->consoles[slot_uid - 1]);
	device->consoles[slot_uid - 1] = ends[0];
	device->attached++;
	return ends[1];
}

/* ---- the rig ---- */

static struct device device;
static struct back_end end;
static struct console_port *port;
static sd_event *event;

/* The last packet that came out of the port. */
static struct virtio_vsock_hdr got;
static char data[DATA_ROOM];
static ssize_t size;

static void set_up(void)
{
	struct nefs_error err = { 0 };

	alarm(LONG_SECONDS);
	memset(&device, 0, sizeof(device));
	for (size_t i = 0; i < ENCLAVES; i++) {
		device.consoles[i] = -1;
		device.running[i] = device.debug[i] = true;
	}
	CU_ASSERT_FATAL(sd_event_new(&event) >= 0);
	back_end_open(&end, NULL);
	CU_ASSERT_EQUAL_FATAL(console_port_new(event, end.path, &device, &port, &err), 0);
	CU_ASSERT_FATAL(back_end_ready(&end));
}

static void tear_down(void)
{
	console_port_free(port);
	back_end_close(&end);
	for (size_t i = 0; i < ENCLAVES; i++)
		nefs_cleanup_close(&device.consoles[i]);
	sd_event_unref(event);
	alarm(0);
}

/* Lets the loop do all there is to do. False: that would take for ever. */
static bool settle(void)
{
	unsigned int turns = 0;

	while (turns < 100000 && sd_event_run(event, 0) > 0)
		turns++;
	return turns < 100000;
}

/* The next packet of the port, or false. */
static bool take(void)
{
	CU_ASSERT_FATAL(settle());
	size = back_end_take(&end, &got, data);
	return size >= 0;
}

/* Takes one that has to be there, of this kind, for this peer. */
static void expect_for(uint16_t op, uint64_t cid, uint32_t peer_port, uint32_t to)
{
	CU_ASSERT_FATAL(take());
	CU_ASSERT_EQUAL(le16toh(got.op), op);
	CU_ASSERT_EQUAL(le64toh(got.src_cid), NE_CONSOLE_CID);
	CU_ASSERT_EQUAL(le64toh(got.dst_cid), cid);
	CU_ASSERT_EQUAL(le32toh(got.dst_port), peer_port);
	CU_ASSERT_EQUAL(le32toh(got.src_port), to);
	CU_ASSERT_EQUAL(le32toh(got.len), size);
	CU_ASSERT(op == VIRTIO_VSOCK_OP_RW || size == 0);
}

static void expect(uint16_t op)
{
	expect_for(op, PARENT, PEER_PORT, NE_CONSOLE_PORT + ENCLAVE);
}

static void expect_nothing(void)
{
	CU_ASSERT_FALSE(take());
}

/* A packet of the parent's to the first enclave's console. */
static struct virtio_vsock_hdr packet(uint16_t op)
{
	return (struct virtio_vsock_hdr){
		.src_cid = htole64(PARENT),
		.dst_cid = htole64(NE_CONSOLE_CID),
		.src_port = htole32(PEER_PORT),
		.dst_port = htole32(NE_CONSOLE_PORT + ENCLAVE),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16(op),
		.buf_alloc = htole32(BUFFER),
	};
}

static void give(const struct virtio_vsock_hdr *header)
{
	CU_ASSERT_FATAL(back_end_give(&end, header, NULL, 0));
	CU_ASSERT_FATAL(settle());
}

static void give_op(uint16_t op)
{
	struct virtio_vsock_hdr header = packet(op);

	give(&header);
}

static void connect_parent(void)
{
	give_op(VIRTIO_VSOCK_OP_REQUEST);
	expect(VIRTIO_VSOCK_OP_RESPONSE);
}

static void print(unsigned int enclave, const char *text)
{
	const size_t length = strlen(text);

	CU_ASSERT_FATAL(device.consoles[enclave] >= 0);
	CU_ASSERT_FATAL(
		send(device.consoles[enclave], text, length, MSG_NOSIGNAL) == (ssize_t)length);
}

/* The enclave ends. */
static void finish(unsigned int enclave)
{
	nefs_cleanup_close(&device.consoles[enclave]);
	device.consoles[enclave] = -1;
	device.running[enclave] = false;
}

/* Does the port still read that console? */
static bool is_read(unsigned int enclave)
{
	return send(device.consoles[enclave], "", 1, MSG_NOSIGNAL) == 1;
}

/* ---- connections ---- */

static void test_connects(void)
{
	connect_parent();
	CU_ASSERT_EQUAL(le16toh(got.type), VIRTIO_VSOCK_TYPE_STREAM);
	CU_ASSERT(le32toh(got.buf_alloc) > 0);
	CU_ASSERT_EQUAL(le32toh(got.fwd_cnt), 0);
	print(0, "hello");
	expect(VIRTIO_VSOCK_OP_RW);
	CU_ASSERT(size == 5 && memcmp(data, "hello", 5) == 0);
	print(0, "again");
	expect(VIRTIO_VSOCK_OP_RW);
	CU_ASSERT(size == 5 && memcmp(data, "again", 5) == 0);
	expect_nothing();
}

static void test_refuses_ports(void)
{
	static const uint32_t ports[] = { 0, 1, NE_CONSOLE_PORT - 1, NE_CONSOLE_PORT,
		NE_CONSOLE_PORT + PARENT, NE_CONSOLE_PORT + ENCLAVE + ENCLAVES, INT32_MAX,
		UINT32_MAX };

	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_REQUEST);

		header.dst_port = htole32(ports[i]);
		give(&header);
		expect_for(VIRTIO_VSOCK_OP_RST, PARENT, PEER_PORT, ports[i]);
	}
	CU_ASSERT_EQUAL(device.attached, 0);
}

static void test_refuses_without_debug(void)
{
	device.debug[0] = false;
	give_op(VIRTIO_VSOCK_OP_REQUEST);
	expect(VIRTIO_VSOCK_OP_RST);
	device.debug[0] = true;
	device.running[0] = false;
	give_op(VIRTIO_VSOCK_OP_REQUEST);
	expect(VIRTIO_VSOCK_OP_RST);
	CU_ASSERT_EQUAL(device.attached, 0);
}

static void test_refuses_enclaves(void)
{
	struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_REQUEST);

	connect_parent();
	header.src_cid = htole64(ENCLAVE + 1);
	give(&header);
	expect_for(VIRTIO_VSOCK_OP_RST, ENCLAVE + 1, PEER_PORT, NE_CONSOLE_PORT + ENCLAVE);
	/* Its own neither: it has that in its hands. */
	header.src_cid = htole64(ENCLAVE);
	give(&header);
	expect_for(VIRTIO_VSOCK_OP_RST, ENCLAVE, PEER_PORT, NE_CONSOLE_PORT + ENCLAVE);
	CU_ASSERT_EQUAL(device.attached, 1);
	print(0, "still the parent's");
	expect(VIRTIO_VSOCK_OP_RW);
}

/* A machine that was reset has forgotten its connection, and may use the same port again. */
static void test_asks_again(void)
{
	connect_parent();
	print(0, "one");
	expect(VIRTIO_VSOCK_OP_RW);
	connect_parent();
	CU_ASSERT_EQUAL(device.attached, 2);
	print(0, "two");
	expect(VIRTIO_VSOCK_OP_RW);
	CU_ASSERT(size == 3 && memcmp(data, "two", 3) == 0);
	expect_nothing();
	/* And where the enclave is gone by now, it is told so. */
	finish(0);
	expect(VIRTIO_VSOCK_OP_SHUTDOWN);
	give_op(VIRTIO_VSOCK_OP_REQUEST);
	expect(VIRTIO_VSOCK_OP_RST);
	expect_nothing();
}

/* The peers differ in one thing each: none gets what is another's. */
static void test_tells_peers_apart(void)
{
	struct virtio_vsock_hdr first = packet(VIRTIO_VSOCK_OP_REQUEST), second = first,
				third = first;

	second.dst_port = htole32(NE_CONSOLE_PORT + ENCLAVE + 1);
	third.src_port = htole32(PEER_PORT + 1);
	third.dst_port = htole32(NE_CONSOLE_PORT + ENCLAVE + 2);
	give(&first);
	expect(VIRTIO_VSOCK_OP_RESPONSE);
	give(&second);
	expect_for(VIRTIO_VSOCK_OP_RESPONSE, PARENT, PEER_PORT, NE_CONSOLE_PORT + ENCLAVE + 1);
	give(&third);
	expect_for(VIRTIO_VSOCK_OP_RESPONSE, PARENT, PEER_PORT + 1, NE_CONSOLE_PORT + ENCLAVE + 2);
	print(1, "1");
	expect_for(VIRTIO_VSOCK_OP_RW, PARENT, PEER_PORT, NE_CONSOLE_PORT + ENCLAVE + 1);
	print(2, "2");
	expect_for(VIRTIO_VSOCK_OP_RW, PARENT, PEER_PORT + 1, NE_CONSOLE_PORT + ENCLAVE + 2);
	print(0, "0");
	expect(VIRTIO_VSOCK_OP_RW);
	second.op = htole16(VIRTIO_VSOCK_OP_RST);
	give(&second);
	CU_ASSERT_FALSE(is_read(1));
	CU_ASSERT(is_read(0) && is_read(2));
}

/* Whoever reads a console takes it from the one before. */
static void test_second_reader(void)
{
	struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_REQUEST);

	connect_parent();
	header.src_port = htole32(PEER_PORT + 1);
	give(&header);
	expect_for(VIRTIO_VSOCK_OP_RESPONSE, PARENT, PEER_PORT + 1, NE_CONSOLE_PORT + ENCLAVE);
	expect(VIRTIO_VSOCK_OP_SHUTDOWN);
	give_op(VIRTIO_VSOCK_OP_RST);
	print(0, "x");
	expect_for(VIRTIO_VSOCK_OP_RW, PARENT, PEER_PORT + 1, NE_CONSOLE_PORT + ENCLAVE);
}

static void test_many(void)
{
	struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_REQUEST);

	for (uint32_t i = 0; i <= CONSOLE_PORT_CONNECTIONS_MAX; i++) {
		header.dst_port = htole32(NE_CONSOLE_PORT + ENCLAVE + i);
		give(&header);
		expect_for(i < CONSOLE_PORT_CONNECTIONS_MAX ? VIRTIO_VSOCK_OP_RESPONSE
							    : VIRTIO_VSOCK_OP_RST,
			PARENT, PEER_PORT, NE_CONSOLE_PORT + ENCLAVE + i);
	}
	for (unsigned int i = 0; i < CONSOLE_PORT_CONNECTIONS_MAX; i++) {
		print(i, "x");
		expect_for(VIRTIO_VSOCK_OP_RW, PARENT, PEER_PORT, NE_CONSOLE_PORT + ENCLAVE + i);
	}
	/* One that has ended gives its place, though its peer never said that it knows. */
	finish(7);
	expect_for(VIRTIO_VSOCK_OP_SHUTDOWN, PARENT, PEER_PORT, NE_CONSOLE_PORT + ENCLAVE + 7);
	give(&header);
	expect_for(VIRTIO_VSOCK_OP_RESPONSE, PARENT, PEER_PORT,
		NE_CONSOLE_PORT + ENCLAVE + CONSOLE_PORT_CONNECTIONS_MAX);
	header.dst_port = htole32(NE_CONSOLE_PORT + ENCLAVE + CONSOLE_PORT_CONNECTIONS_MAX + 1);
	give(&header);
	expect_for(VIRTIO_VSOCK_OP_RST, PARENT, PEER_PORT,
		NE_CONSOLE_PORT + ENCLAVE + CONSOLE_PORT_CONNECTIONS_MAX + 1);
}

/* ---- credit ---- */

static void test_credit(void)
{
	struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_REQUEST);

	header.buf_alloc = htole32(4);
	give(&header);
	expect(VIRTIO_VSOCK_OP_RESPONSE);
	print(0, "0123456789");
	expect(VIRTIO_VSOCK_OP_RW);
	CU_ASSERT(size == 4 && memcmp(data, "0123", 4) == 0);
	expect_nothing();
	header.op = htole16(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	header.fwd_cnt = htole32(3);
	give(&header);
	expect(VIRTIO_VSOCK_OP_RW);
	CU_ASSERT(size == 3 && memcmp(data, "456", 3) == 0);
	expect_nothing();
	/* A larger buffer is credit as well. */
	header.buf_alloc = htole32(6);
	give(&header);
	expect(VIRTIO_VSOCK_OP_RW);
	CU_ASSERT(size == 2 && memcmp(data, "78", 2) == 0);
	/* A smaller one takes some back, more than there is. */
	header.buf_alloc = htole32(1);
	give(&header);
	expect_nothing();
	header.buf_alloc = htole32(BUFFER);
	give(&header);
	expect(VIRTIO_VSOCK_OP_RW);
	CU_ASSERT(size == 1 && data[0] == '9');
}

static void test_no_credit(void)
{
	struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_REQUEST);

	header.buf_alloc = 0;
	give(&header);
	expect(VIRTIO_VSOCK_OP_RESPONSE);
	print(0, "nothing of this");
	expect_nothing();
	/* It ends meanwhile; who has no credit is not told before what was printed. */
	finish(0);
	expect_nothing();
	header.op = htole16(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	header.buf_alloc = htole32(BUFFER);
	give(&header);
	expect(VIRTIO_VSOCK_OP_RW);
	CU_ASSERT_EQUAL(size, 15);
	expect(VIRTIO_VSOCK_OP_SHUTDOWN);
	expect_nothing();
}

/* More taken than was sent: no credit, and nothing worse. */
static void test_credit_lies(void)
{
	struct virtio_vsock_hdr header;

	connect_parent();
	header = packet(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	header.fwd_cnt = htole32(1000);
	give(&header);
	print(0, "x");
	expect_nothing();
	header.fwd_cnt = 0;
	header.buf_alloc = htole32(UINT32_MAX);
	give(&header);
	expect(VIRTIO_VSOCK_OP_RW);
}

/* All that is printed comes, in order, in packets that back ends carry. */
static void test_much_output(void)
{
	static char text[200000];
	size_t printed = 0, seen = 0;
	struct virtio_vsock_hdr header;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 23);
	connect_parent();
	while (seen < sizeof(text)) {
		ssize_t sent = send(
			device.consoles[0], text + printed, sizeof(text) - printed, MSG_NOSIGNAL);

		printed += sent > 0 ? (size_t)sent : 0;
		while (take()) {
			CU_ASSERT_EQUAL_FATAL(le16toh(got.op), VIRTIO_VSOCK_OP_RW);
			CU_ASSERT_FATAL(
				size > 0 && size <= 3732 && seen + (size_t)size <= sizeof(text));
			CU_ASSERT_FATAL(memcmp(data, text + seen, (size_t)size) == 0);
			seen += (size_t)size;
		}
		header = packet(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		header.fwd_cnt = htole32((uint32_t)seen);
		give(&header);
	}
	expect_nothing();
}

/* The back end takes nothing for a while: the output waits, and goes on when it does. */
static void test_full_queue(void)
{
	struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	unsigned int count = 0;

	connect_parent();
	for (unsigned int i = 0; i < 200; i++)
		give(&header);
	print(0, "waits");
	CU_ASSERT(settle());
	/* There is no room to answer it: it did not come to be. */
	header.op = htole16(VIRTIO_VSOCK_OP_REQUEST);
	header.dst_port = htole32(NE_CONSOLE_PORT + ENCLAVE + 1);
	give(&header);
	CU_ASSERT_EQUAL(device.attached, 1);
	while (take() && le16toh(got.op) == VIRTIO_VSOCK_OP_CREDIT_UPDATE)
		count++;
	CU_ASSERT_EQUAL(count, 64);
	CU_ASSERT_EQUAL(le16toh(got.op), VIRTIO_VSOCK_OP_RW);
	CU_ASSERT(size == 5 && memcmp(data, "waits", 5) == 0);
	expect_nothing();
	give(&header);
	expect_for(VIRTIO_VSOCK_OP_RESPONSE, PARENT, PEER_PORT, NE_CONSOLE_PORT + ENCLAVE + 1);
}

/* ---- input, of which none is wanted ---- */

static void test_ignores_input(void)
{
	struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_RW);
	uint32_t total = 0;

	connect_parent();
	for (uint32_t length = 0; length < 3584; length += 512) {
		header.len = htole32(length);
		CU_ASSERT_FATAL(back_end_give(&end, &header, data, length));
		total += length;
		expect(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		CU_ASSERT_EQUAL(le32toh(got.fwd_cnt), total);
	}
	give_op(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	expect(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	CU_ASSERT_EQUAL(le32toh(got.fwd_cnt), total);
	print(0, "x");
	expect(VIRTIO_VSOCK_OP_RW);
}

static void test_wrong_lengths(void)
{
	static const uint32_t lengths[] = { 11, 4096, INT32_MAX, UINT32_MAX };
	struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_RW);

	/* More memory than data: what the header says counts. */
	connect_parent();
	header.len = htole32(4);
	CU_ASSERT_FATAL(back_end_give(&end, &header, data, 10));
	expect(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	CU_ASSERT_EQUAL(le32toh(got.fwd_cnt), 4);
	/* More data than memory: there is no telling what was lost. */
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		header.len = htole32(lengths[i]);
		CU_ASSERT_FATAL(back_end_give(&end, &header, data, 10));
		expect(VIRTIO_VSOCK_OP_RST);
		CU_ASSERT_FALSE(is_read(0));
		connect_parent();
	}
}

static void test_wrong_ops(void)
{
	static const uint16_t ops[] = { 0, VIRTIO_VSOCK_OP_RESPONSE, 8, 255, UINT16_MAX };
	struct virtio_vsock_hdr header;

	/* Of a connection that is none: a reset each. */
	for (uint16_t op = 0; op < 10; op++) {
		if (op == VIRTIO_VSOCK_OP_REQUEST || op == VIRTIO_VSOCK_OP_RST)
			continue;
		give_op(op);
		expect(VIRTIO_VSOCK_OP_RST);
		expect_nothing();
	}
	/* No reset is answered by one: that would have no end. */
	give_op(VIRTIO_VSOCK_OP_RST);
	expect_nothing();
	connect_parent();
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		header = packet(ops[i]);
		give(&header);
		expect_nothing();
	}
	print(0, "x");
	expect(VIRTIO_VSOCK_OP_RW);
}

/* VIRTIO 1.2, §5.10.6.4: what is of an unknown type is answered by a reset. */
static void test_wrong_types(void)
{
	static const uint16_t types[] = { 0, 2, 3, UINT16_MAX };

	connect_parent();
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		for (uint16_t op = VIRTIO_VSOCK_OP_REQUEST; op <= VIRTIO_VSOCK_OP_RW; op++) {
			struct virtio_vsock_hdr header = packet(op);

			header.type = htole16(types[i]);
			give(&header);
			if (op == VIRTIO_VSOCK_OP_RST)
				continue;
			expect(VIRTIO_VSOCK_OP_RST);
			CU_ASSERT_EQUAL(le16toh(got.type), types[i]);
		}
	}
	expect_nothing();
	/* None of them was the connection's. */
	print(0, "x");
	expect(VIRTIO_VSOCK_OP_RW);
	CU_ASSERT_EQUAL(device.attached, 1);
}

static void test_wrong_cids(void)
{
	static const uint64_t cids[] = { 1, 2, PARENT, ENCLAVE, UINT32_MAX, 1ULL << 32,
		UINT64_MAX };
	struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_REQUEST);

	for (size_t i = 0; i < sizeof(cids) / sizeof(cids[0]); i++) {
		header.dst_cid = htole64(cids[i]);
		give(&header);
		expect_nothing();
	}
	CU_ASSERT_EQUAL(device.attached, 0);
	/* The upper half of a peer's CID is part of it. */
	header.dst_cid = htole64(NE_CONSOLE_CID);
	header.src_cid = htole64(1ULL << 32 | PARENT);
	give(&header);
	expect_for(VIRTIO_VSOCK_OP_RESPONSE, 1ULL << 32 | PARENT, PEER_PORT,
		NE_CONSOLE_PORT + ENCLAVE);
	give_op(VIRTIO_VSOCK_OP_RW);
	expect(VIRTIO_VSOCK_OP_RST);
}

/* ---- ends ---- */

static void test_peer_resets(void)
{
	connect_parent();
	CU_ASSERT(is_read(0));
	expect(VIRTIO_VSOCK_OP_RW);
	give_op(VIRTIO_VSOCK_OP_RST);
	CU_ASSERT_FALSE(is_read(0));
	expect_nothing();
	connect_parent();
}

static void test_half_close(void)
{
	struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_SHUTDOWN);

	connect_parent();
	give(&header);
	header.flags = htole32(VIRTIO_VSOCK_SHUTDOWN_SEND);
	give(&header);
	expect_nothing();
	print(0, "x");
	expect(VIRTIO_VSOCK_OP_RW);
	header.flags = htole32(VIRTIO_VSOCK_SHUTDOWN_RCV);
	give(&header);
	expect(VIRTIO_VSOCK_OP_RST);
	CU_ASSERT_FALSE(is_read(0));
	connect_parent();
	header.flags = htole32(VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND);
	give(&header);
	expect(VIRTIO_VSOCK_OP_RST);
	CU_ASSERT_FALSE(is_read(0));
	/* It is gone for good. */
	give(&header);
	expect(VIRTIO_VSOCK_OP_RST);
	expect_nothing();
}

static void test_enclave_ends(void)
{
	connect_parent();
	print(0, "last words");
	finish(0);
	expect(VIRTIO_VSOCK_OP_RW);
	CU_ASSERT(size == 10 && memcmp(data, "last words", 10) == 0);
	expect(VIRTIO_VSOCK_OP_SHUTDOWN);
	CU_ASSERT_EQUAL(le32toh(got.flags), VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND);
	expect_nothing();
	/* Whatever its peer still says, it is said once. */
	give_op(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	expect_nothing();
	give_op(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	expect(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	give_op(VIRTIO_VSOCK_OP_RST);
	expect_nothing();
	give_op(VIRTIO_VSOCK_OP_RW);
	expect(VIRTIO_VSOCK_OP_RST);
}

static void test_back_end_gone(void)
{
	connect_parent();
	CU_ASSERT(is_read(0));
	back_end_hang_up(&end);
	CU_ASSERT(settle());
	CU_ASSERT_FALSE(is_read(0));
	/* What it still writes into the memory is nobody's. */
	give_op(VIRTIO_VSOCK_OP_REQUEST);
	CU_ASSERT_EQUAL(device.attached, 1);
}

/* It has nothing to say on its socket; what it says is not its end. */
static void test_back_end_talks(void)
{
	static const char talk[5000];

	CU_ASSERT(send(end.client, talk, sizeof(talk), MSG_NOSIGNAL) == sizeof(talk));
	CU_ASSERT(settle());
	connect_parent();
}

/* A back end that says the same thing over and over; the loop goes on. */
static void test_signals_without_packets(void)
{
	for (unsigned int i = 0; i < 1000; i++) {
		back_end_call(&end, i % BACK_END_QUEUES);
		CU_ASSERT_FATAL(settle());
	}
	expect_nothing();
	connect_parent();
}

/* The same packet, read 60,000 times by an index that jumps, is not so many. */
static void test_index_jumps(void)
{
	struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_RW);

	give(&header);
	expect(VIRTIO_VSOCK_OP_RST);
	back_end_jump(&end, BACK_END_RX, 60000);
	back_end_call(&end, BACK_END_RX);
	expect_nothing();
}

/* Writes into all that is shared, at any time, until it is told to stop. */
static void *scribble(void *stop)
{
	uint32_t random = 1;

	while (!atomic_load((atomic_bool *)stop)) {
		const struct back_end_queue *queue = &end.queues[random >> 8 & 1];
		uint32_t *words = (uint32_t *)end.memory;

		random = random * 1664525 + 1013904223;
		/* One in four is a ring of used entries, where it matters most. */
		if (random >> 30)
			__atomic_store_n(&words[(random >> 4) % (end.memory_size / 4)],
				random >> 20, __ATOMIC_RELAXED);
		else
			__atomic_store_n(
				&words[queue->used / 4 + (random >> 4) % (2 * queue->size)],
				random >> 20 & 255, __ATOMIC_RELAXED);
		back_end_jump(&end, random >> 8 & 1, (uint16_t)(random >> 16 & 3));
		back_end_call(&end, random >> 8 & 1);
	}
	return NULL;
}

/* What is checked may be another thing a moment later: the loop goes on, whatever it reads. */
static void test_memory_changes_meanwhile(void)
{
	atomic_bool stop = false;
	pthread_t thread;

	connect_parent();
	CU_ASSERT_FATAL(pthread_create(&thread, NULL, scribble, &stop) == 0);
	for (unsigned int i = 0; i < 20000; i++) {
		CU_ASSERT_FATAL(sd_event_run(event, 0) >= 0);
		if (device.consoles[0] >= 0)
			is_read(0);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	CU_ASSERT(settle());
}

static void test_free_while_connected(void)
{
	connect_parent();
	print(0, "x");
	console_port_free(port);
	port = NULL;
	CU_ASSERT_FALSE(is_read(0));
	console_port_free(NULL);
}

static void test_no_back_end(void)
{
	struct nefs_error err = { 0 };
	struct console_port *other = NULL;

	CU_ASSERT_EQUAL(
		console_port_new(event, "/nonexistent/0.sock", &device, &other, &err), -ENOENT);
	CU_ASSERT_PTR_NULL(other);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nonexistent/0.sock"));
}

static const CU_TestInfo tests[] = {
	{ "reads a console", test_connects },
	{ "ports that are nobody's", test_refuses_ports },
	{ "no debug mode, no enclave", test_refuses_without_debug },
	{ "no enclave reads a console", test_refuses_enclaves },
	{ "a peer asks again", test_asks_again },
	{ "peers are told apart", test_tells_peers_apart },
	{ "a second reader", test_second_reader },
	{ "as many as there may be", test_many },
	{ "output within the credit", test_credit },
	{ "no credit", test_no_credit },
	{ "credit that cannot be", test_credit_lies },
	{ "much output", test_much_output },
	{ "a queue that is full", test_full_queue },
	{ "input is counted and ignored", test_ignores_input },
	{ "wrong lengths", test_wrong_lengths },
	{ "wrong operations", test_wrong_ops },
	{ "wrong types", test_wrong_types },
	{ "wrong CIDs", test_wrong_cids },
	{ "the peer resets", test_peer_resets },
	{ "the peer closes, half or all", test_half_close },
	{ "the enclave ends", test_enclave_ends },
	{ "the back end is gone", test_back_end_gone },
	{ "the back end talks", test_back_end_talks },
	{ "signals without packets", test_signals_without_packets },
	{ "an index that jumps", test_index_jumps },
	{ "the memory changes meanwhile", test_memory_changes_meanwhile },
	{ "ends with readers", test_free_while_connected },
	{ "no back end", test_no_back_end },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("console_port", tests, set_up, tear_down);
}
