/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "heartbeat.h"

#include <errno.h>
#include <inttypes.h>
#include <nefs/clock.h>
#include <nefs/list.h>
#include <nefs/ne_limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

/* CIDs are spread over so many lists; they are handed out one by one, so the low bits differ. */
#define BUCKETS 256

/* Most connections accepted before the loop looks at something else. */
#define ACCEPTS_AT_ONCE 64

/* Between two attempts at a taken port, and before accepting again after running out of fds. */
#define RETRY_USEC 100000ULL

/* One connection. */
struct connection {
	struct heartbeat *heartbeat;
	uint64_t cid;
	int fd;
	/* Only of a matched one: before, nothing is read. */
	struct heartbeat_wait *wait;
	sd_event_source *io;
	sd_event_source *silence;
	LIST_ENTRY(connection) by_cid;
	TAILQ_ENTRY(connection) by_age;
};

LIST_HEAD(wait_list, heartbeat_wait);
LIST_HEAD(connection_list, connection);
TAILQ_HEAD(connection_queue, connection);

struct heartbeat {
	sd_event *event;
	const struct heartbeat_endpoint *endpoint;
	unsigned int held; /* waits that are not idle */
	int listener;	   /* -1: closed */
	sd_event_source *accepts;
	sd_event_source *retry; /* a taken port, or a pause in accepting */
	uint64_t retry_until;	/* usec, CLOCK_MONOTONIC; 0: no port is waited for */
	struct wait_list queued;
	struct wait_list waits[BUCKETS];
	struct connection_list connections[BUCKETS];
	struct connection_queue ages; /* oldest first */
	unsigned int connection_count;
};

static void connection_close(struct connection *connection)
{
	struct heartbeat *heartbeat = connection->heartbeat;

	LIST_REMOVE(connection, by_cid);
	TAILQ_REMOVE(&heartbeat->ages, connection, by_age);
	heartbeat->connection_count--;
	sd_event_source_disable_unref(connection->io);
	sd_event_source_disable_unref(connection->silence);
	close(connection->fd);
	free(connection);
}

static struct connection *connection_of(struct heartbeat *heartbeat, uint64_t cid)
{
	struct connection *connection;

	LIST_FOREACH(connection, &heartbeat->connections[cid % BUCKETS], by_cid)
	{
		if (connection->cid == cid)
			return connection;
	}
	return NULL;
}

static struct heartbeat_wait *wait_of(struct heartbeat *heartbeat, uint64_t cid)
{
	struct heartbeat_wait *wait;

	LIST_FOREACH(wait, &heartbeat->waits[cid % BUCKETS], entry)
	{
		if (wait->cid == cid)
			return wait;
	}
	return NULL;
}

/* The one byte, if it is there. Closes the connection unless more has to be waited for. */
static int on_byte(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct connection *connection = userdata;
	struct heartbeat_wait *wait = connection->wait;
	unsigned char byte;
	ssize_t got = read(fd, &byte, 1);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got < 0) {
		snprintf(wait->anomaly, sizeof(wait->anomaly), "its connection failed: %s",
			strerror(errno));
	} else if (got == 0) {
		snprintf(wait->anomaly, sizeof(wait->anomaly),
			"it connected, and closed without a byte");
	} else if (byte != HEARTBEAT_BYTE) {
		snprintf(wait->anomaly, sizeof(wait->anomaly),
			"it connected, but sent 0x%02x instead of 0x%02x", byte, HEARTBEAT_BYTE);
	} else if (send(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) {
		snprintf(wait->anomaly, sizeof(wait->anomaly),
			"its heartbeat could not be answered: %s", strerror(errno));
	} else {
		connection_close(connection);
		wait->beat(wait);
		return 0;
	}
	connection_close(connection);
	return 0;
}

static int on_silence(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct connection *connection = userdata;

	snprintf(connection->wait->anomaly, sizeof(connection->wait->anomaly),
		"it connected, but sent nothing for %u ms",
		connection->heartbeat->endpoint->silence_ms);
	connection_close(connection);
	return 0;
}

/* The CID of this connection is expected: read from it. */
static void connection_match(struct connection *connection, struct heartbeat_wait *wait)
{
	struct heartbeat *heartbeat = connection->heartbeat;

	connection->wait = wait;
	if (sd_event_add_io(heartbeat->event, &connection->io, connection->fd, EPOLLIN, on_byte,
		    connection) < 0 ||
		sd_event_add_time_relative(heartbeat->event, &connection->silence, CLOCK_MONOTONIC,
			heartbeat->endpoint->silence_ms * 1000ULL, NEFS_TIMER_ACCURACY_USEC,
			on_silence, connection) < 0) {
		snprintf(wait->anomaly, sizeof(wait->anomaly), "its connection cannot be watched");
		connection_close(connection);
		return;
	}
	sd_event_source_set_description(connection->io, "heartbeat connection");
	sd_event_source_set_description(connection->silence, "heartbeat silence");
	/* Of a heartbeat and a hang-up in one turn of the loop, the heartbeat came first. */
	sd_event_source_set_priority(connection->io, SD_EVENT_PRIORITY_NORMAL - 20);
}

/* Takes in an accepted connection, its fd included. */
static void connection_add(struct heartbeat *heartbeat, int fd, uint64_t cid)
{
	struct heartbeat_wait *wait = wait_of(heartbeat, cid);
	struct connection *connection = connection_of(heartbeat, cid);

	/*
	 * One a CID: an enclave that runs already can connect as often as it likes, and must not
	 * push out the others. The newer one counts, the older has not said anything right.
	 */
	if (connection)
		connection_close(connection);
	if (heartbeat->connection_count >= HEARTBEAT_CONNECTIONS_MAX)
		connection_close(TAILQ_FIRST(&heartbeat->ages));
	connection = calloc(1, sizeof(*connection));
	if (!connection) {
		close(fd);
		return;
	}
	connection->heartbeat = heartbeat;
	connection->cid = cid;
	connection->fd = fd;
	LIST_INSERT_HEAD(&heartbeat->connections[cid % BUCKETS], connection, by_cid);
	TAILQ_INSERT_TAIL(&heartbeat->ages, connection, by_age);
	heartbeat->connection_count++;
	/* Unknown as yet: the result of its start may still be on its way from the worker. */
	if (wait)
		connection_match(connection, wait);
}

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct heartbeat *heartbeat = userdata;

	heartbeat->retry = sd_event_source_disable_unref(heartbeat->retry);
	if (heartbeat->accepts)
		sd_event_source_set_enabled(heartbeat->accepts, SD_EVENT_ON);
	return 0;
}

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct heartbeat *heartbeat = userdata;

	for (unsigned int i = 0; i < ACCEPTS_AT_ONCE; i++) {
		uint64_t cid = 0;
		int accepted = heartbeat->endpoint->accept(heartbeat->endpoint, fd, &cid);

		if (accepted >= 0) {
			connection_add(heartbeat, accepted, cid);
			continue;
		}
		/* Out of fds or memory: the listener stays readable, so look away for a while. */
		if (accepted == -EMFILE || accepted == -ENFILE || accepted == -ENOMEM ||
			accepted == -ENOBUFS) {
			if (sd_event_add_time_relative(heartbeat->event, &heartbeat->retry,
				    CLOCK_MONOTONIC, RETRY_USEC, NEFS_TIMER_ACCURACY_USEC,
				    on_pause_over, heartbeat) >= 0)
				sd_event_source_set_enabled(source, SD_EVENT_OFF);
		}
		/* Anything else is the fate of one connection. */
		if (accepted != -ECONNABORTED && accepted != -EINTR)
			break;
	}
	return 0;
}

/* Opens the listener. Returns 0 or a negative errno. */
static int open_listener(struct heartbeat *heartbeat)
{
	int fd = heartbeat->endpoint->listen(heartbeat->endpoint);
	int failed;

	if (fd < 0)
		return fd;
	failed = sd_event_add_io(
		heartbeat->event, &heartbeat->accepts, fd, EPOLLIN, on_accept, heartbeat);
	if (failed < 0) {
		close(fd);
		return failed;
	}
	sd_event_source_set_description(heartbeat->accepts, "heartbeat listener");
	sd_event_source_set_priority(heartbeat->accepts, SD_EVENT_PRIORITY_NORMAL - 30);
	heartbeat->listener = fd;
	return 0;
}

static void close_all(struct heartbeat *heartbeat)
{
	struct connection *connection;

	heartbeat->retry = sd_event_source_disable_unref(heartbeat->retry);
	heartbeat->retry_until = 0;
	heartbeat->accepts = sd_event_source_disable_unref(heartbeat->accepts);
	if (heartbeat->listener >= 0)
		close(heartbeat->listener);
	heartbeat->listener = -1;
	while ((connection = TAILQ_FIRST(&heartbeat->ages)))
		connection_close(connection);
}

static void listen_error(const struct heartbeat *heartbeat, int failed, struct nefs_error *err)
{
	if (failed == -EADDRINUSE)
		nefs_error_set(err, EIO,
			"vsock port %d, on which enclaves report in, has been taken by another "
			"process for %u ms: wait until nitro-cli has started its enclave, or stop "
			"what holds the port (ss --vsock -lp)",
			NE_HEARTBEAT_PORT, heartbeat->endpoint->retry_ms);
	else if (failed == -EAFNOSUPPORT || failed == -EADDRNOTAVAIL || failed == -ENODEV)
		nefs_error_set(err, EIO,
			"cannot listen on vsock port %d, on which enclaves report in: %s: this "
			"kernel's vsock has no transport (modprobe vsock vmw_vsock_virtio_transport)",
			NE_HEARTBEAT_PORT, strerror(-failed));
	else
		nefs_error_set(err, EIO,
			"cannot listen on vsock port %d, on which enclaves report in: %s",
			NE_HEARTBEAT_PORT, strerror(-failed));
}

/* The port's fate is known: tell all that wait for it. */
static void tell_queued(struct heartbeat *heartbeat, const struct nefs_error *failed)
{
	struct wait_list told;
	struct heartbeat_wait *wait;

	heartbeat->retry_until = 0;
	/* A callback may queue again: that is for the next round. */
	NEFS_LIST_MOVE(&told, &heartbeat->queued, entry);
	while ((wait = LIST_FIRST(&told))) {
		LIST_REMOVE(wait, entry);
		if (failed) {
			wait->state = HEARTBEAT_IDLE;
			heartbeat->held--;
		} else {
			wait->state = HEARTBEAT_HELD;
		}
		wait->listening(wait, failed);
	}
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata);

/* Tries the port; if it is taken, again later. */
static void try_port(struct heartbeat *heartbeat)
{
	int failed = open_listener(heartbeat);
	struct nefs_error why;

	heartbeat->retry = sd_event_source_disable_unref(heartbeat->retry);
	if (!failed) {
		tell_queued(heartbeat, NULL);
		return;
	}
	if (heartbeat->retry_until == 0)
		heartbeat->retry_until = nefs_now_usec() + heartbeat->endpoint->retry_ms * 1000ULL;
	if (failed == -EADDRINUSE && nefs_now_usec() < heartbeat->retry_until &&
		sd_event_add_time_relative(heartbeat->event, &heartbeat->retry, CLOCK_MONOTONIC,
			RETRY_USEC, NEFS_TIMER_ACCURACY_USEC, on_retry, heartbeat) >= 0)
		return;
	listen_error(heartbeat, failed, &why);
	tell_queued(heartbeat, &why);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	try_port(userdata);
	return 0;
}

void heartbeat_hold(struct heartbeat *heartbeat, struct heartbeat_wait *wait)
{
	heartbeat->held++;
	wait->anomaly[0] = '\0';
	if (heartbeat->listener >= 0) {
		wait->state = HEARTBEAT_HELD;
		wait->listening(wait, NULL);
		return;
	}
	wait->state = HEARTBEAT_WAITS_FOR_PORT;
	LIST_INSERT_HEAD(&heartbeat->queued, wait, entry);
	if (heartbeat->retry_until == 0)
		try_port(heartbeat);
}

void heartbeat_expect(struct heartbeat *heartbeat, struct heartbeat_wait *wait, uint64_t cid)
{
	struct connection *connection;

	if (wait->state != HEARTBEAT_HELD)
		return;
	wait->state = HEARTBEAT_EXPECTED;
	wait->cid = cid;
	LIST_INSERT_HEAD(&heartbeat->waits[cid % BUCKETS], wait, entry);
	connection = connection_of(heartbeat, cid);
	if (connection)
		connection_match(connection, wait);
}

void heartbeat_release(struct heartbeat *heartbeat, struct heartbeat_wait *wait)
{
	struct connection *connection;

	if (wait->state == HEARTBEAT_IDLE)
		return;
	if (wait->state == HEARTBEAT_EXPECTED) {
		connection = connection_of(heartbeat, wait->cid);
		if (connection)
			connection_close(connection);
	}
	if (wait->state != HEARTBEAT_HELD)
		LIST_REMOVE(wait, entry);
	wait->state = HEARTBEAT_IDLE;
	heartbeat->held--;
	if (heartbeat->held == 0)
		close_all(heartbeat);
}

unsigned int heartbeat_fds(const struct heartbeat *heartbeat)
{
	return heartbeat->connection_count + (heartbeat->listener >= 0 ? 1 : 0);
}

int heartbeat_new(sd_event *event, const struct heartbeat_endpoint *endpoint,
	struct heartbeat **result, struct nefs_error *err)
{
	struct heartbeat *heartbeat = calloc(1, sizeof(*heartbeat));

	if (!heartbeat)
		return nefs_error_set(err, ENOMEM, "out of memory for the heartbeat listener");
	heartbeat->event = sd_event_ref(event);
	heartbeat->endpoint = endpoint;
	heartbeat->listener = -1;
	LIST_INIT(&heartbeat->queued);
	TAILQ_INIT(&heartbeat->ages);
	for (size_t i = 0; i < BUCKETS; i++) {
		LIST_INIT(&heartbeat->waits[i]);
		LIST_INIT(&heartbeat->connections[i]);
	}
	*result = heartbeat;
	return 0;
}

void heartbeat_free(struct heartbeat *heartbeat)
{
	if (!heartbeat)
		return;
	close_all(heartbeat);
	sd_event_unref(heartbeat->event);
	free(heartbeat);
}

static int vsock_listen(const struct heartbeat_endpoint *endpoint)
{
	const struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_port = NE_HEARTBEAT_PORT,
		.svm_cid = VMADDR_CID_ANY,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int failed;

	if (fd < 0)
		return -errno;
	/* A backlog for as many enclaves as may boot at the same time. */
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(fd, SOMAXCONN) < 0) {
		failed = -errno;
		close(fd);
		return failed;
	}
	return fd;
}

static int vsock_accept(const struct heartbeat_endpoint *endpoint, int listener, uint64_t *cid)
{
	struct sockaddr_vm address = { 0 };
	socklen_t length = sizeof(address);
	int fd = accept4(
		listener, (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return -errno;
	*cid = address.svm_cid;
	return fd;
}

/* 5 s outlast the moment of a nitro-cli's start; a byte follows its connection at once. */
const struct heartbeat_endpoint heartbeat_vsock = {
	.listen = vsock_listen,
	.accept = vsock_accept,
	.retry_ms = 5000,
	.silence_ms = 30000,
};
