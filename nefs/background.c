/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "background.h"
#include "exit_status.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

void be_undisturbed(void)
{
	signal(SIGCHLD, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	umask(022);
}

/* The daemon ended without a word on the pipe. */
static int exit_status_of(pid_t child)
{
	int status = 0;

	if (waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status))
		return WEXITSTATUS(status);
	fprintf(stderr, "nefs: the daemon ended before it had mounted anything%s%s; see the log\n",
		WIFSIGNALED(status) ? ", by " : "",
		WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "");
	return EXIT_SYSTEM;
}

int become_daemon(void)
{
	int report[2];
	char status;
	pid_t child;

	if (pipe2(report, O_CLOEXEC))
		return -errno;
	child = fork();
	if (child < 0)
		return -errno;
	if (child > 0) {
		close(report[1]);
		_exit(read(report[0], &status, 1) == 1 ? status : exit_status_of(child));
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
