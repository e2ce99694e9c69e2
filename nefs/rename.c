/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rename(2): a directory gets another name, a staged file is committed to the row of that name. */
#include "control.h"
#include "directory.h"
#include "notifier.h"
#include "operations.h"
#include "parked.h"
#include "staging.h"
#include "text_log.h"
#include "values.h"
#include <errno.h>
#include <limits.h>
#include <string.h>

static void answer_rename(struct parked *parked, int result)
{
	if (!result)
		staged_unlink(parked->context);
	fuse_reply_err(parked->req, -result);
}

/* The staged file waits, with its name, for the outcome of what its content started. */
static void park_rename(fuse_req_t req, struct node *row, struct staged *staged)
{
	struct parked *parked = row->control->ops->park(row, req);

	if (!parked)
		return;
	parked->context = staged;
	parked->answer = answer_rename;
}

/* Takes a staged file's content over, as one write would. As control_store. */
static int store_staged(struct node *row, struct staged *staged)
{
	const struct control *control = row->control;
	struct nefs_error err = { 0 };
	char text[VALUE_MAX + 1];
	ssize_t size;
	int failed;

	if (control->store) {
		size = spool_read(staged->file, text, sizeof(text), 0);
		if (size < 0)
			return -EIO;
		/* One byte more than allowed is enough to be refused; none changes nothing. */
		return size ? control_store(row, text, (size_t)size) : 0;
	}
	if (control->ops && control->ops->adopt)
		failed = control->ops->adopt(row, &staged->node, &err);
	else
		failed = nefs_error_set(&err, EPERM, "it can only be read");
	control_outcome(row->directory, control->name, &err);
	return failed;
}

static void commit(fuse_req_t req, struct node *row, struct staged *staged)
{
	int result = store_staged(row, staged);

	if (result >= 0) {
		row->hidden = false;
		node_invalidate(row);
	}
	if (result == STORE_PARKED) {
		park_rename(req, row, staged);
		return;
	}
	if (!result)
		staged_unlink(staged);
	fuse_reply_err(req, -result);
}

/* What has the new name goes: a file for a file, a directory for a directory. 0 or an errno. */
static int replace(struct node *node, struct node *target)
{
	if (S_ISDIR(target->mode) != S_ISDIR(node->mode))
		return S_ISDIR(target->mode) ? EISDIR : ENOTDIR;
	if (staged_of(target))
		staged_unlink(staged_of(target));
	else
		return -target->directory->ops->rmdir(target->directory, NULL);
	return 0;
}

/* An entry that was staged gets another name, or is committed. */
static void rename_staged(fuse_req_t req, struct directory *directory, struct node *node,
	const char *new_name, unsigned int flags)
{
	struct node *row = directory_row(directory, new_name);
	struct node *target = row ? NULL : directory_find(directory, new_name);
	bool exists = target || (row && !row->hidden);
	int failed = 0;

	if (exists && flags & RENAME_NOREPLACE)
		failed = EEXIST;
	else if (text_log_owns(directory, new_name))
		failed = EPERM;
	else if (row && !staged_of(node))
		failed = EPERM;
	else if (!row && strlen(new_name) > NAME_MAX)
		failed = ENAMETOOLONG;
	else if (row) {
		commit(req, row, staged_of(node));
		return;
	}
	if (!failed && target && target != node)
		failed = replace(node, target);
	if (!failed && target != node)
		failed = -directory_rename(directory, node, new_name);
	fuse_reply_err(req, failed);
}

/* A directory for which that means something: an enclave. */
static void rename_directory(
	fuse_req_t req, struct directory *parent, struct directory *directory, const char *new_name)
{
	char path[DIRECTORY_PATH_MAX], new_path[DIRECTORY_PATH_MAX];
	struct notifier *notifier = parent->tree->notifier;
	struct nefs_error err = { 0 };
	bool known = directory_path(&directory->node, path);

	directory->ops->rename(directory, new_name, &err);
	if (!err.code && notifier && known && directory_path(&directory->node, new_path))
		notifier_moved(notifier, path, new_path);
	op_end(req, parent, new_name, &err);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	const char *new_name, unsigned int flags)
{
	struct directory *from = node_from_id(op_begin(req), parent)->directory;
	struct directory *to = node_from_id(op_tree(req), new_parent)->directory;
	struct node *node = directory_find(from, name);

	if (op_repeats(req))
		fuse_reply_err(req, text_log_moved(from, name, new_name) ? 0 : ENOENT);
	else if (!node)
		fuse_reply_err(req, ENOENT);
	else if (flags & ~(unsigned int)RENAME_NOREPLACE)
		fuse_reply_err(req, EINVAL);
	else if (from == to && S_ISDIR(node->mode) && node->directory->ops->rename)
		rename_directory(req, from, node->directory, new_name);
	else if (node->control || text_log_is(node) || !from->staging)
		fuse_reply_err(req, EPERM);
	else if (from != to)
		/* mv(1) copies and unlinks then, which works everywhere. */
		fuse_reply_err(req, EXDEV);
	else
		rename_staged(req, from, node, new_name, flags);
}
