/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A way into our own mount that does not keep it busy.
 *
 * A system call on a path below the mount point holds the mount for as long as it lasts, and an
 * umount(8) in that moment is refused with EBUSY. A detached copy of the mount (open_tree(2) with
 * OPEN_TREE_CLONE) leads to the same files and is not counted. Its price: the filesystem lives as
 * long as the copy, so whoever holds it has to watch for the end of the mount and give it back;
 * only then does /dev/fuse tell the daemon.
 *
 * Used by the notifier's thread alone, except for own_mount_open.
 */
#ifndef NEFS_OWN_MOUNT_H
#define NEFS_OWN_MOUNT_H

#include <stdbool.h>

struct own_mount {
	int root;    /* the copy's root, for the *at() calls; -1: none, use paths */
	int changes; /* POLLPRI: some mount of this namespace has changed; -1: no copy */
	bool over; /* there was a copy, and it was given back: what the paths lead to is somebody else's */
};

/*
 * Makes the copy. Sends no request to the filesystem, so the thread that serves it may call this.
 * Returns 0 or a negative errno, and then root is -1: EPERM without CAP_SYS_ADMIN (an ordinary
 * user's mount), ENOSYS before Linux 5.2, ENOENT without /proc.
 */
int own_mount_open(struct own_mount *own, const char *mountpoint);

/*
 * Is the filesystem mounted anywhere in this namespace, the copy aside? False as well if that can't be
 * found out: without the copy an umount may be refused, with it the daemon may never end.
 */
bool own_mount_lasts(const struct own_mount *own);

/* Gives the copy back, for good. Nothing happens to one that is closed or was never opened. */
void own_mount_close(struct own_mount *own);

#endif
