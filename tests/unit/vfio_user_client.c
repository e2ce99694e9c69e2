/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vfio_user_client.h"
#include "control_socket.h"
#include "listener.h"
#include "server.h"
#include "temporary.h"
#include <errno.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 20000

struct rig {
	char directory[TEMPORARY_MAX], device_path[96], control_path[96];
	sd_event *event;
	struct server *server;
	struct control_socket *control;
	int end; /* an eventfd */
	pthread_t thread;
};

static void must(bool holds, const char *what)
{
	if (!holds) {
		perror(what);
		abort();
	}
}

static int on_end(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

static void *serve(void *argument)
{
	struct rig *rig = argument;

	sd_event_loop(rig->event);
	control_socket_free(rig->control);
	server_free(rig->server);
	sd_event_unref(rig->event);
	return NULL;
}

struct rig *rig_new(const struct vm_ops *vm)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct nefs_error err = { 0 };
	struct listener device, control;

	must(rig, "calloc");
	temporary_directory(rig->directory, "nefs-vfu");
	snprintf(rig->device_path, sizeof(rig->device_path), "%s/device", rig->directory);
	snprintf(rig->control_path, sizeof(rig->control_path), "%s/control", rig->directory);
	rig->end = eventfd(0, EFD_CLOEXEC);
	must(sd_event_new(&rig->event) >= 0, "sd_event_new");
	must(sd_event_add_io(rig->event, NULL, rig->end, EPOLLIN, on_end, NULL) >= 0, "end");
	must(listener_open(&device, rig->device_path, &err) == 0, err.text);
	must(listener_open(&control, rig->control_path, &err) == 0, err.text);
	must(server_new(rig->event, &device, vm, NULL, &rig->server, &err) == 0, err.text);
	must(control_socket_new(
		     rig->event, &control, server_device(rig->server), &rig->control, &err) == 0,
		err.text);
	must(pthread_create(&rig->thread, NULL, serve, rig) == 0, "pthread_create");
	return rig;
}

void rig_free(struct rig *rig)
{
	eventfd_write(rig->end, 1);
	pthread_join(rig->thread, NULL);
	close(rig->end);
	unlink(rig->device_path);
	unlink(rig->control_path);
	rmdir(rig->directory);
	free(rig);
}

int client_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const struct timeval timeout = { .tv_sec = PATIENCE_MS / 1000 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	must(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0, path);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	return fd;
}

int rig_connect(struct rig *rig)
{
	return client_connect(rig->device_path);
}

int rig_connect_control(struct rig *rig)
{
	return client_connect(rig->control_path);
}

bool client_greet(int client)
{
	static const char hello[] = "\0\0\1\0{\"capabilities\":{}}";
	char answer[256];

	return client_call(client, VFIO_USER_VERSION, hello, sizeof(hello), NULL, 0, answer,
		       sizeof(answer)) > 4;
}

int client_greet_at(const char *path)
{
	/* The last client's end may not have been seen yet: whoever comes too early is turned away. */
	for (unsigned int tries = 0; tries < 2000; tries++) {
		int client = client_connect(path);

		if (client_greet(client))
			return client;
		close(client);
		usleep(1000);
	}
	must(false, "greeting");
	return -1;
}

int rig_greet(struct rig *rig)
{
	return client_greet_at(rig->device_path);
}

bool client_send(int client, const void *data, size_t size, const int *fds, size_t fd_count)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(64 * sizeof(int))];
	} control = { 0 };
	struct iovec piece = { (void *)data, size };
	struct msghdr header = { .msg_iov = &piece, .msg_iovlen = 1 };

	if (fd_count) {
		struct cmsghdr *part;

		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		part = CMSG_FIRSTHDR(&header);
		part->cmsg_level = SOL_SOCKET;
		part->cmsg_type = SCM_RIGHTS;
		part->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(part), fds, fd_count * sizeof(int));
	}
	return sendmsg(client, &header, MSG_NOSIGNAL) == (ssize_t)size;
}

ssize_t client_reply(int client, void *payload, size_t room)
{
	struct vfio_user_header header;
	uint8_t rest[VFIO_USER_MESSAGE_MAX];
	size_t size;

	if (recv(client, &header, sizeof(header), MSG_WAITALL) != sizeof(header))
		return CLIENT_HUNG_UP;
	must(header.size >= sizeof(header) && header.size <= sizeof(rest), "size of a reply");
	must((header.flags & VFIO_USER_TYPE) == VFIO_USER_REPLY, "type of a reply");
	size = header.size - sizeof(header);
	must(size == 0 || recv(client, rest, size, MSG_WAITALL) == (ssize_t)size, "a reply");
	if (header.flags & VFIO_USER_ERROR)
		return -1 - (ssize_t)header.error;
	if (payload)
		memcpy(payload, rest, size < room ? size : room);
	return (ssize_t)size;
}

ssize_t client_call(int client, uint16_t command, const void *request, size_t size, const int *fds,
	size_t fd_count, void *payload, size_t room)
{
	uint8_t message[VFIO_USER_MESSAGE_MAX];
	struct vfio_user_header header = {
		.id = 7,
		.command = command,
		.size = (uint32_t)(sizeof(header) + size),
	};

	must(size <= sizeof(message) - sizeof(header), "size of a request");
	memcpy(message, &header, sizeof(header));
	if (size)
		memcpy(message + sizeof(header), request, size);
	if (!client_send(client, message, header.size, fds, fd_count))
		return CLIENT_HUNG_UP;
	return client_reply(client, payload, room);
}

bool client_is_shut_out(int client)
{
	char byte;
	ssize_t got = recv(client, &byte, 1, 0);

	return got == 0 || (got < 0 && errno == ECONNRESET);
}

bool client_read(int client, uint64_t offset, void *data, uint32_t size)
{
	struct vfio_user_region_access access = { offset, NE_PCI_BAR_REGISTERS, size };
	uint8_t answer[sizeof(access) + NE_PCI_REGISTERS_SIZE];

	if (client_call(client, VFIO_USER_REGION_READ, &access, sizeof(access), NULL, 0, answer,
		    sizeof(answer)) != (ssize_t)(sizeof(access) + size))
		return false;
	memcpy(data, answer + sizeof(access), size);
	return true;
}

bool client_write(int client, uint64_t offset, const void *data, uint32_t size)
{
	struct vfio_user_region_access access = { offset, NE_PCI_BAR_REGISTERS, size };
	uint8_t request[sizeof(access) + NE_PCI_REGISTERS_SIZE];

	memcpy(request, &access, sizeof(access));
	memcpy(request + sizeof(access), data, size);
	return client_call(client, VFIO_USER_REGION_WRITE, request, sizeof(access) + size, NULL, 0,
		       NULL, 0) == sizeof(access);
}

uint64_t client_wait(int eventfd, int ms)
{
	struct pollfd readable = { .fd = eventfd, .events = POLLIN };
	uint64_t count = 0;

	if (poll(&readable, 1, ms) == 1)
		must(read(eventfd, &count, sizeof(count)) == sizeof(count), "eventfd");
	return count;
}

bool client_command(int client, int replies, uint32_t command, const void *payload, size_t size,
	struct ne_reply *reply)
{
	return client_write(client, NE_REG_SEND_DATA, payload, (uint32_t)size) &&
	       client_write(client, NE_REG_COMMAND, &command, sizeof(command)) &&
	       client_wait(replies, PATIENCE_MS) &&
	       client_read(client, NE_REG_RECV_DATA, reply, sizeof(*reply));
}

const char *control_ask(int control, const char *request)
{
	static char answer[1 << 16]; /* the tests have one thread */
	size_t used = 0, last = 0;

	must(send(control, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request),
		"control");
	while (used < sizeof(answer) - 1) {
		ssize_t got = recv(control, answer + used, 1, 0);

		if (got != 1)
			break;
		if (answer[used++] != '\n')
			continue;
		answer[used] = '\0';
		if (strcmp(answer + last, "ok\n") == 0 || strncmp(answer + last, "error ", 6) == 0)
			return answer;
		last = used;
	}
	return "no answer";
}
