/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unmounter.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void wait_and_unmount(int order, const char *point)
{
	const char *arguments[] = { "fusermount3", "-u", "-z", "-q", "--", point, NULL };
	int null = open("/dev/null", O_RDWR);
	sigset_t none;
	char byte;

	/* Nobody's terminal, nobody's pipe, and no lock or mark of the daemon's is kept by this process. */
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	order = dup2(order, STDERR_FILENO + 1);
	close_range(STDERR_FILENO + 2, ~0U, 0);
	if (chdir("/") || read(order, &byte, 1) != 1)
		_exit(0);
	close(order);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(arguments[0], (char *const *)arguments);
	_exit(127);
}

int unmounter_start(struct unmounter *unmounter, const char *point, struct nefs_error *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return nefs_error_set(
			err, errno, "cannot make the unmounter's pipe: %s", strerror(errno));
	unmounter->process = fork();
	if (unmounter->process == 0)
		wait_and_unmount(ends[0], point);
	close(ends[0]);
	if (unmounter->process < 0) {
		int failed = errno;

		close(ends[1]);
		*unmounter = UNMOUNTER_NONE;
		return nefs_error_set(
			err, failed, "cannot start the unmounter: %s", strerror(failed));
	}
	unmounter->order = ends[1];
	return 0;
}

void unmounter_unmount(struct unmounter *unmounter)
{
	/* Whoever has killed it has a mount that is dead, which the next nefs there takes down. */
	if (unmounter->process && write(unmounter->order, "u", 1) != 1)
		errno = 0;
	unmounter_end(unmounter);
}

void unmounter_end(struct unmounter *unmounter)
{
	if (!unmounter->process)
		return;
	close(unmounter->order);
	while (waitpid(unmounter->process, NULL, 0) < 0 && errno == EINTR)
		;
	*unmounter = UNMOUNTER_NONE;
}
