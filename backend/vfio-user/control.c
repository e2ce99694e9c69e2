/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control.h"
#include <errno.h>
#include <inttypes.h>
#include <nefs/cleanup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

/* What a client may leave unread before it is thought to be gone for good. */
#define SEND_BUFFER (4 << 20)

struct control_client {
	LIST_ENTRY(control_client) siblings;
	struct control *control;
	sd_event_source *source;
	int fd;
	bool overflow; /* the line under way is too long */
	size_t size;
	char line[CONTROL_LINE_MAX];
};

struct control {
	struct device *device;
	sd_event *event;
	sd_event_source *listener;
	int fd;
	LIST_HEAD(, control_client) clients;
	size_t count;
};

/* ---- requests ---- */

/* "0x1f" or "31", all of it. */
static int parse_uid(const char *text, uint64_t *uid, struct nefs_error *err)
{
	char *end;

	errno = 0;
	*uid = strtoull(text, &end, 0);
	if (errno || end == text || *end || text[0] == '-')
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

char *control_answer(struct device *device, const char *line, size_t size)
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
	free(client);
}

/* All of it or nothing: a client that leaves megabytes unread gets no more. */
static int send_answer(const struct control_client *client, const char *answer)
{
	size_t left = strlen(answer);

	while (left) {
		ssize_t sent = send(client->fd, answer, left, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		answer += sent;
		left -= (size_t)sent;
	}
	return 0;
}

static int answer_line(struct control_client *client, size_t size)
{
	NEFS_AUTO_FREE char *answer = NULL;

	if (client->overflow)
		answer = strdup("error 7 a request is at most 65535 bytes long\n");
	else
		answer = control_answer(client->control->device, client->line, size);
	client->overflow = false;
	return answer ? send_answer(client, answer) : -ENOMEM;
}

/* Answers the lines that are complete; keeps the rest. */
static int answer_lines(struct control_client *client)
{
	size_t begin = 0;
	char *end;
	int failed = 0;

	while (!failed &&
		(end = memchr(client->line + begin, '\n', client->size - begin)) != NULL) {
		size_t size = (size_t)(end - client->line) - begin;

		/* The line's beginning is what is looked at, wherever that stands. */
		memmove(client->line, client->line + begin, client->size - begin);
		client->size -= begin;
		failed = answer_line(client, size);
		begin = size + 1;
	}
	memmove(client->line, client->line + begin, client->size - begin);
	client->size -= begin;
	if (client->size == sizeof(client->line)) {
		client->overflow = true;
		client->size = 0;
	}
	return failed;
}

static int on_client(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct control_client *client = userdata;
	ssize_t got = recv(
		fd, client->line + client->size, sizeof(client->line) - client->size, MSG_DONTWAIT);

	(void)source;
	(void)revents;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got <= 0) {
		drop_client(client);
		return 0;
	}
	client->size += (size_t)got;
	if (answer_lines(client))
		drop_client(client);
	return 0;
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	static const char full[] = "error 11 too many control connections; try again later\n";
	struct control *control = userdata;
	NEFS_AUTO_CLOSE int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	const int buffer = SEND_BUFFER;
	struct control_client *client;

	(void)source;
	(void)revents;
	if (peer < 0)
		return 0;
	client = control->count < CONTROL_CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;
	if (!client) {
		send(peer, full, sizeof(full) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		return 0;
	}
	/* The default holds fewer slots than a device can have. */
	setsockopt(peer, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	client->control = control;
	client->fd = peer;
	if (sd_event_add_io(control->event, &client->source, peer, EPOLLIN, on_client, client) <
		0) {
		free(client);
		return 0;
	}
	nefs_take_fd(&peer);
	LIST_INSERT_HEAD(&control->clients, client, siblings);
	control->count++;
	return 0;
}

int control_new(sd_event *event, int fd, struct device *device, struct control **result,
	struct nefs_error *err)
{
	NEFS_AUTO_FREE struct control *control = calloc(1, sizeof(*control));
	int failed;

	if (!control) {
		close(fd);
		return nefs_error_set(err, ENOMEM, "out of memory for the control socket");
	}
	control->device = device;
	control->event = event;
	control->fd = fd;
	LIST_INIT(&control->clients);
	failed = listen(fd, 16) ? -errno : 0;
	if (!failed)
		failed = sd_event_add_io(
			event, &control->listener, fd, EPOLLIN, on_connection, control);
	if (failed < 0) {
		close(fd);
		return nefs_error_set(err, -failed, "cannot listen for control connections: %s",
			strerror(-failed));
	}
	*result = nefs_take_ptr(control);
	return 0;
}

void control_free(struct control *control)
{
	struct control_client *client;

	if (!control)
		return;
	while ((client = LIST_FIRST(&control->clients)))
		drop_client(client);
	sd_event_source_disable_unref(control->listener);
	close(control->fd);
	free(control);
}
