/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What configuration tools make next to the control files before they rename it over one: staged
 * files and *.lock directories (docs/facts/fuse.md §3). They are entries of a directory that has a
 * struct staging. Loop thread.
 */
#ifndef NEFS_STAGING_H
#define NEFS_STAGING_H

#include "node.h"
#include "spool.h"

/* Most names staged in one directory. */
#define STAGED_COUNT_MAX 64

LIST_HEAD(staged_list, staged);

/* What is staged in a directory: a member of the object that the directory is in. */
struct staging {
	struct staged_list known; /* all files, until they are freed */
	unsigned int count;	  /* of names: files and lock directories */
};

struct staged {
	struct node node;	  /* first */
	LIST_ENTRY(staged) known; /* in its directory's staging */
	struct spool_file *file;
};

/* Lets files be staged in a directory. */
void staging_init(struct staging *staging, struct directory *directory);

/*
 * Makes a file. ENOSPC beyond STAGED_COUNT_MAX or what the spool says, EEXIST, ENAMETOOLONG, ENOMEM;
 * EPERM where nothing can be staged.
 */
int staged_create(struct directory *directory, const char *name, mode_t mode, uid_t uid, gid_t gid,
	struct staged **staged, struct nefs_error *err);

/* The directory operation of mkdir(2) where files can be staged: a tool's NAME.lock. */
int staging_mkdir(struct directory *directory, const char *name, mode_t mode, uid_t uid, gid_t gid,
	struct node **made, struct nefs_error *err);

/* The staged file that a node is, or NULL. */
struct staged *staged_of(struct node *node);

/* Takes its name; it goes when nothing refers to it any more. */
void staged_unlink(struct staged *staged);

/* Takes the names of all: rmdir. */
void staging_unlink_all(struct directory *directory);

/* Frees all, whatever the kernel still knows of them: the mount is gone. */
void staging_release(struct directory *directory);

#endif
