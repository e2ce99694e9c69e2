/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <nefs/thread.h>
#include <signal.h>

int nefs_thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument)
{
	sigset_t all, before;
	int failed;

	/* A new thread inherits the mask of its maker. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(thread, NULL, run, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -failed;
}
