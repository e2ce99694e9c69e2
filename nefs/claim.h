/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who serves what: a lock on the spool directory, and a mark for the mount. Both are open files and nothing
 * else, so the kernel takes them back however a daemon ends, and a daemon that takes over gets them with the
 * fds.
 */
#ifndef NEFS_CLAIM_H
#define NEFS_CLAIM_H

#include <nefs/error.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * Locks an open directory, until it is closed. Another daemon that serves a mount with it is EBUSY, with its
 * pid in the sentence. One that starts or ends is waited for, 15 s at most: umount(8) returns before the
 * daemon has ended. A pending SIGTERM or SIGINT is EINTR. 0 or a negative errno. Blocks: before the loop
 * runs.
 */
int claim_directory(int fd, const char *path, struct nefs_error *err);

/* Gives the lock back before the fd is closed. */
void claim_release(int fd);

/* Takes it if nobody else has it: is it ours? Does not wait. */
bool claim_again(int fd);

/* Marks this process as the one that serves a filesystem, until the fd is closed: it or a negative errno. */
int claim_mount(dev_t device);

/* The process that serves a filesystem; 0 if none has marked itself that we may see. */
pid_t claim_holder(dev_t device);

#endif
