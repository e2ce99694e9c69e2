/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vhost_user.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/bell.h>
#include <nefs/cleanup.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

/* Two descriptors a packet; a power of two, as the specification wants it. */
#define DESCRIPTORS (2 * VHOST_PACKETS)

/* Where things are in the memory of a queue. Not at address 0, which stands for "nowhere". */
#define PACKET_SIZE	 4096
#define DESCRIPTOR_TABLE 0x1000
#define AVAILABLE_RING	 0x2000
#define USED_RING	 0x3000
#define PACKETS		 0x4000
#define QUEUE_SIZE	 (PACKETS + VHOST_PACKETS * PACKET_SIZE)
#define DATA_OFFSET	 64 /* in a packet */

#define REPLY_SECONDS 5

enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
};

#define MESSAGE_VERSION	     1U
#define MESSAGE_VERSION_MASK 3U
#define MESSAGE_REPLY	     4U

#define FEATURE_PROTOCOL  (1ULL << 30)
#define FEATURE_VERSION_1 (1ULL << 32)

struct message {
	uint32_t request;
	uint32_t flags;
	uint32_t size;
	union {
		uint64_t number;
		struct {
			uint32_t index;
			uint32_t value;
		} state;
		struct {
			uint32_t index;
			uint32_t flags;
			uint64_t descriptors, used, available, log;
		} addresses;
		struct {
			uint32_t count;
			uint32_t padding;
			uint64_t guest_address, size, user_address, offset;
		} memory;
	} __attribute__((packed));
} __attribute__((packed));

#define MESSAGE_HEADER offsetof(struct message, number)

struct descriptor {
	uint64_t address;
	uint32_t size;
	uint16_t flags;
	uint16_t next;
};

#define DESCRIPTOR_NEXT	 1
#define DESCRIPTOR_WRITE 2 /* by the device */

struct available_ring {
	uint16_t flags;
	uint16_t index;
	uint16_t ring[DESCRIPTORS];
};

struct used_ring {
	uint16_t flags;
	uint16_t index;
	struct {
		uint32_t id;
		uint32_t size;
	} ring[DESCRIPTORS];
};

_Static_assert(VHOST_PACKETS == 64, "a bit of a word each");
_Static_assert(DATA_OFFSET + VHOST_DATA_SIZE <= PACKET_SIZE, "a packet's memory");

/* ---- vhost-user ---- */

/* errno, negative, after a call that a socket's time-out may have ended. */
static int timed_out(void)
{
	return errno == EAGAIN ? -ETIMEDOUT : -errno;
}

static int send_message(
	int socket, uint32_t request, struct message *message, size_t size, const int *fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec piece = { message, MESSAGE_HEADER + size };
	struct msghdr header = { .msg_iov = &piece, .msg_iovlen = 1 };
	ssize_t sent;

	message->request = request;
	message->flags = MESSAGE_VERSION;
	message->size = (uint32_t)size;
	if (fd) {
		struct cmsghdr *part;

		header.msg_control = &control;
		header.msg_controllen = sizeof(control);
		part = CMSG_FIRSTHDR(&header);
		part->cmsg_level = SOL_SOCKET;
		part->cmsg_type = SCM_RIGHTS;
		part->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(part), fd, sizeof(int));
	}
	sent = sendmsg(socket, &header, MSG_NOSIGNAL);
	if (sent < 0)
		return timed_out();
	return sent == (ssize_t)piece.iov_len ? 0 : -EPROTO;
}

static int send_number(int socket, uint32_t request, uint64_t number, const int *fd)
{
	struct message message = { .number = number };

	return send_message(socket, request, &message, sizeof(message.number), fd);
}

static int send_state(int socket, uint32_t request, uint32_t index, uint32_t value)
{
	struct message message = { .state = { index, value } };

	return send_message(socket, request, &message, sizeof(message.state), NULL);
}

static int get_number(int socket, uint32_t request, uint64_t *number)
{
	struct message message = { 0 };
	const ssize_t wanted = MESSAGE_HEADER + sizeof(message.number);
	int failed = send_message(socket, request, &message, 0, NULL);
	ssize_t got;

	if (failed)
		return failed;
	got = recv(socket, &message, (size_t)wanted, MSG_WAITALL);
	if (got < 0)
		return timed_out();
	if (got != wanted || message.request != request ||
		(message.flags & (MESSAGE_VERSION_MASK | MESSAGE_REPLY)) !=
			(MESSAGE_VERSION | MESSAGE_REPLY) ||
		message.size != sizeof(message.number))
		return -EPROTO;
	*number = message.number;
	return 0;
}

/* What both sides know. The addresses of our side are offsets in the shared memory, too. */
static int negotiate(struct vhost_device *device)
{
	struct message table = { .memory = { .count = 1, .size = 2 * QUEUE_SIZE } };
	uint64_t features, protocol;
	int failed = get_number(device->socket, GET_FEATURES, &features);

	if (!failed && (features & (FEATURE_PROTOCOL | FEATURE_VERSION_1)) !=
			       (FEATURE_PROTOCOL | FEATURE_VERSION_1))
		failed = -EPROTO;
	if (!failed)
		failed = get_number(device->socket, GET_PROTOCOL_FEATURES, &protocol);
	if (!failed)
		failed = send_number(device->socket, SET_PROTOCOL_FEATURES, 0, NULL);
	if (!failed)
		failed = send_message(device->socket, SET_OWNER, &table, 0, NULL);
	if (!failed)
		failed = send_number(
			device->socket, SET_FEATURES, FEATURE_PROTOCOL | FEATURE_VERSION_1, NULL);
	if (!failed)
		failed = send_message(device->socket, SET_MEM_TABLE, &table, sizeof(table.memory),
			&device->memfd);
	return failed;
}

static int set_up_queue(
	struct vhost_device *device, const struct vhost_queue *queue, uint32_t index)
{
	const uint64_t base = (uint64_t)(queue->memory - device->memory);
	struct message message = {
		.addresses = {
			.index = index,
			.descriptors = base + DESCRIPTOR_TABLE,
			.used = base + USED_RING,
			.available = base + AVAILABLE_RING,
		},
	};
	int failed = send_state(device->socket, SET_VRING_NUM, index, DESCRIPTORS);

	if (!failed)
		failed = send_state(device->socket, SET_VRING_BASE, index, 0);
	if (!failed)
		failed = send_message(
			device->socket, SET_VRING_ADDR, &message, sizeof(message.addresses), NULL);
	if (!failed)
		failed = send_number(device->socket, SET_VRING_CALL, index, &queue->call);
	if (!failed)
		failed = send_number(device->socket, SET_VRING_KICK, index, &queue->kicked);
	if (!failed)
		failed = send_state(device->socket, SET_VRING_ENABLE, index, 1);
	return failed;
}

/* ---- queues ---- */

static uint8_t *packet_memory(const struct vhost_queue *queue, unsigned int packet)
{
	return queue->memory + PACKETS + (size_t)packet * PACKET_SIZE;
}

/* A packet is two descriptors; the second is left out where there is no data. */
static void describe(const struct vhost_device *device, const struct vhost_queue *queue,
	unsigned int packet, uint16_t flags, size_t data)
{
	struct descriptor *table = (struct descriptor *)(queue->memory + DESCRIPTOR_TABLE);
	const uint64_t address = (uint64_t)(packet_memory(queue, packet) - device->memory);

	table[2 * packet] = (struct descriptor){
		.address = address,
		.size = VHOST_HEADER_SIZE,
		.flags = flags | (data ? DESCRIPTOR_NEXT : 0),
		.next = (uint16_t)(2 * packet + 1),
	};
	table[2 * packet + 1] = (struct descriptor){
		.address = address + DATA_OFFSET,
		.size = (uint32_t)data,
		.flags = flags,
	};
}

static void make_available(struct vhost_queue *queue, unsigned int packet)
{
	struct available_ring *ring = (struct available_ring *)(queue->memory + AVAILABLE_RING);
	const uint64_t one = 1;

	ring->ring[queue->available % DESCRIPTORS] = (uint16_t)(2 * packet);
	queue->available++;
	queue->idle &= ~(1ULL << packet);
	__atomic_store_n(&ring->index, queue->available, __ATOMIC_RELEASE);
	if (send(queue->kick, &one, sizeof(one), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		/* Full, so the device has been told, or gone. */
	}
}

/*
 * A packet that the device is done with, or false. An id that can't be is passed over. An index that
 * is further ahead than packets are out can't be either: the ring is not read until it is right.
 */
static bool take_used(struct vhost_queue *queue, unsigned int *packet, uint32_t *size)
{
	const struct used_ring *ring = (const struct used_ring *)(queue->memory + USED_RING);
	const int out = __builtin_popcountll(~queue->idle);
	uint16_t ahead = __atomic_load_n(&ring->index, __ATOMIC_ACQUIRE) - queue->used;

	if (ahead > out)
		return false;
	for (; ahead > 0; ahead--) {
		/* Read once: the device can write there at any time. */
		const uint32_t id = __atomic_load_n(
			&ring->ring[queue->used % DESCRIPTORS].id, __ATOMIC_RELAXED);

		*size = __atomic_load_n(
			&ring->ring[queue->used % DESCRIPTORS].size, __ATOMIC_RELAXED);
		queue->used++;
		if (id < DESCRIPTORS && id % 2 == 0 && !(queue->idle & 1ULL << id / 2)) {
			*packet = id / 2;
			queue->idle |= 1ULL << *packet;
			return true;
		}
	}
	return false;
}

/*
 * An fd's flags are common to all who have it. The device could make an eventfd block that we write,
 * and fill it; of a pair of sockets each side has an end of its own, and it reads 8 bytes as well.
 */
static int open_queue(struct vhost_queue *queue, uint8_t *memory)
{
	int ends[2];

	queue->memory = memory;
	queue->idle = UINT64_MAX;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends))
		return -errno;
	queue->kick = ends[0];
	queue->kicked = ends[1];
	queue->call = nefs_bell_new();
	return queue->call < 0 ? queue->call : 0;
}

bool vhost_receive(
	struct vhost_device *device, const uint8_t **header, size_t *size, unsigned int *packet)
{
	uint32_t used;

	/* A queue's worth at most: whoever gives them faster than we take them raises the signal again. */
	for (unsigned int i = 0; i < VHOST_PACKETS; i++) {
		if (!take_used(&device->receive, packet, &used))
			return false;
		if (used >= VHOST_HEADER_SIZE) {
			*header = packet_memory(&device->receive, *packet);
			*size = used - VHOST_HEADER_SIZE;
			if (*size > VHOST_DATA_SIZE)
				*size = VHOST_DATA_SIZE;
			return true;
		}
		/* Not a whole header: what stands there came with an earlier packet. */
		vhost_receive_done(device, *packet);
	}
	return false;
}

void vhost_receive_done(struct vhost_device *device, unsigned int packet)
{
	describe(device, &device->receive, packet, DESCRIPTOR_WRITE, VHOST_DATA_SIZE);
	make_available(&device->receive, packet);
}

bool vhost_can_send(struct vhost_device *device)
{
	unsigned int packet;
	uint32_t size;

	while (take_used(&device->send, &packet, &size)) {
		/* Its bit says that it is ours again. */
	}
	return device->send.idle != 0;
}

void vhost_send(struct vhost_device *device, const void *header, const void *data, size_t size)
{
	unsigned int packet = (unsigned int)__builtin_ctzll(device->send.idle);
	uint8_t *memory = packet_memory(&device->send, packet);

	memcpy(memory, header, VHOST_HEADER_SIZE);
	if (size)
		memcpy(memory + DATA_OFFSET, data, size);
	describe(device, &device->send, packet, 0, size);
	make_available(&device->send, packet);
}

/* ---- life ---- */

static int connect_to(const char *path)
{
	const struct timeval timeout = { .tv_sec = REPLY_SECONDS };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	NEFS_AUTO_CLOSE int fd = -1;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* Before connect(2): where nobody accepts, that waits as well. */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return timed_out();
	return nefs_take_fd(&fd);
}

static int share_memory(struct vhost_device *device)
{
	/* Sealed: whoever shares it could cut it off, and our next access would be SIGBUS. */
	device->memfd = memfd_create("nefs-vhost", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (device->memfd < 0 || ftruncate(device->memfd, 2 * QUEUE_SIZE) ||
		fcntl(device->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	device->memory =
		mmap(NULL, 2 * QUEUE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, device->memfd, 0);
	if (device->memory == MAP_FAILED) {
		device->memory = NULL;
		return -errno;
	}
	return 0;
}

int vhost_device_open(const char *path, struct vhost_device *device, struct nefs_error *err)
{
	int failed;

	*device = (struct vhost_device){
		.memfd = -1,
		.receive = { .kick = -1, .kicked = -1, .call = -1 },
		.send = { .kick = -1, .kicked = -1, .call = -1 },
	};
	device->socket = connect_to(path);
	failed = device->socket < 0 ? device->socket : share_memory(device);
	if (!failed)
		failed = open_queue(&device->receive, device->memory);
	if (!failed)
		failed = open_queue(&device->send, device->memory + QUEUE_SIZE);
	if (!failed)
		failed = negotiate(device);
	for (unsigned int i = 0; i < VHOST_PACKETS && !failed; i++)
		vhost_receive_done(device, i);
	if (!failed)
		failed = set_up_queue(device, &device->receive, 0);
	if (!failed)
		failed = set_up_queue(device, &device->send, 1);
	if (!failed)
		return 0;
	vhost_device_close(device);
	return nefs_error_set(err, -failed, "no vhost-user device is to be had of %s: %s", path,
		strerror(-failed));
}

static void close_queue(struct vhost_queue *queue)
{
	nefs_cleanup_close(&queue->kick);
	nefs_cleanup_close(&queue->kicked);
	nefs_cleanup_close(&queue->call);
	queue->kick = queue->kicked = queue->call = -1;
}

void vhost_device_close(struct vhost_device *device)
{
	nefs_cleanup_close(&device->socket);
	close_queue(&device->receive);
	close_queue(&device->send);
	if (device->memory)
		munmap(device->memory, 2 * QUEUE_SIZE);
	nefs_cleanup_close(&device->memfd);
	device->memory = NULL;
	device->socket = device->memfd = -1;
}
