/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One mounted filesystem: the tree, and what its enclaves share. The loop thread owns all of it.
 */
#ifndef NEFS_FS_H
#define NEFS_FS_H

#include "control.h"
#include "counters.h"
#include "records.h"
#include "repeats.h"
#include "spool.h"
#include "text_log.h"
#include "tree.h"
#include <nefs/backend.h>
#include <nefs/container_of.h>
#include <nefs/workers.h>

/* The mount's root. */
struct root {
	struct directory directory; /* first: node id 1 */
	struct node *events;
	struct node *journal_follow;
	struct text_log journal;
	struct repeats repeats; /* of what is refused in it */
};

struct fs {
	struct tree tree;
	struct root root;
	struct spool spool; /* images and staged files */

	sd_event *event;
	struct workers *workers;
	struct backend *backend;

	struct records records;	     /* log's and journals' */
	uint64_t counters[COUNTERS]; /* totals, removed enclaves included */
	unsigned int launches;	     /* not released yet */
};

/*
 * Sets the tree up: the root and its directories. The mount's root gets this group and mode 01775 if
 * gid is not (gid_t)-1. event, workers, backend and spool must be there. ENOMEM; fs_release then.
 */
int fs_init(struct fs *fs, gid_t gid, struct nefs_error *err);

/*
 * Frees the tree, whatever the kernel still knew of it: it must be unmounted, every launch released,
 * and every request answered.
 */
void fs_release(struct fs *fs);

/* The filesystem that a directory is in. */
struct fs *fs_of(const struct directory *directory);

/* The root's ops and rows (root_files.c). */
extern const struct directory_ops root_ops;
extern const struct control root_files[];

/* Makes a directory of the root: its rows, and what it keeps. 0 or a negative errno. */
typedef int root_directory_new(struct fs *fs, struct nefs_error *err);

#endif
