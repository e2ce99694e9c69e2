/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control_socket.h"
#include <errno.h>
#include <inttypes.h>
#include <nefs/cleanup.h>
#include <nefs/number.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

struct control_client {
	LIST_ENTRY(control_client) siblings;
	struct control_socket *control;
	sd_event_source *source;
	int fd;
	bool overflow; /* the line under way is too long */
	char *answer;  /* malloc'ed; what the client has not taken yet begins at sent */
	size_t sent;
	size_t begin, size; /* what of room has been received and not been looked at */
	char room[CONTROL_LINE_MAX];
};

struct control_socket {
	struct device *device;
	sd_event *event;
	sd_event_source *callers;
	struct listener listener;
	LIST_HEAD(, control_client) clients;
	size_t count;
};

/* ---- requests ---- */

/* "0x1f" or "31". */
static int parse_uid(const char *text, uint64_t *uid, struct nefs_error *err)
{
	if (nefs_number_parse(text, SIZE_MAX, NUMBER_HEX_TOO, 0, UINT64_MAX, uid))
		return nefs_error_set(
			err, EINVAL, "\"%s\" is no slot uid; list shows those there are", text);
	return 0;
}

/* Rules are a line each in a plan, and parts of one line here. */
static int set_faults(struct device *device, char *rules, struct nefs_error *err)
{
	for (char *c = rules; *c; c++)
		if (*c == ';')
			*c = '\n';
	return device_set_faults(device, rules, strlen(rules), err);
}

static int end_enclave(struct device *device, const char *text, bool silent, struct nefs_error *err)
{
	uint64_t uid;
	int failed = parse_uid(text, &uid, err);

	if (failed)
		return failed;
	return silent ? device_stop_silently(device, uid, err) : device_crash(device, uid, err);
}

/* Executes a request; *lines is malloc'ed or stays NULL. */
static int execute(struct device *device, char *line, char **lines, struct nefs_error *err)
{
	char *argument = line + strcspn(line, " \t");

	if (*argument)
		*argument++ = '\0';
	argument += strspn(argument, " \t");
	if (strcmp(line, "fault") == 0)
		return set_faults(device, argument, err);
	if (strcmp(line, "crash") == 0)
		return end_enclave(device, argument, false, err);
	if (strcmp(line, "stop-silent") == 0)
		return end_enclave(device, argument, true, err);
	if (strcmp(line, "spurious") == 0) {
		device_raise_spurious(device);
		return 0;
	}
	if (strcmp(line, "list") == 0) {
		*lines = device_slots(device);
		return *lines ? 0 : nefs_error_set(err, ENOMEM, "out of memory");
	}
	return nefs_error_set(err, EINVAL,
		"there is no request \"%s\"; those there are: list, crash UID, stop-silent UID, "
		"spurious, fault RULE; RULE; ...",
		line);
}

char *control_socket_answer(struct device *device, const char *line, size_t size)
{
	NEFS_AUTO_FREE char *copy = malloc(size + 1);
	NEFS_AUTO_FREE char *lines = NULL;
	struct nefs_error err = { 0 };
	char *answer = NULL;
	int failed;

	if (!copy)
		return NULL;
	memcpy(copy, line, size);
	copy[size] = '\0';
	if (strlen(copy) < size)
		failed = nefs_error_set(&err, EINVAL, "a request has no NUL in it");
	else
		failed = execute(device, copy, &lines, &err);
	if (failed)
		failed = asprintf(&answer, "error %d %s\n", err.code, err.text);
	else
		failed = asprintf(&answer, "%sok\n", lines ? lines : "");
	return failed < 0 ? NULL : answer;
}

/* ---- connections ---- */

static void drop_client(struct control_client *client)
{
	LIST_REMOVE(client, siblings);
	client->control->count--;
	sd_event_source_disable_unref(client->source);
	close(client->fd);
	free(client->answer);
	free(client);
}

/* Sends what there is of an answer. 0: that is done; -EAGAIN: the client has to read first. */
static int send_answer(struct control_client *client)
{
	while (client->answer && client->answer[client->sent]) {
		ssize_t sent = send(client->fd, client->answer + client->sent,
			strlen(client->answer + client->sent), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		client->sent += (size_t)sent;
	}
	free(client->answer);
	client->answer = NULL;
	client->sent = 0;
	return 0;
}

/*
 * Answers the next line, if it is there in full. 0: it was answered, and that is sent; -ENODATA: there
 * is none yet.
 */
static int answer_line(struct control_client *client)
{
	const char *line = client->room + client->begin;
	const char *end = memchr(line, '\n', client->size);
	size_t size;

	if (!end) {
		if (client->size == sizeof(client->room)) {
			client->overflow = true;
			client->size = 0;
		}
		return -ENODATA;
	}
	size = (size_t)(end - line);
	if (client->overflow) {
		if (asprintf(&client->answer, "error %d a request is at most %d bytes long\n",
			    E2BIG, CONTROL_LINE_MAX - 1) < 0)
			client->answer = NULL;
	} else {
		client->answer = control_socket_answer(client->control->device, line, size);
	}
	client->overflow = false;
	client->begin += size + 1;
	client->size -= size + 1;
	return client->answer ? send_answer(client) : -ENOMEM;
}

/* Reads once, so that a busy client does not shut out others. There is room: no line fills it. */
static int receive(struct control_client *client)
{
	ssize_t got;

	memmove(client->room, client->room + client->begin, client->size);
	client->begin = 0;
	got = recv(client->fd, client->room + client->size, sizeof(client->room) - client->size,
		MSG_DONTWAIT);
	if (got < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	client->size += (size_t)got;
	return got > 0 ? 0 : -EPIPE;
}

static int on_client(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct control_client *client = userdata;
	int failed = send_answer(client);

	/* EPOLLHUP or EPOLLERR alone: there is nothing to read, and recv says so. */
	if (!failed && !(revents & EPOLLOUT))
		failed = receive(client);
	while (!failed)
		failed = answer_line(client);
	if (failed != -ENODATA && failed != -EAGAIN) {
		drop_client(client);
		return 0;
	}
	return sd_event_source_set_io_events(source, client->answer ? EPOLLOUT : EPOLLIN);
}

/* One client more than can be served. A socket that was accepted a moment ago has room for a line. */
static void turn_away(int peer)
{
	char line[96];
	int size = snprintf(line, sizeof(line),
		"error %d too many control connections; try again later\n", EAGAIN);

	send(peer, line, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct control_socket *control = userdata;
	NEFS_AUTO_CLOSE int peer = listener_accept(&control->listener);
	struct control_client *client;

	if (peer < 0)
		return 0;
	client = control->count < CONTROL_CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;
	if (!client) {
		turn_away(peer);
		return 0;
	}
	client->control = control;
	client->fd = peer;
	if (sd_event_add_io(control->event, &client->source, peer, EPOLLIN, on_client, client) <
		0) {
		free(client);
		return 0;
	}
	sd_event_source_set_description(client->source, "control client");
	nefs_take_fd(&peer);
	LIST_INSERT_HEAD(&control->clients, client, siblings);
	control->count++;
	return 0;
}

int control_socket_new(sd_event *event, struct listener *listener, struct device *device,
	struct control_socket **result, struct nefs_error *err)
{
	NEFS_AUTO_FREE struct control_socket *control = calloc(1, sizeof(*control));
	int failed;

	if (!control) {
		listener_close(listener);
		return nefs_error_set(err, ENOMEM, "out of memory for the control socket");
	}
	control->device = device;
	control->event = event;
	LIST_INIT(&control->clients);
	failed = sd_event_add_io(
		event, &control->callers, listener->fd, EPOLLIN, on_connection, control);
	if (failed < 0) {
		listener_close(listener);
		return nefs_error_set(err, -failed, "cannot listen for control connections: %s",
			strerror(-failed));
	}
	sd_event_source_set_description(control->callers, "control listener");
	control->listener = *listener;
	*listener = LISTENER_NONE;
	*result = nefs_take_ptr(control);
	return 0;
}

void control_socket_free(struct control_socket *control)
{
	struct control_client *client;

	if (!control)
		return;
	while ((client = LIST_FIRST(&control->clients)))
		drop_client(client);
	sd_event_source_disable_unref(control->callers);
	listener_close(&control->listener);
	free(control);
}
