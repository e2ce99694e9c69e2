/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What users may have, as far as that depends on the machine: its files and its spool directory. */
#ifndef NEFS_BOUNDS_H
#define NEFS_BOUNDS_H

#include "options.h"
#include "quota.h"

/*
 * Sets the bounds of a filesystem that this process mounts: the options', half of what is free in the spool directory
 * (an fd) for one user's bytes if no option says otherwise, and for all users together what leaves root a part of
 * the spool and of nefs's own fds. Blocks: before the loop runs. 0 or a negative errno.
 */
int bounds_set(
	struct quota *quota, const struct options *options, int spool, struct nefs_error *err);

#endif
