/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vhost-user back end in this process, which has the manners that a test wants: what stands on the other
 * side of backend/vsock/vhost_user.c, as vhost-device-vsock does. It looks at the memory and the rings by
 * what it was told in messages alone. Whatever the front end gets wrong aborts the program.
 */
#ifndef NEFS_TEST_VHOST_BACK_END_H
#define NEFS_TEST_VHOST_BACK_END_H

#include <linux/virtio_vsock.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The messages of a set-up: two that are answered, four more, six for each of two queues. */
#define BACK_END_MESSAGES 18

/* Queues by their index. */
enum { BACK_END_RX, BACK_END_TX, BACK_END_QUEUES };

enum back_end_vice {
	BACK_END_FINE,
	BACK_END_HANGS_UP,	/* instead of taking the message */
	BACK_END_SILENT,	/* never answers */
	BACK_END_HALF_REPLY,	/* half of one, then hangs up */
	BACK_END_STOPS_REPLY,	/* half of one, and never the rest */
	BACK_END_OTHER_REQUEST, /* answers something else */
	BACK_END_NO_REPLY_FLAG,
	BACK_END_OTHER_VERSION,
	BACK_END_SMALL_REPLY, /* says that it is 4 bytes */
	BACK_END_HUGE_REPLY,  /* says that it is 4 GiB */
};

struct back_end_manners {
	enum back_end_vice vice;
	unsigned int at;     /* the message it shows at, from 0 */
	uint64_t without;    /* features that it lacks */
	const void *replies; /* all that it answers, as bytes; NULL: what is right */
	size_t replies_size;
};

struct back_end_queue {
	uint32_t size; /* in descriptors */
	uint64_t descriptors, used, available;
	int kick, call;
	bool enabled;
	uint16_t taken, given; /* entries of the available and the used ring so far */
};

struct back_end {
	char path[96];
	struct back_end_manners manners;
	int listener, client;
	pthread_t thread;
	bool threaded;
	unsigned int messages; /* that came */
	int memfd;
	uint8_t *memory;
	size_t memory_size;
	struct back_end_queue queues[BACK_END_QUEUES];
};

/* Listens, and serves the first client on a thread until that has set its queues up. */
void back_end_open(struct back_end *end, const struct back_end_manners *manners);

/* Waits for that; false: the client hung up before, or was hung up on. */
bool back_end_ready(struct back_end *end);

/* Hangs up; the memory stays. */
void back_end_hang_up(struct back_end *end);
void back_end_close(struct back_end *end);

/*
 * Takes the next entry of a queue's available ring: the id of its first descriptor; false: there is none.
 * All descriptors of its chain are in the memory.
 */
bool back_end_pop(struct back_end *end, unsigned int queue, uint16_t *id);

/* Where the packet's header and data are, and how much data there is room for. */
uint8_t *back_end_header(struct back_end *end, unsigned int queue, uint16_t id);
uint8_t *back_end_data(struct back_end *end, unsigned int queue, uint16_t id, size_t *room);

/* Puts an entry into the used ring, of any content; moves its index by so much; raises the signal. */
void back_end_push(struct back_end *end, unsigned int queue, uint32_t id, uint32_t size);
void back_end_jump(struct back_end *end, unsigned int queue, uint16_t by);
void back_end_call(struct back_end *end, unsigned int queue);

/* Gives a packet to the front end, and says that it is `used` bytes long. False: it has no room. */
bool back_end_give_as(struct back_end *end, const struct virtio_vsock_hdr *header, const void *data,
	size_t size, uint32_t used);
bool back_end_give(
	struct back_end *end, const struct virtio_vsock_hdr *header, const void *data, size_t size);

/* Takes a packet that the front end sent; data has room for 4096 bytes. The size of its data, or -1. */
ssize_t back_end_take(struct back_end *end, struct virtio_vsock_hdr *header, void *data);

#endif
