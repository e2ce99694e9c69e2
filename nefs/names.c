/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The requests about names, but for rename (rename.c) and listings (listing.c). */
#include "control.h"
#include "directory.h"
#include "operations.h"
#include "staging.h"
#include "text_log.h"
#include <errno.h>
#include <string.h>

/* What the kernel shall know of a node. */
static void fill_entry(struct node *node, struct fuse_entry_param *entry)
{
	memset(entry, 0, sizeof(*entry));
	entry->ino = node_id(node);
	node_stat(node, &entry->attr);
	entry->attr_timeout = node_cache_seconds(node);
	/* A row's name lasts, whatever its attributes do; that of a staged file doesn't. */
	entry->entry_timeout = node->control ? TREE_CACHE_SECONDS : node_cache_seconds(node);
}

static void reply_entry(fuse_req_t req, struct node *node)
{
	struct fuse_entry_param entry;

	fill_entry(node, &entry);
	node_remember(node);
	/* -ENOENT: the caller was interrupted, the kernel knows nothing of it. */
	if (fuse_reply_entry(req, &entry) == -ENOENT)
		node_forget(node, 1);
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct directory *directory = op_directory(req, parent);
	struct node *node;

	if (!directory)
		return;
	node = directory->removed ? NULL : directory_find(directory, name);
	if (!directory->removed && op_repeats(req))
		node = text_log_before(directory, name, node);
	if (node)
		reply_entry(req, node);
	else
		fuse_reply_err(req, ENOENT);
}

/* The root is never forgotten; what is gone, or was made anew, is so already. */
static void forget(struct tree *tree, fuse_ino_t ino, uint64_t count)
{
	struct node *node = ino == FUSE_ROOT_ID ? NULL : node_from_id(tree, ino);

	if (node)
		node_forget(node, count);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	forget(op_tree(req), ino, count);
	fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget(op_tree(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	const struct fuse_ctx *caller = fuse_req_ctx(req);
	struct directory *directory = op_directory(req, parent);
	struct nefs_error err = { 0 };
	struct node *made;
	int failed;

	if (!directory)
		return;
	if (!directory->ops->mkdir || directory->removed)
		failed = nefs_error_set(&err, EPERM, "%.64s: cannot make a directory here", name);
	else
		failed = directory->ops->mkdir(
			directory, name, mode, caller->uid, caller->gid, &made, &err);
	if (failed) {
		op_end(req, directory, name, &err);
		return;
	}
	control_accepted(directory, name);
	reply_entry(req, made);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct directory *directory = op_directory(req, parent);
	struct nefs_error err = { 0 };
	struct node *node;

	if (!directory)
		return;
	node = directory_find(directory, name);
	if (!node) {
		fuse_reply_err(req, ENOENT);
	} else if (!S_ISDIR(node->mode)) {
		fuse_reply_err(req, ENOTDIR);
	} else if (!node->directory->ops->rmdir) {
		nefs_error_set(&err, EPERM, "%.64s stays where it is", name);
		op_end(req, directory, name, &err);
	} else if (node->directory->ops->rmdir(node->directory, &err)) {
		/* That of a tool's directory is as on any filesystem, and no news. */
		if (node->directory->error_node)
			op_end(req, node->directory, NULL, &err);
		else
			fuse_reply_err(req, err.code);
	} else {
		op_end(req, directory, name, &err);
	}
}

/* Makes a file: a staged one, or a control file that was unlinked. */
static struct node *make_file(fuse_req_t req, struct directory *directory, const char *name,
	mode_t mode, struct nefs_error *err)
{
	const struct fuse_ctx *caller = fuse_req_ctx(req);
	struct node *row = directory_row(directory, name);
	struct staged *staged;

	if (directory->removed) {
		nefs_error_set(err, ENOENT, "%.64s: its directory was removed", name);
		return NULL;
	}
	if (row && row->hidden && !control_is_settable(row)) {
		nefs_error_set(err, EACCES,
			"%s can only be read; removed, it comes back with the next start", name);
		return NULL;
	}
	if (row && row->hidden) {
		control_show(row);
		node_renamed(row);
		row->uid = caller->uid;
		row->gid = caller->gid;
		row->mode = S_IFREG | (mode & 0777);
		return row;
	}
	if (text_log_owns(directory, name)) {
		nefs_error_set(err, EACCES, "%.64s is made by nefs alone", name);
		return NULL;
	}
	if (staged_create(directory, name, mode, caller->uid, caller->gid, &staged, err))
		return NULL;
	return &staged->node;
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	struct fuse_file_info *info)
{
	struct directory *directory = op_directory(req, parent);
	struct nefs_error err = { 0 };
	struct fuse_entry_param entry;
	struct node *node;
	int failed;

	if (!directory)
		return;
	node = make_file(req, directory, name, mode, &err);
	if (!node) {
		op_end(req, directory, name, &err);
		return;
	}
	failed = file_open(node, info);
	if (failed) {
		/* It is not made, then: a row is without its name again. */
		if (staged_of(node))
			staged_unlink(staged_of(node));
		else
			control_hide(node);
		fuse_reply_err(req, failed);
		return;
	}
	control_accepted(directory, name);
	staged_name_told(directory, name);
	fill_entry(node, &entry);
	node_remember(node);
	if (fuse_reply_create(req, &entry, info) == -ENOENT) {
		handle_free((struct handle *)(uintptr_t)info->fh);
		node_forget(node, 1);
	}
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
	struct directory *directory = op_directory(req, parent);
	struct nefs_error err = { 0 };
	struct node *node = NULL;

	if (!directory)
		return;
	if (op_repeats(req)) {
		node = text_log_made(directory, name);
		if (node)
			reply_entry(req, node);
		else
			fuse_reply_err(req, ENOENT);
		return;
	}
	if (!S_ISREG(mode))
		nefs_error_set(&err, EPERM, "%.64s: only regular files can be made here", name);
	else
		node = make_file(req, directory, name, mode, &err);
	if (!node) {
		op_end(req, directory, name, &err);
		return;
	}
	control_accepted(directory, name);
	staged_name_told(directory, name);
	reply_entry(req, node);
}

static void refuse_link(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct directory *directory = op_directory(req, parent);
	struct nefs_error err = { 0 };

	if (!directory)
		return;
	nefs_error_set(&err, EPERM, "%.64s: links cannot be made here", name);
	op_end(req, directory, name, &err);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	refuse_link(req, parent, name);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *name)
{
	refuse_link(req, new_parent, name);
}

/* Takes a control file's name, if it may be taken now. */
static int unlink_row(struct directory *directory, struct node *row, struct nefs_error *err)
{
	int failed;

	if (!directory->ops->unlink)
		return nefs_error_set(err, EPERM, "%s stays where it is", row->name);
	failed = directory->ops->unlink(directory, row->name, err);
	if (failed)
		return failed;
	/* What can't be set can't be unset either, but whoever is told that it is gone must find it gone. */
	if (row->control && control_is_settable(row))
		control_withdraw(row);
	else
		control_hide(row);
	return 0;
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct directory *directory = op_directory(req, parent);
	struct nefs_error err = { 0 };
	struct node *node;

	if (!directory)
		return;
	node = directory_find(directory, name);
	if (!node) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	if (S_ISDIR(node->mode)) {
		fuse_reply_err(req, EISDIR);
		return;
	}
	if (staged_of(node))
		staged_unlink(staged_of(node));
	else if (node->control || text_log_is(node))
		unlink_row(directory, node, &err);
	else
		nefs_error_set(&err, EPERM, "%.64s stays where it is", name);
	op_end(req, directory, name, &err);
}
