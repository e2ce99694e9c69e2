/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads beside the loop. */
#ifndef NEFS_THREAD_H
#define NEFS_THREAD_H

#include <pthread.h>

/*
 * Starts a thread with every signal blocked, as signals are the loop's. It must be joined. Returns 0
 * or a negative errno: EAGAIN. Any thread.
 */
int nefs_thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument);

#endif
