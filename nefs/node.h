/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inodes: what the kernel knows by a node id, and what is open on it. Everything here belongs to
 * the loop thread.
 *
 * A directory owns its control files (one allocation, a node per row of its table) and is kept by
 * reference counting: one for its name, one for each of its nodes that the kernel remembers, one
 * for each open handle, launch and piece of work. rmdir ends the first and the second kind: it lives on,
 * unnamed, while a file of it is open or work is under way, and its control files answer ENODEV then, as kernfs
 * does. What the kernel asks by an id of a directory that is gone is answered with ESTALE. Its names: directory.h.
 */
#ifndef NEFS_NODE_H
#define NEFS_NODE_H

#include "parked.h"
#include <nefs/error.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct control;
struct directory;
struct handle;
struct node;
struct quota_user;
struct staging;
struct text;
struct text_log;
struct tree;

LIST_HEAD(directory_list, directory);
LIST_HEAD(handle_list, handle);
LIST_HEAD(text_log_list, text_log);
SLIST_HEAD(fixed_names, fixed_name);
LIST_HEAD(node_list, node);

/* All nodes by their id: zeroed, none. */
struct node_ids {
	struct node_list first[64]; /* until there are more */
	struct node_list *lists;    /* NULL: the first */
	size_t size, count;	    /* of lists, a power of two; of nodes */
};

/*
 * The largest request, and what stat(2) advises to use: bytes. A read waits behind one or two of them
 * while an image is written: with 1 MiB that was 3 to 5 ms at p99, and no image was written faster.
 */
#define NODE_BLOCK_SIZE (1U << 19)

/* Returned by what may take long: the answer comes later, by the struct node_end that it was given. */
#define NODE_LATER 1

/* How a request goes on when what it asked for has ended: 0 or a negative errno. Loop thread, once. */
struct node_end {
	void (*done)(struct node_end *end, int result);
};

/* What a kind of file does: control files (control.c), staged ones (staging.c), growing text (text_log.c). */
struct node_ops {
	/* Prepares a handle, just made; 0 or a negative errno. */
	int (*open)(struct handle *handle);
	/* Each answers its request, now or (parked) later. */
	void (*read)(fuse_req_t req, struct handle *handle, size_t size, off_t offset);
	void (*write)(
		fuse_req_t req, struct handle *handle, const char *data, size_t size, off_t offset);
	/* A handle is about to be closed by its user. May be NULL. */
	void (*close)(struct handle *handle);
	/* truncate(2): 0, a negative errno or NODE_LATER. The node may be gone when it ends. */
	int (*resize)(struct node *node, uint64_t size, struct node_end *end);
	/* The same for fallocate(2) with a mode that it may know. NULL: EOPNOTSUPP. */
	int (*allocate)(struct node *node, int mode, uint64_t offset, uint64_t length,
		struct node_end *end);
	/* The events of poll(2). */
	unsigned int (*poll)(struct handle *handle);
	/* st_size: the length of the present content. */
	uint64_t (*size)(struct node *node);
	/*
	 * Is that known? If not it is on its way: stat(2) waits for node_settled, for a bounded time, which
	 * is the file's to bound. The node is `uncached` meanwhile. NULL: it always is.
	 */
	bool (*settled)(struct node *node);
	/* It is about to be this user's: 0 or a negative errno, and it stays whose it is. May be NULL. */
	int (*chown)(struct node *node, uid_t uid);
	/* Its mode or its owner was changed. May be NULL. */
	void (*owned)(struct node *node);
	/* After node_changed did its part. May be NULL. */
	void (*changed)(struct node *node);
	/* It has no name and nobody has it open: frees it, after node_end. NULL: never. */
	void (*idle)(struct node *node);
};

struct node {
	const struct node_ops *ops;    /* NULL: a directory */
	struct directory *directory;   /* that it is in; for a directory: itself */
	const struct control *control; /* its row, or NULL */
	const char *name;	       /* in its directory; NULL: it has none */
	bool hidden;		       /* a file of the directory's own that was unlinked */
	bool uncached;		       /* its attributes change without node_changed */
	bool steady;		       /* its size never changes */
	bool paged;		       /* the kernel's page cache may have some of its content */
	uint64_t ino;		       /* st_ino and the kernel's node id; never used twice */
	LIST_ENTRY(node) by_id;	       /* in tree->ids */
	uint64_t lookups;	       /* the kernel's references */
	mode_t mode;		       /* type and permissions */
	uid_t uid, told_uid;	       /* told_uid: the owner that the kernel was told last */
	gid_t gid;
	struct timespec atime, mtime, ctime;
	uint64_t changes; /* counts from 1; a handle has `seen` one of them */
	struct handle_list handles;
	struct parked_list parked; /* reads that wait for news of this node */
	struct parked_list stats;  /* GETATTR that wait for its size */
};

/* What a directory is for. A member that is NULL refuses, with EPERM. */
struct directory_ops {
	/* mkdir(2) in it, of a name that may be taken. *made is remembered by the caller. */
	int (*mkdir)(struct directory *directory, const char *name, mode_t mode, uid_t uid,
		gid_t gid, struct node **made, struct nefs_error *err);
	/* rmdir(2) of it: takes its name. */
	int (*rmdir)(struct directory *directory, struct nefs_error *err);
	/* rename(2) of it to another name in its parent. */
	int (*rename)(struct directory *directory, const char *name, struct nefs_error *err);
	/* May a control file in it be unlinked, or renamed away, now? 0 or a negative errno. */
	int (*unlink)(struct directory *directory, const char *name, struct nefs_error *err);
	/*
	 * Something in it, or in a directory below without an `error` file, was refused to this user
	 * (TREE_NO_CALLER: nobody asked): tells journal and log, though it may be removed. file: the name
	 * concerned, or NULL. May be NULL.
	 */
	void (*refused)(struct directory *directory, const char *file, uid_t uid,
		const struct nefs_error *err);
	/* It is about to be this user's: 0 or a negative errno. NULL: that changes nothing. */
	int (*chown)(struct directory *directory, uid_t uid);
	/* The mount ends: answers the requests that it keeps itself with ENODEV. */
	void (*drop_requests)(struct directory *directory);
	/* Nothing refers to it any more: frees what it is embedded in. NULL: nothing to do. */
	void (*destroy)(struct directory *directory);
};

/* A name that stays, in turn, with one node or another, or with none. Nothing else can have it. */
struct fixed_name {
	SLIST_ENTRY(fixed_name) siblings; /* in directory->fixed */
	const char *name;
	struct node *node; /* NULL: it stands for nothing now */
};

struct directory {
	struct node node; /* first: a directory's node is the directory */
	struct tree *tree;
	const struct directory_ops *ops;
	struct directory *parent;    /* NULL: the root, or it has no name */
	LIST_ENTRY(directory) alive; /* in tree->alive */
	const struct control *table; /* ends with a row without name; NULL: no rows */
	struct node *controls;	     /* one for each row */
	size_t control_count;
	struct node **entries; /* what else has a name in it, by st_ino */
	struct node **by_name; /* the same, by name */
	size_t entry_count, entry_room;
	size_t subdirectories;	   /* of these */
	struct staging *staging;   /* files can be staged in it; else NULL */
	struct text_log_list logs; /* the text that grows in it */
	struct fixed_names fixed;  /* the names of that */
	char *error;		   /* the sentence of its `error` file; NULL: none */
	char *error_about;	   /* the name that it is about; NULL: none in particular */
	struct node *error_node;   /* that file; NULL: its parent's serves */
	unsigned int refs;
	bool removed;		   /* its name is gone */
	struct handle_list former; /* handles that are `gone` */
};

/* An open file. */
struct handle {
	LIST_ENTRY(handle) siblings; /* in node->handles */
	struct node *node;
	int flags;   /* of open(2), as fcntl(2) changed them since */
	bool paging; /* what is being read or written is a page of the kernel's cache */
	int asked;   /* of open(2) */
	uid_t opener;
	struct quota_user *user; /* for whom it is counted (QUOTA_FILES); NULL: for nobody */
	bool gone;		 /* its file was removed or made anew: ENODEV */
	uint64_t seen;		 /* node->changes when last read; 0: never */
	struct fuse_pollhandle *poll;

	/* Text files: what a read at offset 0 found, for the reads that continue it. */
	struct text *text;
	size_t lost; /* the size of one that was taken from it (control_lose_texts) */

	uint64_t position; /* streams: where this reader is */

	bool cut; /* the kernel takes its file for empty, since O_TRUNC: nothing was written after it */

	bool truncate; /* image: O_TRUNC was asked for, nothing written yet */
};

/* Sets up a node that nobody knows yet, made at this moment; zeroed otherwise. */
void node_init(struct node *node, const struct node_ops *ops, struct directory *directory,
	mode_t mode, uid_t uid, gid_t gid, const struct timespec *made);

/* It is about to be freed. */
void node_end(struct node *node);

/* The node id for the kernel. NULL: there is none any more, as the file was made anew, or is gone. */
fuse_ino_t node_id(const struct node *node);
struct node *node_from_id(struct tree *tree, fuse_ino_t id);

/* Frees what the ids were kept in, once there is none. */
void node_ids_release(struct node_ids *ids);

/*
 * The name of a row stands for another file from now on: what the kernel remembers by the old id is
 * answered with ESTALE, upon which it looks the name up again, and what is open on it with ENODEV.
 */
void node_renew(struct node *node);

/* What is open on a node is open on this other one from now on. */
void node_hand_over(struct node *node, struct node *to);

/* It lost its name, or a handle: frees it, if that was the last that kept it. */
void node_check_idle(struct node *node);

/* The kernel has learnt of the node once more, or forgets it (lookups as in FORGET). */
void node_remember(struct node *node);
void node_forget(struct node *node, uint64_t count);

/* stat(2) of a node, for the kernel; size is that of its present content. */
void node_stat(struct node *node, struct stat *attributes);

/* Answers GETATTR, at once or when its size is known. */
void node_answer_stat(fuse_req_t req, struct node *node);

/* Its size is known, or is not waited for any longer. */
void node_settled(struct node *node);

/* How long the kernel may keep its attributes. */
double node_cache_seconds(const struct node *node);

/* Its times are now: it was written; or only its st_ctime is: its name or mode changed. */
void node_written(struct node *node);
void node_renamed(struct node *node);

/*
 * The node has new content: wakes its pollers, drops the kernel's cached attributes, and does what
 * its ops say: parked reads are tried again, inotify is told.
 */
void node_changed(struct node *node);

/* The same without inotify: for a change that came through the kernel under another name. */
void node_invalidate(struct node *node);

/*
 * Has the notifier drop what the kernel's page cache has of it: who mapped it, or reads it by
 * sendfile(2), sees the new content soon.
 */
void node_drop_pages(struct node *node);

/* Does a read for the page cache wait? Its page is locked for as long. */
bool node_page_locked(const struct node *node);

/* Its owner is to be this user: 0 or a negative errno. */
int node_chown(struct node *node, uid_t uid);

/* This user was refused to open or to read it: the root is told of that, in its journal and the log, and no other. */
void node_log_refusal(const struct node *node, uid_t uid, const struct nefs_error *err);

/* Wakes its pollers and answers its parked reads with ENODEV. */
void node_drop_requests(struct node *node);

/* ENODEV for a file whose directory is removed, else 0. */
int node_gone(const struct node *node);

/* Sets up a directory without a name and without rows; zeroed otherwise. One reference. */
void directory_init(struct directory *directory, struct tree *tree, const struct directory_ops *ops,
	mode_t mode, uid_t uid, gid_t gid);
void directory_ref(struct directory *directory);
void directory_unref(struct directory *directory);

/* Wakes pollers and answers parked reads of the directory's files with ENODEV. */
void directory_drop_requests(struct directory *directory);

/* Opens and closes a handle; it keeps the directory. NULL if out of memory. */
struct handle *handle_new(struct node *node, int flags);
void handle_free(struct handle *handle);

/*
 * Parks a read until the node changes: it is tried again then. EAGAIN at once with O_NONBLOCK; EINVAL for
 * a read for the page cache if the file's size may change, as the kernel would wait for the page when it
 * learns of that (sendfile(2)'s callers take to read(2) then).
 */
void handle_park_read(fuse_req_t req, struct handle *handle, size_t size, off_t offset);

/* The same whatever O_NONBLOCK says: what is no stream is waited for, as for a disk. */
void handle_wait_read(fuse_req_t req, struct handle *handle, size_t size, off_t offset);

/* Is it open for writing? And has anybody its node so, but for this handle (NULL: whoever)? */
bool handle_writes(const struct handle *handle);
bool node_is_written(const struct node *node, const struct handle *but);

/* Nobody reads on in what they have of it. */
void node_drop_texts(struct node *node);

/* Closes whatever is open on a node: the mount is gone. */
void node_close_handles(struct node *node);

#endif
