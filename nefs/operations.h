/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The FUSE requests, grouped as files: names (names.c, rename.c, listing.c), open files (files.c),
 * attributes (attributes.c). Each answers its request exactly once, now or parked. No FLUSH: an
 * error there would be lost (docs/facts/fuse.md §2), and unanswered it costs one round trip once.
 */
#ifndef NEFS_OPERATIONS_H
#define NEFS_OPERATIONS_H

#include "node.h"
#include "tree.h"

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	struct fuse_file_info *info);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	const char *new_name, unsigned int flags);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *name);
void op_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info);

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info);
void op_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
	struct fuse_file_info *info);
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info);
void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info);
void op_poll(
	fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info, struct fuse_pollhandle *poll);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
	struct fuse_file_info *info);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *info);

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attributes, int which,
	struct fuse_file_info *info);
void op_statfs(fuse_req_t req, fuse_ino_t ino);

/* The tree that a request is for. */
struct tree *op_tree(fuse_req_t req);

/* The same for a request that may be refused: the tree knows from here on whose it is. */
struct tree *op_begin(fuse_req_t req);

/*
 * The directory of a node id, for a request about a name in it: as op_begin. NULL: it was removed, in which there
 * is no name, and the request is answered so.
 */
struct directory *op_directory(fuse_req_t req, fuse_ino_t ino);

/* Is it the notifier's, which repeats a rotation (text_log.h)? */
bool op_repeats(fuse_req_t req);

/* Sets up the open file that info describes, for OPEN and CREATE. 0 or a positive errno. */
int file_open(struct node *node, struct fuse_file_info *info);

/*
 * Ends an operation on a name in a directory: what was refused is told in `error`, then the errno is the
 * answer, 0 included.
 */
void op_end(fuse_req_t req, struct directory *directory, const char *name,
	const struct nefs_error *err);

#endif
