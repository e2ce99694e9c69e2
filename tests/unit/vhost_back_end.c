/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vhost_back_end.h"
#include "temporary.h"
#include <errno.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

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

#define VERSION_1	1U
#define REPLY		4U
#define FEATURES_NEEDED (1ULL << 30 | 1ULL << 32)
#define HEADER_WORDS	3

/* A message: its header, and a payload of at most 40 bytes. */
struct message {
	uint32_t request, flags, size;
	union {
		uint64_t numbers[5];
		uint32_t words[10];
		uint8_t bytes[40];
	} __attribute__((packed));
} __attribute__((packed));

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "back end: not %s\n", what);
	abort();
}

/* ---- messages ---- */

/* A whole message and the fd that came with it, or -1. False: the client has hung up. */
static bool receive(int client, struct message *message, int *fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec piece = { message, HEADER_WORDS * sizeof(uint32_t) };
	struct msghdr header = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	const struct cmsghdr *part;

	*fd = -1;
	if (recvmsg(client, &header, MSG_WAITALL | MSG_CMSG_CLOEXEC) != (ssize_t)piece.iov_len)
		return false;
	part = CMSG_FIRSTHDR(&header);
	if (part) {
		must(part->cmsg_len == CMSG_LEN(sizeof(int)), "one fd");
		memcpy(fd, CMSG_DATA(part), sizeof(int));
	}
	must(message->flags == VERSION_1 && message->size <= sizeof(message->bytes), "a message");
	return message->size == 0 ||
	       recv(client, message->bytes, message->size, MSG_WAITALL) == (ssize_t)message->size;
}

static void reply(
	const struct back_end *end, uint32_t request, uint64_t number, enum back_end_vice vice)
{
	struct message message = {
		.request = vice == BACK_END_OTHER_REQUEST ? SET_FEATURES : request,
		.flags = (vice == BACK_END_OTHER_VERSION ? 2 : VERSION_1) |
			 (vice == BACK_END_NO_REPLY_FLAG ? 0 : REPLY),
		.size = vice == BACK_END_SMALL_REPLY  ? 4
			: vice == BACK_END_HUGE_REPLY ? UINT32_MAX
						      : sizeof(number),
		.numbers = { number },
	};
	size_t size = HEADER_WORDS * sizeof(uint32_t) + sizeof(number);

	if (vice == BACK_END_HALF_REPLY || vice == BACK_END_STOPS_REPLY)
		size /= 2;
	must(send(end->client, &message, size, MSG_NOSIGNAL) == (ssize_t)size || errno == EPIPE,
		"a reply sent");
}

static void set_memory(struct back_end *end, const struct message *message, int fd)
{
	struct stat status;

	/* Count and padding, then one region: guest address, size, user address, offset. */
	must(message->words[0] == 1 && message->size == 40 && fd >= 0, "one memory region");
	must(message->numbers[1] == 0 && message->numbers[3] == 0 && message->numbers[4] == 0,
		"memory from 0");
	end->memfd = fd;
	end->memory_size = message->numbers[2];
	must(fstat(fd, &status) == 0 && status.st_size == (off_t)end->memory_size, "all of it");
	end->memory =
		mmap(NULL, end->memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, end->memfd, 0);
	must(end->memory != MAP_FAILED, "memory");
}

static struct back_end_queue *queue_of(struct back_end *end, uint64_t index)
{
	must(index < BACK_END_QUEUES, "a queue");
	return &end->queues[index];
}

/* What is told by a message that has no answer. */
static void learn(struct back_end *end, const struct message *message, int fd)
{
	struct back_end_queue *queue = &end->queues[BACK_END_RX];

	if (message->request >= SET_VRING_NUM && message->request <= SET_VRING_ENABLE &&
		message->request != SET_PROTOCOL_FEATURES)
		queue = queue_of(end, message->words[0]);
	switch (message->request) {
	case SET_PROTOCOL_FEATURES:
		must(message->numbers[0] == 0, "no protocol features");
		break;
	case SET_OWNER:
		must(message->size == 0, "an empty message");
		break;
	case SET_FEATURES:
		must(message->numbers[0] == FEATURES_NEEDED, "the features that it needs");
		break;
	case SET_MEM_TABLE:
		set_memory(end, message, fd);
		return;
	case SET_VRING_NUM:
		queue->size = message->words[1];
		must(queue->size && !(queue->size & (queue->size - 1)), "a power of two");
		break;
	case SET_VRING_BASE:
		must(message->words[1] == 0, "a ring from its beginning");
		break;
	case SET_VRING_ADDR:
		queue->descriptors = message->numbers[1];
		queue->used = message->numbers[2];
		queue->available = message->numbers[3];
		must(queue->descriptors % 16 == 0 && queue->used % 4 == 0 &&
				queue->available % 2 == 0 &&
				queue->descriptors + 16UL * queue->size <= end->memory_size &&
				queue->used + 6 + 8UL * queue->size <= end->memory_size &&
				queue->available + 6 + 2UL * queue->size <= end->memory_size,
			"rings in the memory");
		break;
	case SET_VRING_CALL:
		must(fd >= 0, "a call fd");
		queue->call = fd;
		return;
	case SET_VRING_KICK:
		must(fd >= 0, "a kick fd");
		queue->kick = fd;
		return;
	case SET_VRING_ENABLE:
		queue->enabled = message->words[1] == 1;
		break;
	default:
		must(false, "a message that a front end sends");
	}
	must(fd < 0, "without an fd");
}

static void answer(struct back_end *end, uint32_t request, enum back_end_vice vice)
{
	/* More than is needed: whoever asks must not take what it does not know. */
	const uint64_t all = request == GET_FEATURES ? (1ULL << 29 | FEATURES_NEEDED) : UINT64_MAX;

	if (!end->manners.replies)
		reply(end, request, all & ~end->manners.without, vice);
	if (vice == BACK_END_HALF_REPLY)
		shutdown(end->client, SHUT_RDWR);
}

static void *serve(void *argument)
{
	struct back_end *end = argument;
	const struct back_end_manners *manners = &end->manners;
	struct message message;
	int fd;

	end->client = accept4(end->listener, NULL, NULL, SOCK_CLOEXEC);
	must(end->client >= 0, "a client");
	if (manners->replies && manners->replies_size)
		must(send(end->client, manners->replies, manners->replies_size, MSG_NOSIGNAL) > 0 ||
				errno == EPIPE || errno == ECONNRESET,
			"replies sent");
	/* Two replies are waited for: where there are not so many bytes, that is the end. */
	if (manners->replies && manners->replies_size < 40)
		shutdown(end->client, SHUT_WR);
	while (end->messages < BACK_END_MESSAGES) {
		const bool vice = manners->vice && end->messages == manners->at;

		if (vice && manners->vice == BACK_END_HANGS_UP) {
			shutdown(end->client, SHUT_RDWR);
			break;
		}
		if (!receive(end->client, &message, &fd))
			break;
		end->messages++;
		if (vice && manners->vice == BACK_END_SILENT)
			continue;
		if (message.request == GET_FEATURES || message.request == GET_PROTOCOL_FEATURES)
			answer(end, message.request, vice ? manners->vice : BACK_END_FINE);
		else
			learn(end, &message, fd);
	}
	return NULL;
}

/* ---- life ---- */

void back_end_open(struct back_end *end, const struct back_end_manners *manners)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	*end = (struct back_end){ .client = -1, .memfd = -1 };
	if (manners)
		end->manners = *manners;
	for (size_t i = 0; i < BACK_END_QUEUES; i++)
		end->queues[i].kick = end->queues[i].call = -1;
	temporary_directory(end->path, "nefs-vhost");
	strcat(end->path, "/socket");
	strcpy(address.sun_path, end->path);
	end->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(end->listener >= 0 &&
			bind(end->listener, (struct sockaddr *)&address, sizeof(address)) == 0 &&
			listen(end->listener, 1) == 0,
		"a listener");
	end->threaded = pthread_create(&end->thread, NULL, serve, end) == 0;
	must(end->threaded, "a thread");
}

bool back_end_ready(struct back_end *end)
{
	if (end->threaded)
		pthread_join(end->thread, NULL);
	end->threaded = false;
	return end->messages == BACK_END_MESSAGES && end->queues[BACK_END_RX].enabled &&
	       end->queues[BACK_END_TX].enabled;
}

void back_end_hang_up(struct back_end *end)
{
	back_end_ready(end);
	close(end->client);
	end->client = -1;
}

void back_end_close(struct back_end *end)
{
	if (end->threaded)
		shutdown(end->listener, SHUT_RDWR);
	back_end_ready(end);
	close(end->listener);
	unlink(end->path);
	*strrchr(end->path, '/') = '\0';
	rmdir(end->path);
	if (end->client >= 0)
		close(end->client);
	for (size_t i = 0; i < BACK_END_QUEUES; i++) {
		if (end->queues[i].kick >= 0)
			close(end->queues[i].kick);
		if (end->queues[i].call >= 0)
			close(end->queues[i].call);
	}
	if (end->memory)
		munmap(end->memory, end->memory_size);
	if (end->memfd >= 0)
		close(end->memfd);
}

/* ---- rings ---- */

/* The descriptor, which has to be in the memory with all that it describes. */
static const struct vring_desc *descriptor(
	struct back_end *end, const struct back_end_queue *queue, uint16_t id)
{
	const struct vring_desc *table =
		(const struct vring_desc *)(end->memory + queue->descriptors);

	must(id < queue->size, "a descriptor of the table");
	must(table[id].addr <= end->memory_size &&
			table[id].len <= end->memory_size - table[id].addr,
		"in the memory");
	return &table[id];
}

bool back_end_pop(struct back_end *end, unsigned int index, uint16_t *id)
{
	struct back_end_queue *queue = &end->queues[index];
	const struct vring_avail *ring =
		(const struct vring_avail *)(end->memory + queue->available);
	const uint16_t flags = index == BACK_END_RX ? VRING_DESC_F_WRITE : 0;
	const struct vring_desc *part;

	if (__atomic_load_n(&ring->idx, __ATOMIC_ACQUIRE) == queue->taken)
		return false;
	*id = ring->ring[queue->taken % queue->size];
	queue->taken++;
	part = descriptor(end, queue, *id);
	must((part->flags & VRING_DESC_F_WRITE) == flags, "of the direction of its queue");
	must(part->len == sizeof(struct virtio_vsock_hdr), "a header");
	if (part->flags & VRING_DESC_F_NEXT) {
		part = descriptor(end, queue, part->next);
		must(part->flags == flags && part->len > 0, "data at the chain's end");
	}
	return true;
}

uint8_t *back_end_header(struct back_end *end, unsigned int queue, uint16_t id)
{
	return end->memory + descriptor(end, &end->queues[queue], id)->addr;
}

uint8_t *back_end_data(struct back_end *end, unsigned int queue, uint16_t id, size_t *room)
{
	const struct vring_desc *part = descriptor(end, &end->queues[queue], id);

	*room = 0;
	if (!(part->flags & VRING_DESC_F_NEXT))
		return NULL;
	part = descriptor(end, &end->queues[queue], part->next);
	*room = part->len;
	return end->memory + part->addr;
}

static struct vring_used *used_ring(struct back_end *end, const struct back_end_queue *queue)
{
	return (struct vring_used *)(end->memory + queue->used);
}

void back_end_push(struct back_end *end, unsigned int index, uint32_t id, uint32_t size)
{
	struct back_end_queue *queue = &end->queues[index];

	used_ring(end, queue)->ring[queue->given % queue->size] =
		(struct vring_used_elem){ .id = id, .len = size };
	back_end_jump(end, index, 1);
}

void back_end_jump(struct back_end *end, unsigned int index, uint16_t by)
{
	struct back_end_queue *queue = &end->queues[index];

	queue->given = (uint16_t)(queue->given + by);
	__atomic_store_n(&used_ring(end, queue)->idx, queue->given, __ATOMIC_RELEASE);
}

void back_end_call(struct back_end *end, unsigned int queue)
{
	must(eventfd_write(end->queues[queue].call, 1) == 0, "a signal");
}

bool back_end_give_as(struct back_end *end, const struct virtio_vsock_hdr *header, const void *data,
	size_t size, uint32_t used)
{
	uint16_t id;
	uint8_t *place;
	size_t room;

	if (!back_end_pop(end, BACK_END_RX, &id))
		return false;
	memcpy(back_end_header(end, BACK_END_RX, id), header, sizeof(*header));
	place = back_end_data(end, BACK_END_RX, id, &room);
	must(size <= room, "room for the data");
	if (size)
		memcpy(place, data, size);
	back_end_push(end, BACK_END_RX, id, used);
	back_end_call(end, BACK_END_RX);
	return true;
}

bool back_end_give(
	struct back_end *end, const struct virtio_vsock_hdr *header, const void *data, size_t size)
{
	return back_end_give_as(end, header, data, size, (uint32_t)(sizeof(*header) + size));
}

ssize_t back_end_take(struct back_end *end, struct virtio_vsock_hdr *header, void *data)
{
	uint16_t id;
	uint8_t *place;
	size_t size;

	if (!back_end_pop(end, BACK_END_TX, &id))
		return -1;
	memcpy(header, back_end_header(end, BACK_END_TX, id), sizeof(*header));
	place = back_end_data(end, BACK_END_TX, id, &size);
	must(size <= 4096, "a packet that can be carried");
	if (size)
		memcpy(data, place, size);
	back_end_push(end, BACK_END_TX, id, 0);
	back_end_call(end, BACK_END_TX);
	return (ssize_t)size;
}
