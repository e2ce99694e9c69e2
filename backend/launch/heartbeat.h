/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The heartbeat: an enclave that has booted connects to vsock port 9000 of its parent, sends the
 * byte 0xB7 and waits to get it back (docs/facts/eif.md §7).
 *
 * One listener serves all enclaves that boot at the same time; their connections are told apart by
 * the peer's CID, which the kernel vouches for. It is open only while something boots: another
 * program that starts enclaves needs the same port.
 *
 * Everything here belongs to the loop thread and returns at once.
 */
#ifndef NEFS_HEARTBEAT_H
#define NEFS_HEARTBEAT_H

#include <nefs/error.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#define HEARTBEAT_BYTE 0xb7

/* Most connections kept at a time; one more pushes the oldest out. */
#define HEARTBEAT_CONNECTIONS_MAX 512

/* Where enclaves connect to: AF_VSOCK, or something else in a test. */
struct heartbeat_endpoint {
	/* A listening fd (O_NONBLOCK, O_CLOEXEC), or a negative errno: EADDRINUSE is retried. */
	int (*listen)(const struct heartbeat_endpoint *endpoint);
	/* An accepted fd (O_NONBLOCK, O_CLOEXEC) and its peer's CID, or a negative errno. */
	int (*accept)(const struct heartbeat_endpoint *endpoint, int listener, uint64_t *cid);
	unsigned int retry_ms;	 /* how long a taken port is tried again for */
	unsigned int silence_ms; /* how long a known peer may take to send its byte */
};

/* AF_VSOCK, CID any, port 9000. */
extern const struct heartbeat_endpoint heartbeat_vsock;

struct heartbeat;

/* One enclave that boots. Embedded by its launch; zeroed before the first use. */
struct heartbeat_wait {
	/*
	 * The listener is open (failed is NULL), or cannot be opened. May be called from within
	 * heartbeat_hold. After a failure the wait is no longer held.
	 */
	void (*listening)(struct heartbeat_wait *wait, const struct nefs_error *failed);
	/* The right byte came from the expected CID, and was sent back. */
	void (*beat)(struct heartbeat_wait *wait);

	/* What was odd about the last connection of this enclave, "" if nothing. */
	char anomaly[96];

	/* The rest is the heartbeat's. */
	enum {
		HEARTBEAT_IDLE,
		HEARTBEAT_WAITS_FOR_PORT,
		HEARTBEAT_HELD,
		HEARTBEAT_EXPECTED,
	} state;
	uint64_t cid;
	LIST_ENTRY(heartbeat_wait) entry; /* of the port's queue, or of a bucket */
};

/* Opens nothing yet. ENOMEM. */
int heartbeat_new(sd_event *event, const struct heartbeat_endpoint *endpoint,
	struct heartbeat **heartbeat, struct nefs_error *err);

/* NULL is allowed. Nothing may be held any more. */
void heartbeat_free(struct heartbeat *heartbeat);

/* From now on the listener is wanted; listening() says how that went. */
void heartbeat_hold(struct heartbeat *heartbeat, struct heartbeat_wait *wait);

/*
 * The CID of a held wait is known: beat() is called, later and once, when its heartbeat arrives or
 * if it has arrived already.
 */
void heartbeat_expect(struct heartbeat *heartbeat, struct heartbeat_wait *wait, uint64_t cid);

/*
 * The wait is over, whatever came of it; the last one closes the listener and what is left of the
 * connections. Does nothing for one that is not held.
 */
void heartbeat_release(struct heartbeat *heartbeat, struct heartbeat_wait *wait);

/* Connections and listeners open now. For tests. */
unsigned int heartbeat_fds(const struct heartbeat *heartbeat);

#endif
