/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Directories that configuration tools make to stage files in (rsync's, Puppet's locks): plain ones, one
 * level deep, that hold nothing but staged files. What is in them counts as staged in the directory that
 * they are in. Loop thread.
 */
#ifndef NEFS_STAGING_DIRECTORY_H
#define NEFS_STAGING_DIRECTORY_H

#include "node.h"

/* The directory operation of mkdir(2) where files can be staged: makes one. */
int staging_mkdir(struct directory *directory, const char *name, mode_t mode, uid_t uid, gid_t gid,
	struct node **made, struct nefs_error *err);

/* Takes the names of all that is staged in a directory, and in those: rmdir. */
void staging_unlink_all(struct directory *directory);

#endif
