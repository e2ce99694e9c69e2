/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "background.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

bool hold_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
	return fd >= 0;
}

int become_daemon(void)
{
	int report[2];
	char status = 1;
	pid_t child;

	if (pipe2(report, O_CLOEXEC))
		return -errno;
	child = fork();
	if (child < 0)
		return -errno;
	if (child > 0) {
		close(report[1]);
		if (read(report[0], &status, 1) != 1)
			status = 1;
		_exit(status);
	}
	close(report[0]);
	setsid();
	if (chdir("/"))
		return -errno;
	return report[1];
}

void let_terminal_go(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	close(null);
}

void release_caller(int report)
{
	const char success = 0;

	if (write(report, &success, 1) < 0) {
		/* It has ended: nobody waits for this. */
	}
	close(report);
}
