/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A backend that does nothing by itself: the test says what the device does. It stands in for all of
 * include/nefs/backend.h, and its object is linked instead of the real one.
 */
#ifndef FAKE_BACKEND_H
#define FAKE_BACKEND_H

#include <nefs/backend.h>

struct backend {
	int start_fails;	       /* a positive errno: backend_start refuses with it, once */
	unsigned int started;	       /* launches begun */
	struct backend_config config;  /* of the last one; its pointers are not to be followed */
	struct backend_launch *launch; /* the one that is not released, or NULL */
};

struct backend_launch {
	struct backend *backend;
	const struct backend_listener *listener;
	void *owner;
	unsigned int stops; /* calls of backend_stop */
};

/* The device's word on the launch that there is. */
void fake_started(struct backend *backend);
void fake_running(struct backend *backend);
void fake_console(struct backend *backend, const char *text);
/* code: of the error, 0 for none. */
void fake_ended(struct backend *backend, enum backend_end how, int code);
void fake_released(struct backend *backend);

#endif
