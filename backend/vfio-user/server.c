/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server.h"
#include "connection.h"
#include <errno.h>
#include <nefs/cleanup.h>
#include <nefs/clock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* How often to look whether a reset is done. */
#define RESET_POLL_USEC 5000

struct server {
	struct vfio_user user;
	struct device *device;
	struct connection connection; /* of the client; fd -1: there is none */
	sd_event *event;
	sd_event_source *callers; /* those at the socket; off while there is a reset */
	sd_event_source *client;  /* what its socket is waited for */
	sd_event_source *reset;	  /* a timer: the last client's enclaves are ending */
	struct listener listener;
};

static void raise_vector(void *context, unsigned int vector)
{
	struct server *server = context;

	interrupts_raise(&server->user.interrupts, vector);
}

/* The device is as new, or will be soon: the next client is let in then. */
static int on_reset(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *server = userdata;
	uint8_t enabled;

	device_read(server->device, NE_REG_ENABLE, &enabled, sizeof(enabled));
	if (!enabled)
		return sd_event_source_set_enabled(server->callers, SD_EVENT_ON);
	sd_event_source_set_time(source, usec + RESET_POLL_USEC);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void drop_client(struct server *server, const char *why)
{
	uint64_t now = 0;

	fprintf(stderr, "nefs-device: the client is gone: %s\n", why);
	server->client = sd_event_source_disable_unref(server->client);
	connection_close(&server->connection);
	sd_event_source_set_enabled(server->callers, SD_EVENT_OFF);
	vfio_user_forget_client(&server->user);
	sd_event_now(server->event, CLOCK_MONOTONIC, &now);
	sd_event_source_set_time(server->reset, now);
	sd_event_source_set_enabled(server->reset, SD_EVENT_ONESHOT);
}

static int on_client(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct server *server = userdata;
	struct nefs_error err = { 0 };
	int failed = connection_work(&server->connection, &server->user, &err);

	/* Level-triggered: what is left over for now brings us back. */
	if (!failed || failed == -EAGAIN)
		return sd_event_source_set_io_events(
			source, connection_events(&server->connection));
	drop_client(server, err.text);
	return 0;
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct server *server = userdata;
	NEFS_AUTO_CLOSE int peer = listener_accept(&server->listener);
	int failed;

	if (peer < 0)
		return 0;
	if (server->connection.fd >= 0) {
		fprintf(stderr, "nefs-device: a second client was turned away\n");
		return 0;
	}
	failed = sd_event_add_io(server->event, &server->client, peer, EPOLLIN, on_client, server);
	if (failed < 0) {
		fprintf(stderr, "nefs-device: cannot watch a client: %s\n", strerror(-failed));
		return 0;
	}
	sd_event_source_set_description(server->client, "vfio-user client");
	connection_init(&server->connection, nefs_take_fd(&peer));
	return 0;
}

static int watch(struct server *server)
{
	int failed = sd_event_add_io(server->event, &server->callers, server->listener.fd, EPOLLIN,
		on_connection, server);

	if (failed < 0)
		return failed;
	failed = sd_event_add_time(server->event, &server->reset, CLOCK_MONOTONIC, 0,
		NEFS_TIMER_ACCURACY_USEC, on_reset, server);
	if (failed < 0)
		return failed;
	sd_event_source_set_description(server->callers, "vfio-user listener");
	sd_event_source_set_description(server->reset, "vfio-user reset");
	return sd_event_source_set_enabled(server->reset, SD_EVENT_OFF);
}

int server_new(sd_event *event, struct listener *listener, const struct vm_ops *vm,
	const char *vsock, struct server **result, struct nefs_error *err)
{
	struct server *server = calloc(1, sizeof(*server));
	int failed;

	if (!server) {
		listener_close(listener);
		return nefs_error_set(err, ENOMEM, "out of memory for the server");
	}
	server->event = event;
	server->listener = *listener;
	*listener = LISTENER_NONE;
	server->connection.fd = -1;
	vfio_user_init(&server->user);
	failed = device_new(vm, raise_vector, server, &server->device, err);
	if (failed)
		goto free_server;
	server->user.device = server->device;
	failed = vsock ? device_set_vsock(server->device, vsock) : 0;
	if (!failed)
		failed = watch(server);
	if (failed < 0) {
		nefs_error_set(err, -failed, "cannot listen for clients: %s", strerror(-failed));
		goto free_server;
	}
	*result = server;
	return 0;
free_server:
	server_free(server);
	return failed;
}

struct device *server_device(struct server *server)
{
	return server->device;
}

void server_free(struct server *server)
{
	if (!server)
		return;
	sd_event_source_disable_unref(server->reset);
	sd_event_source_disable_unref(server->client);
	sd_event_source_disable_unref(server->callers);
	connection_close(&server->connection);
	/* First: its thread may raise a vector until then. */
	device_free(server->device);
	vfio_user_destroy(&server->user);
	listener_close(&server->listener);
	free(server);
}
