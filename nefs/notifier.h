/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The notifier thread: tells inotify that a file changed.
 *
 * inotify on FUSE sees only what passes through this machine's VFS, so a change that the daemon
 * itself makes has to be repeated from outside: utimensat(2) of the modification time alone is
 * IN_MODIFY on the file and on its directory, for the file's owner too and without write
 * permission (fsnotify_change in Linux's include/linux/fsnotify.h). That call is a request to this
 * very filesystem, which only a thread that does not serve requests may make. It goes through a
 * copy of the mount (own_mount.h) where one can be had, so that nobody's umount fails for it.
 */
#ifndef NEFS_NOTIFIER_H
#define NEFS_NOTIFIER_H

#include "node.h"
#include <nefs/error.h>

struct notifier;

/* Starts the thread. mountpoint is an absolute path, copied. */
int notifier_new(const char *mountpoint, struct notifier **notifier, struct nefs_error *err);

/* Asks for an IN_MODIFY on the node. Returns at once. Loop thread. */
void notifier_touch(struct node *node);

/*
 * The enclave of this name is removed: what is queued for it would only make the kernel look up,
 * and remember, names of a dead directory. NULL is allowed. Loop thread.
 */
void notifier_forget(struct notifier *notifier, const char *enclave);

/*
 * Ends the thread. The filesystem must not be mounted any more, or the thread could wait for an
 * answer that the caller can't give. NULL is allowed.
 */
void notifier_free(struct notifier *notifier);

#endif
