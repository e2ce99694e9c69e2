/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A Unix stream socket with a name in the filesystem. */
#ifndef NEFS_VFIO_USER_LISTENER_H
#define NEFS_VFIO_USER_LISTENER_H

#include <nefs/error.h>

/*
 * Binds a new socket (non-blocking, for its owner only) to a path. A socket that is there already is
 * replaced if nobody listens on it. Returns the fd, not listening yet, or a negative errno:
 * EADDRINUSE (somebody does), EEXIST (no socket), ENAMETOOLONG, those of bind(2).
 */
int listener_bind(const char *path, struct nefs_error *err);

#endif
