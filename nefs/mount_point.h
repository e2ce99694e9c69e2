/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The directory to mount on: what it must be, what is mounted there already, and what a dead daemon left. */
#ifndef NEFS_MOUNT_POINT_H
#define NEFS_MOUNT_POINT_H

#include "unmounter.h"
#include <nefs/error.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * The absolute path of a mount point, without links; to be freed. 0, or a negative errno with a sentence: it
 * is not there, or no directory. A mount whose daemon is dead or does not answer is no hindrance.
 */
int mount_point_resolve(const char *given, char **resolved, struct nefs_error *err);

/*
 * May nefs be mounted there? EBUSY: it is already, and the sentence has the pid of who serves it, or the
 * place lies in such a mount; ENOTCONN: another filesystem's daemon is dead. Dead mounts of nefs are nothing
 * (mount_point_clear). Asks what is mounted there, so it waits if that does not answer.
 */
int mount_point_check(const char *point, struct nefs_error *err);

/* The same, and dead mounts of nefs, however many, are unmounted; by fusermount3 for ordinary users. */
int mount_point_clear(const char *point, struct nefs_error *err);

/* A mount there failed, of which libfuse or fusermount3 has said what it saw: what is to be done. */
int mount_point_explain(const char *point, struct nefs_error *err);

/* Is there nothing in the directory that a mount will hide? True as well if that cannot be found out. */
bool mount_point_is_empty(const char *point);

/*
 * Our filesystem was mounted there: EBUSY if it covers another nefs, which came in between. 0 otherwise.
 * Sends no request.
 */
int mount_point_alone(const char *point, dev_t device, struct nefs_error *err);

/*
 * Our mount, whose connection has ended: takes it down, lazily, or has it taken down. Nothing happens if it is
 * no longer there: the number may be that of another mount by now, which answers.
 */
void mount_point_drop(const char *point, dev_t device, struct unmounter *unmounter);

/* The same mount: waits, at most ms, for it to be gone from the mount table. Is it? */
bool mount_point_left(const char *point, dev_t device, int ms);

#endif
