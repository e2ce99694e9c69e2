/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What configuration tools make next to the control files before they rename it over one: staged
 * files (docs/facts/fuse.md §3). They are entries of a directory that has a struct staging, or of one
 * in that (staging_directory.h). Loop thread.
 */
#ifndef NEFS_STAGING_H
#define NEFS_STAGING_H

#include "node.h"
#include "spool_file.h"

/* Most that is staged in one directory: what has no name and is open counts as well. */
#define STAGED_COUNT_MAX 64

LIST_HEAD(staged_list, staged);

/* What is staged in a directory: a member of the object that the directory is in. */
struct staging {
	struct staged_list known; /* all files, until they are freed */
	unsigned int count;	  /* of these, and of directories of such */
};

struct staged {
	struct node node;	  /* first */
	LIST_ENTRY(staged) known; /* in its directory's staging */
	struct spool_file *file;
	struct quota_user *user; /* for whom it is counted (QUOTA_FILES); or NULL */
	struct node *row;	 /* the control file whose outcome its rename waits for */
};

/* Lets files be staged in a directory. */
void staging_init(struct staging *staging, struct directory *directory);

/* May one more name be staged in it? The errnos of staged_create. */
int staging_check(struct directory *directory, const char *name, struct nefs_error *err);

/*
 * Makes a file. ENOSPC beyond STAGED_COUNT_MAX or what the spool says, EDQUOT, EEXIST, ENAMETOOLONG, ENOMEM;
 * EPERM where nothing can be staged.
 */
int staged_create(struct directory *directory, const char *name, mode_t mode, uid_t uid, gid_t gid,
	struct staged **staged, struct nefs_error *err);

/* The staged file that a node is, or NULL. */
struct staged *staged_of(struct node *node);

/* Takes its name; it goes when nobody has it open any more, whatever the kernel remembers. */
void staged_unlink(struct staged *staged);

/*
 * Renames a settable row away: what it holds becomes a staged file with its mode, owner and times, which
 * takes the place of one of that name; who has the row open has that file. The row is reset and hidden.
 * The errnos of staged_create but EEXIST; EISDIR.
 */
int staged_backup(struct node *row, struct directory *to, const char *name, struct nefs_error *err);

/*
 * A file of this name was made: if it looks like that of a setting, misspelt or of a later version, `error`
 * says that it is none.
 */
void staged_name_told(struct directory *directory, const char *name);

/* Frees all, whatever the kernel still knows of them: the mount is gone. */
void staging_release(struct directory *directory);

#endif
