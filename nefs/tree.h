/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One mount's tree: what its directories, files and requests share. It knows names, modes, handles,
 * polling, staging and streams, and no enclave: what a directory is for is said by its ops (node.h)
 * and its rows (control.h). The loop thread owns all of it.
 */
#ifndef NEFS_TREE_H
#define NEFS_TREE_H

#include "node.h"
#include "quota.h"
#include <nefs/text_stream.h>
#include <stdbool.h>

struct log;
struct notifier;
struct spool;

/* Timeouts of names and attributes in the kernel's cache; changes are told by node_changed. */
#define TREE_CACHE_SECONDS 3600.0

/* The caller while no request is served: what happens then nobody asked for. */
#define TREE_NO_CALLER ((uid_t)-1)

struct tree {
	struct directory *root;	      /* node id 1; its owner's, as are the members below */
	struct fuse_session *session; /* NULL: not mounted, the kernel is told nothing */
	struct notifier *notifier;    /* NULL: inotify is told nothing */
	struct spool *spool;	      /* where staged files are */
	struct log *log;	      /* NULL: nothing is logged */
	struct node_ids ids;
	uint64_t last_ino;  /* given to a node; the root's is 1, FUSE_ROOT_ID */
	uid_t caller;	    /* whose request is being served, or TREE_NO_CALLER */
	struct quota quota; /* what users have in it */
	/* What control files are rendered with, kept; not open at first. */
	struct text_stream render;
	bool render_failed;	     /* control_show_failed */
	struct directory_list alive; /* all directories, those without a name included */
};

/* The low-level operations, for fuse_session_new; userdata is the tree. */
extern const struct fuse_lowlevel_ops tree_operations;

/* Answers whatever is parked with ENODEV: the mount is about to end. */
void tree_drop_requests(struct tree *tree);

/*
 * Frees every directory, whatever the kernel still knew of it. The tree must be unmounted, and every
 * request answered.
 */
void tree_release(struct tree *tree);

#endif
