/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One mounted filesystem: what its parts share. The loop thread owns all of it.
 */
#ifndef NEFS_FS_H
#define NEFS_FS_H

#include "journal.h"
#include "node.h"
#include <nefs/backend.h>
#include <nefs/workers.h>

struct enclave;
struct log;
struct notifier;

/* What `events` counts, per enclave and in total. */
enum counter {
	COUNT_STARTS,
	COUNT_STOPS,
	COUNT_FAILURES,
	COUNT_CRASHES,
	COUNT_RESTARTS,
	COUNTERS,
};

struct fs {
	struct directory root; /* first: node id 1 */
	struct directory sim;  /* backend=sim only */
	bool has_sim;

	sd_event *event;
	struct workers *workers;
	struct backend *backend;
	struct fuse_session *session;
	struct notifier *notifier;
	struct log *log; /* NULL: none */

	int spool; /* directory fd: images and staged files */
	uint64_t next_ino;
	uint64_t next_enclave;

	/* By creation, which is by st_ino: readdir's offsets survive changes. */
	struct enclave **enclaves;
	size_t enclave_count, enclave_room;
	void *by_name;		    /* tsearch(3) tree of the same */
	LIST_HEAD(, enclave) alive; /* those and the removed ones that something refers to */

	struct journal journal;
	uint64_t counters[COUNTERS]; /* totals, removed enclaves included */
	struct nefs_error error;     /* the root's `error` file */
	char *faults;		     /* sim/fault as written */
	size_t faults_size;
	unsigned int launches;	  /* not released yet */
	unsigned int descriptors; /* image reports being made */
};

/* Timeouts of names and attributes in the kernel's cache; changes are told by node_changed. */
#define FS_CACHE_SECONDS 3600.0

/*
 * Sets the tree up: root and sim/. The mount's root gets this group and mode 0775 if gid is not
 * (gid_t)-1. ENOMEM.
 */
int fs_init(struct fs *fs, gid_t gid, struct nefs_error *err);

/* Answers whatever is parked with ENODEV: the mount is about to end. */
void fs_drop_requests(struct fs *fs);

/*
 * Frees the tree, whatever the kernel still knew of it: it must be unmounted, every launch released,
 * and every request answered.
 */
void fs_release(struct fs *fs);

/* An errno for "the directory (enclave) is gone": ENODEV, else 0. */
int fs_gone(const struct node *node);

/* The low-level operations, for fuse_session_new; userdata is the fs. */
extern const struct fuse_lowlevel_ops fs_operations;

#endif
