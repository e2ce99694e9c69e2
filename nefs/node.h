/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inodes: what the kernel knows by a node id, and what is open on it. Everything here belongs to
 * the loop thread.
 *
 * A directory owns its control files (one allocation, a node per row of its table) and is kept by
 * reference counting: one for its name, one for each of its nodes that the kernel remembers, one
 * for each open handle, launch and piece of work. After rmdir it lives on, unnamed, until the last
 * of these is gone; its control files answer ENODEV then, as kernfs does.
 */
#ifndef NEFS_NODE_H
#define NEFS_NODE_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>

struct control;
struct directory;
struct fs;
struct handle;
struct parked;

LIST_HEAD(handle_list, handle);
LIST_HEAD(parked_list, parked);

enum node_kind {
	NODE_DIRECTORY, /* the root, sim/, an enclave: struct directory */
	NODE_CONTROL,	/* a row of its directory's table */
	NODE_STAGED,	/* a configuration tool's file: struct staged */
	NODE_LOCK,	/* a configuration tool's *.lock directory: struct staged */
};

struct node {
	enum node_kind kind;
	bool hidden;		     /* a control file that was unlinked */
	struct directory *directory; /* that it is in; for a directory: itself */
	const struct control *control;
	uint64_t ino;	  /* st_ino; never used twice */
	uint64_t lookups; /* the kernel's references */
	mode_t mode;	  /* type and permissions */
	uid_t uid;
	gid_t gid;
	struct timespec atime, mtime, ctime;
	uint64_t changes; /* counts from 1; a handle has `seen` one of them */
	struct handle_list handles;
	struct parked_list parked; /* reads that wait for news of this node */
};

struct directory {
	struct node node; /* first: a directory's node is the directory */
	struct fs *fs;
	const struct control *table; /* ends with a row without name */
	struct node *controls;	     /* one for each row */
	size_t control_count;
	unsigned int refs;
	bool removed; /* its name is gone */
	void (*destroy)(struct directory *directory);
};

/* An open file. */
struct handle {
	LIST_ENTRY(handle) siblings; /* in node->handles */
	struct node *node;
	int flags;     /* of open(2) */
	uint64_t seen; /* node->changes when last read; 0: never */
	struct fuse_pollhandle *poll;

	/* Text files: what a read at offset 0 found, for the reads that continue it. */
	char *text;
	size_t text_size;

	/* Streams: where this reader is. */
	uint64_t position;
	size_t offset;
	bool overrun; /* the loss has been reported by EPIPE */

	bool truncate; /* image: O_TRUNC was asked for, nothing written yet */
};

/* Sets up a node that nobody knows yet. */
void node_init(struct node *node, struct fs *fs, enum node_kind kind, struct directory *directory,
	mode_t mode, uid_t uid, gid_t gid);

/* The node id for the kernel: 1 is the root, else the address. */
fuse_ino_t node_id(const struct node *node);
struct node *node_from_id(struct fs *fs, fuse_ino_t id);

/* The kernel has learnt of the node once more, or forgets it (lookups as in FORGET). */
void node_remember(struct node *node);
void node_forget(struct node *node, uint64_t count);

/* stat(2) of a node; size is that of its present content. */
void node_stat(struct node *node, struct stat *attributes);

/*
 * The node has new content: wakes its pollers and parked readers, drops the kernel's cached
 * attributes, and lets the notifier tell inotify.
 */
void node_changed(struct node *node);

/* The same without inotify: for a change that came through the kernel under another name. */
void node_invalidate(struct node *node);

/* Allocates the control nodes of a directory by its table. False if out of memory. */
bool directory_init(struct directory *directory, struct fs *fs, const struct control *table,
	mode_t mode, uid_t uid, gid_t gid, void (*destroy)(struct directory *));
void directory_ref(struct directory *directory);
void directory_unref(struct directory *directory);

/* The control file of this name, hidden or not; NULL if the table has no such row. */
struct node *directory_control(struct directory *directory, const char *name);

/* Wakes pollers and answers parked reads of the directory's files with ENODEV. */
void directory_drop_requests(struct directory *directory);

/* Its name is gone: its files answer ENODEV from now on, and who waits on them is woken. */
void directory_removed(struct directory *directory);

/* Opens and closes a handle; it keeps the directory. NULL if out of memory. */
struct handle *handle_new(struct node *node, int flags);
void handle_free(struct handle *handle);

#endif
