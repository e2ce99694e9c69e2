/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver's side of a vhost-user device, and back ends that mean it well and badly: what they answer,
 * when they hang up, what they write into the shared memory, what they do with the fds they were given.
 */
#include "cunit_main.h"
#include "temporary.h"
#include "vhost_back_end.h"
#include "vhost_user.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

_Static_assert(sizeof(struct virtio_vsock_hdr) == VHOST_HEADER_SIZE, "the packets' header");

#define LONG_SECONDS 60 /* what hangs is ended by this */

static struct back_end end;
static struct vhost_device device;
static struct nefs_error err;

static void set_up(void)
{
	alarm(LONG_SECONDS);
	nefs_error_clear(&err);
}

static void tear_down(void)
{
	alarm(0);
}

/* A device whose back end is fine. */
static void open_fine(void)
{
	back_end_open(&end, NULL);
	CU_ASSERT_EQUAL_FATAL(vhost_device_open(end.path, &device, &err), 0);
	CU_ASSERT_FATAL(back_end_ready(&end));
}

static void close_both(void)
{
	vhost_device_close(&device);
	back_end_close(&end);
}

/* What opening a device says whose back end has these manners. */
static int opened(const struct back_end_manners *manners)
{
	int result;

	nefs_error_clear(&err);
	back_end_open(&end, manners);
	result = vhost_device_open(end.path, &device, &err);
	if (!result)
		vhost_device_close(&device);
	back_end_close(&end);
	return result;
}

static unsigned int open_fds(void)
{
	unsigned int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static struct virtio_vsock_hdr numbered(uint32_t number)
{
	return (struct virtio_vsock_hdr){ .src_port = number };
}

/* The number of the next packet that came, which is given back; 0: there is none. */
static uint32_t received(size_t *size)
{
	struct virtio_vsock_hdr header;
	const uint8_t *memory;
	unsigned int packet;

	if (!vhost_receive(&device, &memory, size, &packet))
		return 0;
	CU_ASSERT_FATAL(packet < VHOST_PACKETS && *size <= VHOST_DATA_SIZE);
	memcpy(&header, memory, sizeof(header));
	vhost_receive_done(&device, packet);
	return header.src_port;
}

/* ---- set-up ---- */

static void test_set_up(void)
{
	unsigned int count = 0;
	uint16_t id;

	open_fine();
	CU_ASSERT_EQUAL(end.messages, BACK_END_MESSAGES);
	CU_ASSERT(vhost_can_send(&device));
	while (back_end_pop(&end, BACK_END_RX, &id))
		count++;
	CU_ASSERT_EQUAL(count, VHOST_PACKETS);
	CU_ASSERT_FALSE(back_end_pop(&end, BACK_END_TX, &id));
	close_both();
}

static void test_no_socket(void)
{
	char path[200];

	CU_ASSERT_EQUAL(vhost_device_open("/nonexistent/0.sock", &device, &err), -ENOENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nonexistent/0.sock"));
	CU_ASSERT_EQUAL(vhost_device_open("/dev/null", &device, &err), -ECONNREFUSED);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	CU_ASSERT_EQUAL(vhost_device_open(path, &device, &err), -ENAMETOOLONG);
}

static void test_features(void)
{
	for (unsigned int bit = 0; bit < 64; bit++) {
		const struct back_end_manners manners = { .without = 1ULL << bit };
		const bool needed = bit == 30 || bit == 32;

		CU_ASSERT_EQUAL(opened(&manners), needed ? -EPROTO : 0);
	}
}

static void test_wrong_replies(void)
{
	static const enum back_end_vice vices[] = { BACK_END_HALF_REPLY, BACK_END_OTHER_REQUEST,
		BACK_END_NO_REPLY_FLAG, BACK_END_OTHER_VERSION, BACK_END_SMALL_REPLY,
		BACK_END_HUGE_REPLY };

	for (unsigned int at = 0; at < 2; at++) {
		for (size_t i = 0; i < sizeof(vices) / sizeof(vices[0]); i++) {
			const struct back_end_manners manners = { .vice = vices[i], .at = at };

			CU_ASSERT_EQUAL(opened(&manners), -EPROTO);
			CU_ASSERT_NOT_EQUAL(err.text[0], '\0');
		}
	}
}

/* Where nothing is answered the front end may be through before it is hung up on. */
static void test_hang_ups(void)
{
	const unsigned int fds = open_fds();

	for (unsigned int at = 0; at < BACK_END_MESSAGES; at++) {
		const struct back_end_manners manners = { .vice = BACK_END_HANGS_UP, .at = at };
		int result = opened(&manners);

		CU_ASSERT(result == -EPROTO || result == -EPIPE || result == -ECONNRESET ||
			  (result == 0 && at >= 2));
	}
	CU_ASSERT_EQUAL(open_fds(), fds);
}

static void *open_mute(void *path)
{
	struct vhost_device mute;

	return (void *)(intptr_t)vhost_device_open(path, &mute, NULL);
}

/* Whoever does not answer is not waited for for ever. All at once: each takes its 5 s. */
static void test_timeouts(void)
{
	static const struct back_end_manners manners[] = { { .vice = BACK_END_SILENT },
		{ .vice = BACK_END_SILENT, .at = 1 }, { .vice = BACK_END_STOPS_REPLY } };
	char directory[TEMPORARY_MAX];
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct back_end ends[3];
	pthread_t threads[4];
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int first = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timespec began, now;
	void *result;

	/* A listener whose queue is full: connect(2) waits. */
	temporary_directory(directory, "nefs-vhost");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/crowd", directory);
	CU_ASSERT_FATAL(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0 &&
			listen(listener, 0) == 0 &&
			connect(first, (struct sockaddr *)&address, sizeof(address)) == 0);
	clock_gettime(CLOCK_MONOTONIC, &began);
	for (size_t i = 0; i < 3; i++) {
		back_end_open(&ends[i], &manners[i]);
		CU_ASSERT_FATAL(pthread_create(&threads[i], NULL, open_mute, ends[i].path) == 0);
	}
	CU_ASSERT_FATAL(pthread_create(&threads[3], NULL, open_mute, address.sun_path) == 0);
	for (size_t i = 0; i < 4; i++) {
		pthread_join(threads[i], &result);
		/* Half a reply is none, if it came in time. */
		CU_ASSERT(
			(intptr_t)result == -ETIMEDOUT || (i == 2 && (intptr_t)result == -EPROTO));
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	CU_ASSERT(now.tv_sec - began.tv_sec >= 4);
	for (size_t i = 0; i < 3; i++)
		back_end_close(&ends[i]);
	close(first);
	close(listener);
	unlink(address.sun_path);
	rmdir(directory);
}

static void test_again(void)
{
	const unsigned int fds = open_fds();

	for (unsigned int i = 0; i < 3; i++) {
		struct virtio_vsock_hdr header = numbered(7);
		size_t size;

		open_fine();
		CU_ASSERT(back_end_give(&end, &header, "x", 1));
		CU_ASSERT_EQUAL(received(&size), 7);
		CU_ASSERT_EQUAL(size, 1);
		close_both();
	}
	CU_ASSERT_EQUAL(open_fds(), fds);
}

/* ---- packets ---- */

static void test_receives(void)
{
	char data[VHOST_DATA_SIZE];
	size_t size;

	memset(data, 'd', sizeof(data));
	open_fine();
	CU_ASSERT_EQUAL(received(&size), 0);
	/* Often enough for the indices of the rings to wrap. */
	for (uint32_t i = 1; i <= 70000; i++) {
		struct virtio_vsock_hdr header = numbered(i);

		CU_ASSERT_FATAL(back_end_give(&end, &header, data, i % sizeof(data)));
		CU_ASSERT_EQUAL_FATAL(received(&size), i);
		CU_ASSERT_EQUAL_FATAL(size, i % sizeof(data));
	}
	CU_ASSERT_EQUAL(received(&size), 0);
	close_both();
}

static void test_receives_many(void)
{
	struct virtio_vsock_hdr header;
	size_t size;

	open_fine();
	for (uint32_t i = 1; i <= VHOST_PACKETS; i++) {
		header = numbered(i);
		CU_ASSERT(back_end_give(&end, &header, NULL, 0));
	}
	CU_ASSERT_FALSE(back_end_give(&end, &header, NULL, 0));
	for (uint32_t i = 1; i <= VHOST_PACKETS; i++)
		CU_ASSERT_EQUAL(received(&size), i);
	CU_ASSERT_EQUAL(received(&size), 0);
	CU_ASSERT(back_end_give(&end, &header, NULL, 0));
	close_both();
}

static void test_sends(void)
{
	struct virtio_vsock_hdr header;
	char data[4096], got[4096];

	memset(data, 's', sizeof(data));
	open_fine();
	for (uint32_t i = 1; i <= 70000; i++) {
		const size_t size = i % (VHOST_DATA_SIZE + 1);

		header = numbered(i);
		CU_ASSERT_FATAL(vhost_can_send(&device));
		vhost_send(&device, &header, data, size);
		CU_ASSERT_EQUAL_FATAL(back_end_take(&end, &header, got), (ssize_t)size);
		CU_ASSERT_EQUAL_FATAL(header.src_port, i);
		CU_ASSERT_EQUAL_FATAL(memcmp(got, data, size), 0);
	}
	close_both();
}

static void test_sends_many(void)
{
	struct virtio_vsock_hdr header = numbered(1);
	char got[4096];

	open_fine();
	for (uint32_t i = 0; i < VHOST_PACKETS; i++) {
		CU_ASSERT(vhost_can_send(&device));
		vhost_send(&device, &header, NULL, 0);
	}
	CU_ASSERT_FALSE(vhost_can_send(&device));
	CU_ASSERT_EQUAL(back_end_take(&end, &header, got), 0);
	CU_ASSERT(vhost_can_send(&device));
	close_both();
}

static void test_kicks(void)
{
	struct virtio_vsock_hdr header = numbered(1);
	struct pollfd kick;
	uint64_t count;

	open_fine();
	kick = (struct pollfd){ .fd = end.queues[BACK_END_TX].kick, .events = POLLIN };
	CU_ASSERT_EQUAL(poll(&kick, 1, 0), 0);
	CU_ASSERT(vhost_can_send(&device));
	vhost_send(&device, &header, NULL, 0);
	CU_ASSERT_EQUAL(poll(&kick, 1, 0), 1);
	CU_ASSERT_EQUAL(read(kick.fd, &count, sizeof(count)), sizeof(count));
	kick.fd = end.queues[BACK_END_RX].kick;
	CU_ASSERT_EQUAL(poll(&kick, 1, 0), 1);
	close_both();
}

/* ---- a back end that lies ---- */

static void test_sizes(void)
{
	static const uint32_t sizes[] = { VHOST_HEADER_SIZE + VHOST_DATA_SIZE,
		VHOST_HEADER_SIZE + VHOST_DATA_SIZE + 1, 4096, 65536, INT32_MAX, UINT32_MAX };
	struct virtio_vsock_hdr header = numbered(5);
	size_t size;

	open_fine();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		CU_ASSERT(back_end_give_as(&end, &header, NULL, 0, sizes[i]));
		CU_ASSERT_EQUAL(received(&size), 5);
		CU_ASSERT_EQUAL(size, VHOST_DATA_SIZE);
	}
	close_both();
}

/* What is shorter than a header is none: what stands there is of an earlier packet. */
static void test_short_packets(void)
{
	struct virtio_vsock_hdr header = numbered(6);
	size_t size;

	open_fine();
	for (uint32_t used = 0; used < VHOST_HEADER_SIZE; used++)
		CU_ASSERT(back_end_give_as(&end, &header, NULL, 0, used));
	header = numbered(8);
	CU_ASSERT(back_end_give(&end, &header, NULL, 0));
	CU_ASSERT_EQUAL(received(&size), 8);
	CU_ASSERT_EQUAL(received(&size), 0);
	/* The memory of those is not lost. */
	for (uint32_t i = 0; i < VHOST_PACKETS; i++)
		CU_ASSERT(back_end_give(&end, &header, NULL, 0));
	close_both();
}

static void test_wrong_ids(void)
{
	static const uint32_t ids[] = { 1, 3, 127, 128, 129, 256, 65536, INT32_MAX, UINT32_MAX };
	size_t size;

	open_fine();
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		back_end_push(&end, BACK_END_RX, ids[i], 100);
		back_end_push(&end, BACK_END_TX, ids[i], 100);
	}
	/* Nothing was sent, so nothing can be given back. */
	back_end_push(&end, BACK_END_TX, 0, 0);
	CU_ASSERT(vhost_can_send(&device));
	CU_ASSERT_EQUAL(received(&size), 0);
	close_both();
}

/* A packet that is given twice came once. */
static void test_twice(void)
{
	struct virtio_vsock_hdr header = numbered(10);
	const uint8_t *memory;
	unsigned int packet, second;
	uint16_t id;
	size_t size;

	open_fine();
	CU_ASSERT_FATAL(back_end_pop(&end, BACK_END_RX, &id));
	memcpy(back_end_header(&end, BACK_END_RX, id), &header, sizeof(header));
	back_end_push(&end, BACK_END_RX, id, sizeof(header));
	back_end_push(&end, BACK_END_RX, id, sizeof(header));
	CU_ASSERT(vhost_receive(&device, &memory, &size, &packet));
	CU_ASSERT_FALSE(vhost_receive(&device, &memory, &size, &second));
	vhost_receive_done(&device, packet);
	close_both();
}

/*
 * An index that runs ahead of what the queue holds: the ring behind it is of other times, and must not
 * be taken again and again.
 */
static void test_index_jumps(void)
{
	struct virtio_vsock_hdr header = numbered(11);
	unsigned int count = 0;
	size_t size;

	open_fine();
	CU_ASSERT(back_end_give(&end, &header, NULL, 0));
	back_end_jump(&end, BACK_END_RX, 60000);
	while (count < 1000 && received(&size))
		count++;
	CU_ASSERT(count <= VHOST_PACKETS);
	/* One packet is under way, and 200 are said to have been taken. */
	CU_ASSERT(vhost_can_send(&device));
	vhost_send(&device, &header, NULL, 0);
	back_end_jump(&end, BACK_END_TX, 200);
	CU_ASSERT(vhost_can_send(&device));
	close_both();
}

/* The tables are the front end's: what the other side writes there is not read. */
static void test_descriptors_overwritten(void)
{
	struct virtio_vsock_hdr header = numbered(12);
	char got[4096];
	size_t size;

	open_fine();
	CU_ASSERT(back_end_give(&end, &header, "abc", 3));
	for (unsigned int i = 0; i < BACK_END_QUEUES; i++) {
		memset(end.memory + end.queues[i].descriptors, 0xff, 16UL * end.queues[i].size);
		memset(end.memory + end.queues[i].available, 0xff, 6 + 2UL * end.queues[i].size);
	}
	CU_ASSERT_EQUAL(received(&size), 12);
	CU_ASSERT_EQUAL(size, 3);
	/* Written anew for each packet. */
	CU_ASSERT(vhost_can_send(&device));
	vhost_send(&device, &header, "defg", 4);
	CU_ASSERT_EQUAL(back_end_take(&end, &header, got), 4);
	CU_ASSERT_EQUAL(memcmp(got, "defg", 4), 0);
	close_both();
}

/* Whoever has the memory could take it away: the next access would be SIGBUS. */
static void test_memory_stays(void)
{
	struct virtio_vsock_hdr header = numbered(13);
	size_t size;

	open_fine();
	CU_ASSERT_EQUAL(ftruncate(end.memfd, 0), -1);
	CU_ASSERT_EQUAL(errno, EPERM);
	CU_ASSERT_EQUAL(ftruncate(end.memfd, (off_t)(2 * end.memory_size)), -1);
	CU_ASSERT_EQUAL(fallocate(end.memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				(off_t)end.memory_size),
		0);
	CU_ASSERT_EQUAL(received(&size), 0);
	CU_ASSERT(vhost_can_send(&device));
	vhost_send(&device, &header, NULL, 0);
	close_both();
}

static void make_blocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
}

/* An fd's flags are shared with it: whoever has it can make it block, and fill it. */
static void test_fds_that_block(void)
{
	struct virtio_vsock_hdr header = numbered(14);
	uint16_t id;

	open_fine();
	for (unsigned int i = 0; i < BACK_END_QUEUES; i++) {
		const int fds[] = { end.queues[i].kick, end.queues[i].call };

		for (size_t j = 0; j < 2; j++) {
			const uint64_t most = UINT64_MAX - 1;
			uint64_t count;
			struct pollfd full = { .fd = fds[j], .events = POLLIN };

			if (poll(&full, 1, 0) == 1)
				CU_ASSERT(read(fds[j], &count, sizeof(count)) == sizeof(count));
			CU_ASSERT(write(fds[j], &most, sizeof(most)) == sizeof(most));
			make_blocking(fds[j]);
		}
	}
	/* Nobody reads those. */
	for (unsigned int i = 0; i < 5000; i++) {
		CU_ASSERT_FATAL(vhost_can_send(&device));
		vhost_send(&device, &header, NULL, 0);
		CU_ASSERT_FATAL(back_end_pop(&end, BACK_END_TX, &id));
		back_end_push(&end, BACK_END_TX, id, 0);
	}
	close_both();
}

/* Closed, it is closed; a second time does nothing. */
static void test_close_twice(void)
{
	unsigned int fds;

	open_fine();
	vhost_device_close(&device);
	fds = open_fds();
	vhost_device_close(&device);
	CU_ASSERT_EQUAL(open_fds(), fds);
	back_end_close(&end);
}

static const CU_TestInfo tests[] = {
	{ "sets a device up", test_set_up },
	{ "no socket", test_no_socket },
	{ "features that are needed, and others", test_features },
	{ "replies that are none", test_wrong_replies },
	{ "a hang-up at each message", test_hang_ups },
	{ "no answer ends after a time", test_timeouts },
	{ "again and again", test_again },
	{ "receives packets, in order", test_receives },
	{ "receives as many as it holds", test_receives_many },
	{ "sends packets, in order", test_sends },
	{ "sends as many as it holds", test_sends_many },
	{ "kicks", test_kicks },
	{ "sizes that cannot be", test_sizes },
	{ "packets shorter than a header", test_short_packets },
	{ "ids that cannot be", test_wrong_ids },
	{ "a packet given twice", test_twice },
	{ "an index that jumps", test_index_jumps },
	{ "descriptors that are overwritten", test_descriptors_overwritten },
	{ "the memory cannot be taken away", test_memory_stays },
	{ "fds that are made to block", test_fds_that_block },
	{ "is closed twice", test_close_twice },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("vhost_user", tests, set_up, tear_down);
}
