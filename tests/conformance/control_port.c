/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control_port.h"
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <nefs/cleanup.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORT_NAMES    "/sys/class/virtio-ports/*/name"
#define PORT_NAME     "nefs.control"
#define ANSWER_MS     10000
#define ANSWER_LINES  100000 /* more than there are slots */
#define PORT_LINE_MAX 4096

struct control_port {
	int fd;
	size_t used;
	char buffer[PORT_LINE_MAX];
};

/* The device node of the port, malloc'ed, or NULL. */
static char *find_port(void)
{
	char *path = NULL;
	glob_t names;

	if (glob(PORT_NAMES, 0, NULL, &names))
		return NULL;
	for (size_t i = 0; i < names.gl_pathc && !path; i++) {
		char name[64] = "", port[64];
		FILE *file = fopen(names.gl_pathv[i], "re");
		bool right = file && fgets(name, sizeof(name), file) &&
			     strcmp(name, PORT_NAME "\n") == 0;

		if (file)
			fclose(file);
		if (right &&
			sscanf(names.gl_pathv[i], "/sys/class/virtio-ports/%63[^/]", port) == 1 &&
			asprintf(&path, "/dev/%s", port) < 0)
			path = NULL;
	}
	globfree(&names);
	return path;
}

/* One line without its newline; -EPROTO if it is too long. */
static int read_line(struct control_port *port, char line[PORT_LINE_MAX])
{
	for (;;) {
		struct pollfd readable = { .fd = port->fd, .events = POLLIN };
		char *end = memchr(port->buffer, '\n', port->used);
		ssize_t got;

		if (end) {
			size_t size = (size_t)(end - port->buffer);

			memcpy(line, port->buffer, size);
			line[size] = '\0';
			port->used -= size + 1;
			memmove(port->buffer, end + 1, port->used);
			return 0;
		}
		if (port->used == sizeof(port->buffer))
			return -EPROTO;
		got = poll(&readable, 1, ANSWER_MS);
		if (got <= 0)
			return got < 0 ? -errno : -ETIMEDOUT;
		got = read(port->fd, port->buffer + port->used, sizeof(port->buffer) - port->used);
		if (got <= 0)
			return got < 0 ? -errno : -EPIPE;
		port->used += (size_t)got;
	}
}

static int send_line(const struct control_port *port, const char *line)
{
	size_t left = strlen(line);

	while (left) {
		ssize_t written = write(port->fd, line, left);

		if (written < 0 && errno != EINTR)
			return -errno;
		if (written > 0) {
			line += written;
			left -= (size_t)written;
		}
	}
	return 0;
}

/*
 * Somebody before us may have left half a request, or not read an answer: skips all until the answer
 * to something that only we have asked.
 */
static int synchronise(struct control_port *port)
{
	char line[PORT_LINE_MAX], mark[64];
	int failed;

	snprintf(mark, sizeof(mark), "\nhello-%d\n", getpid());
	failed = send_line(port, mark);
	mark[strlen(mark) - 1] = '\0';
	for (size_t i = 0; i < ANSWER_LINES && !failed; i++) {
		failed = read_line(port, line);
		if (!failed && strncmp(line, "error ", 6) == 0 && strstr(line, mark + 1))
			return 0;
	}
	return failed ? failed : -EPROTO;
}

int control_port_open(const char *path, struct control_port **result, struct nefs_error *err)
{
	NEFS_AUTO_FREE struct control_port *port = calloc(1, sizeof(*port));
	NEFS_AUTO_FREE char *found = path ? strdup(path) : find_port();
	int failed;

	if (!port || !found)
		return nefs_error_set(err, ENOENT, "there is no virtio port " PORT_NAME " here");
	port->fd = open(found, O_RDWR | O_CLOEXEC);
	if (port->fd < 0)
		return nefs_error_set(err, errno, "cannot open %s: %s", found, strerror(errno));
	failed = synchronise(port);
	if (failed) {
		close(port->fd);
		return nefs_error_set(err, -failed,
			"%s does not answer as nefs-device's control socket: %s", found,
			strerror(-failed));
	}
	*result = nefs_take_ptr(port);
	return 0;
}

int control_port_request(struct control_port *port, const char *request, size_t *lines)
{
	char line[PORT_LINE_MAX];
	int failed = send_line(port, request), code;

	if (!failed)
		failed = send_line(port, "\n");
	for (size_t i = 0; i < ANSWER_LINES && !failed; i++) {
		failed = read_line(port, line);
		if (failed)
			break;
		if (strcmp(line, "ok") == 0) {
			if (lines)
				*lines = i;
			return 0;
		}
		if (sscanf(line, "error %d ", &code) == 1)
			return code > 0 ? -code : -EPROTO;
	}
	return failed ? failed : -EPROTO;
}
