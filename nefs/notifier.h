/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The notifier thread: tells inotify that a file changed, and the kernel that a name or a page is gone.
 *
 * inotify on FUSE sees only what passes through this machine's VFS, so a change that the daemon
 * itself makes has to be repeated from outside: utimensat(2) of the modification time alone is
 * IN_MODIFY on the file and on its directory, for the file's owner too and without write
 * permission (fsnotify_change in Linux's include/linux/fsnotify.h). That call is a request to this
 * very filesystem, and so are those of a rotation, which are rename(2) and mknod(2). Only a thread that does not serve requests may make them. They go through a
 * copy of the mount (own_mount.h) where one can be had, so that nobody's umount fails for it.
 */
#ifndef NEFS_NOTIFIER_H
#define NEFS_NOTIFIER_H

#include <fuse_lowlevel.h>
#include <nefs/error.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct log;
struct notifier;

/* Starts the thread. mountpoint is an absolute path, copied. */
int notifier_new(const char *mountpoint, struct log *log, struct notifier **notifier,
	struct nefs_error *err);

/* Asks for an IN_MODIFY on the file of this path, relative to the mount. Returns at once. Loop thread. */
void notifier_touch(struct notifier *notifier, const char *path);

/*
 * The same for what may change all the time: at once if that was not asked for just before, else some
 * milliseconds later. Returns the number of the errand, for notifier_has_begun; 0 if there was no memory for it.
 * Loop thread.
 */
uint64_t notifier_touch_soon(struct notifier *notifier, const char *path);

/* Did it begin with this errand? What changes until then is told by it. Loop thread. */
bool notifier_has_begun(const struct notifier *notifier, uint64_t errand);

/*
 * Has the kernel learn the attributes of the file of this path: who reads by sendfile(2) goes by the size that it
 * knows, and it asks by itself at a stat(2) only. Loop thread.
 */
void notifier_look(struct notifier *notifier, const char *path);

/*
 * Asks for the events of a file that was rotated: as if `path` had been renamed to `path`.1, and a new one
 * made. Those system calls come in as requests by a caller for whom notifier_repeats is true, who must be
 * shown what was before, and see each of them succeed (text_log.h). Loop thread.
 */
void notifier_rotated(struct notifier *notifier, const char *path);

/* Is this caller of a request the thread, amid what notifier_rotated asked for? */
bool notifier_repeats(const struct notifier *notifier, pid_t caller);

/*
 * A directory of this path, relative to the mount, is called otherwise now, or (NULL) is gone: what is
 * queued for its files follows it, or is dropped, as it would only make the kernel look up, and
 * remember, names of a dead directory. Loop thread.
 */
void notifier_moved(struct notifier *notifier, const char *path, const char *new_path);

/*
 * Has the kernel drop a name that it remembers in a directory that was removed, by its node id. Names
 * that were in use during the rmdir stay in its cache otherwise, and with them the directory, for as
 * long as it has memory to spare. This takes the directory's lock, which only a thread that does not
 * serve requests may wait for. Loop thread.
 */
void notifier_bury(struct notifier *notifier, struct fuse_session *session, fuse_ino_t directory,
	const char *name);

/*
 * Has the kernel drop the pages that it keeps of a file, by its node id. This waits for pages that are
 * being read, and so for the filesystem. Loop thread.
 */
void notifier_drop_pages(struct notifier *notifier, struct fuse_session *session, fuse_ino_t file);

/*
 * Has the thread end after what it is doing. Returns an fd, which stays the notifier's: POLLIN once it
 * has ended. The filesystem must be served until then: a burial may wait for a lock whose holder waits
 * for an answer, and what waits amid a write to /dev/fuse keeps the connection although that is closed,
 * so that neither would ever be freed. Loop thread.
 */
int notifier_close(struct notifier *notifier);

/*
 * Waits for the thread to end: after notifier_close's fd said so, or once the connection is closed. NULL
 * is allowed.
 */
void notifier_free(struct notifier *notifier);

#endif
