/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A listening Unix stream socket with a name in the filesystem. Loop thread.
 *
 * It listens from the moment it has its name, so that nobody who finds it there takes it for one
 * that was left behind.
 */
#ifndef NEFS_VFIO_USER_LISTENER_H
#define NEFS_VFIO_USER_LISTENER_H

#include <nefs/error.h>

struct listener {
	int fd;
	int spare; /* an fd to give up, so that a caller can be turned away when there is none left */
};

/* No socket: listener_close does nothing. */
#define LISTENER_NONE ((struct listener){ -1, -1 })

/*
 * Binds a new socket (non-blocking, for its owner only) to a path. A socket that is there already is
 * replaced if nobody listens on it. EADDRINUSE (somebody does), EEXIST (no socket), ENAMETOOLONG,
 * those of bind(2); *listener is LISTENER_NONE then.
 */
int listener_open(struct listener *listener, const char *path, struct nefs_error *err);

/*
 * A caller's socket, non-blocking; -1 if there is none for now. Whoever calls when no fd is left is
 * hung up on: a caller that stays would wake the loop for ever.
 */
int listener_accept(struct listener *listener);

/* Leaves the name in the filesystem. */
void listener_close(struct listener *listener);

#endif
