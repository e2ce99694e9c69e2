/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A launch that is watched: what it reports to its owner is kept. Loop thread. */
#ifndef NEFS_TEST_LAUNCH_WATCHED_H
#define NEFS_TEST_LAUNCH_WATCHED_H

#include <nefs/backend.h>
#include <stdbool.h>

/* What a launch has reported so far. */
struct watched {
	struct backend_launch *launch;
	char log[256];
	char console[256];
	struct backend_grant grant;
	char cpus[8192]; /* the grant's */
	struct nefs_error error;
	enum backend_end how;
	bool stop_when_started;
	bool running;
	bool ended;
	bool released;
};

/* Its owner is a struct watched. */
extern const struct backend_listener watched_listener;

/* Conditions for run_until; the context is a struct watched. */
bool watched_is_started(void *context);
bool watched_is_running(void *context);
bool watched_is_ended(void *context);
bool watched_is_released(void *context);
bool watched_has_console(void *context);

#endif
