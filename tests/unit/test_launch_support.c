/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test_launch_support.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <nefs/ne_limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_USEC 20000000ULL

static uint64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U;
}

bool run_until(sd_event *event, bool (*condition)(void *context), void *context)
{
	uint64_t until = now_usec() + PATIENCE_USEC;

	while (!condition(context)) {
		if (now_usec() > until || sd_event_run(event, 100000) < 0)
			return false;
	}
	return true;
}

void run_ready(sd_event *event)
{
	while (sd_event_run(event, 0) > 0) {
	}
}

static socklen_t abstract_name(struct sockaddr_un *address, const char *role, uint64_t number)
{
	int length;

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	length = snprintf(address->sun_path + 1, sizeof(address->sun_path) - 1,
		"nefs-test-%d-%s-%" PRIu64, getpid(), role, number);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

static int local_listen(const struct heartbeat_endpoint *endpoint)
{
	struct sockaddr_un address;
	socklen_t length = abstract_name(&address, "port", NE_HEARTBEAT_PORT);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int failed;

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, SOMAXCONN) < 0) {
		failed = -errno;
		close(fd);
		return failed;
	}
	return fd;
}

static int local_accept(const struct heartbeat_endpoint *endpoint, int listener, uint64_t *cid)
{
	struct sockaddr_un address = { 0 };
	socklen_t length = sizeof(address) - 1;
	int fd = accept4(
		listener, (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
	const char *number;

	if (fd < 0)
		return -errno;
	number = strrchr(address.sun_path + 1, '-');
	*cid = 0;
	if (number)
		sscanf(number + 1, "%" SCNu64, cid);
	return fd;
}

const struct heartbeat_endpoint local_endpoint = {
	.listen = local_listen,
	.accept = local_accept,
	.retry_ms = 300,
	.silence_ms = 100,
};

int local_connect(uint64_t cid)
{
	static unsigned int serial;
	struct sockaddr_un own, port;
	char role[32];
	socklen_t length;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	snprintf(role, sizeof(role), "peer%u", serial++);
	length = abstract_name(&own, role, cid);
	if (bind(fd, (struct sockaddr *)&own, length) < 0 ||
		connect(fd, (struct sockaddr *)&port,
			abstract_name(&port, "port", NE_HEARTBEAT_PORT)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

unsigned int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int count = 0;

	if (!dir)
		return 0;
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}
