/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rename(2): a directory gets another name, a staged file is committed to the row of that name, and a row
 * that is renamed away leaves a backup.
 */
#include "control.h"
#include "directory.h"
#include "notifier.h"
#include "operations.h"
#include "parked.h"
#include "spool_job.h"
#include "staging.h"
#include "text_log.h"
#include "values.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* What is asked for. */
struct renaming {
	struct directory *from, *to;
	struct node *node;
	const char *name, *new_name;
	unsigned int flags;
	bool of_old_name; /* what is refused is told where the old name is, not the new one */
};

/* ---- a staged file over a control file ---- */

/* The staged file takes the control file's place: as with any rename all but the content comes with it. */
static void carry_attributes(struct node *row, const struct node *staged)
{
	row->mode = S_IFREG | (staged->mode & 07777);
	row->uid = staged->uid;
	row->gid = staged->gid;
	row->atime = staged->atime;
	row->mtime = staged->mtime;
	node_renamed(row);
	node_invalidate(row);
}

/* Its content was taken. */
static void end_commit(struct node *row, struct staged *staged)
{
	struct directory *from = staged->node.directory;

	control_show(row);
	carry_attributes(row, &staged->node);
	control_accepted(from, staged->node.name);
	staged_unlink(staged);
}

static void answer_rename(struct parked *parked, int result)
{
	struct staged *staged = parked->context;

	if (!result)
		end_commit(staged->row, staged);
	fuse_reply_err(parked->req, -result);
}

/* The staged file waits, with its name, for the outcome of what its content started. */
static void park_rename(fuse_req_t req, struct node *row, struct staged *staged)
{
	struct parked *parked;

	/* A signal ends the wait as its bound does. */
	if (fuse_req_interrupted(req)) {
		end_commit(row, staged);
		fuse_reply_err(req, 0);
		return;
	}
	parked = row->control->ops->park(row, req);
	if (!parked) {
		end_commit(row, staged);
		fuse_reply_err(req, 0);
		return;
	}
	staged->row = row;
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
		size = spool_contents(staged->file, text, sizeof(text));
		/* One that is not in memory is too long, whatever is in it: its size is refused, unread. */
		if (size == -E2BIG)
			size = VALUE_MAX + 1;
		if (size < 0) {
			nefs_error_set(&err, (int)-size, "cannot read what was staged as %s: %s",
				staged->node.name, strerror((int)-size));
			control_outcome(row->directory, control->name, &err);
			return (int)size;
		}
		/* None changes nothing. */
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

	if (result == STORE_PARKED) {
		park_rename(req, row, staged);
		return;
	}
	if (!result)
		end_commit(row, staged);
	fuse_reply_err(req, -result);
}

/* ---- what is no commit ---- */

/* What has the new name goes: a file for a file, a directory for a directory. */
static int replace(struct node *node, struct node *target, struct nefs_error *err)
{
	if (S_ISDIR(target->mode) != S_ISDIR(node->mode))
		return nefs_error_set(err, S_ISDIR(target->mode) ? EISDIR : ENOTDIR,
			"%.64s: one of the two is a directory", target->name);
	if (!staged_of(target))
		return target->directory->ops->rmdir(target->directory, err);
	staged_unlink(staged_of(target));
	return 0;
}

/* An entry that was staged gets another name. */
static int rename_staged(const struct renaming *renaming, struct nefs_error *err)
{
	struct node *node = renaming->node;
	struct node *target = directory_find(renaming->to, renaming->new_name);
	char *name;
	int failed = 0;

	if (target == node)
		return 0;
	if (S_ISDIR(node->mode) && renaming->from != renaming->to)
		return nefs_error_set(err, EPERM,
			"%.64s: a directory in an enclave's holds files only", renaming->new_name);
	/* Before what has that name is gone. */
	name = directory_prepare(renaming->to, renaming->new_name);
	if (!name)
		return nefs_error_set(err, ENOMEM, "out of memory for the new name");
	if (target)
		failed = replace(node, target, err);
	if (failed)
		free(name);
	else
		directory_move_prepared(renaming->to, node, name);
	return failed;
}

/* A control file is renamed away. */
static int rename_row(const struct renaming *renaming, struct nefs_error *err)
{
	struct directory *from = renaming->from;
	struct node *row = renaming->node;
	int failed = 0;

	if (directory_row(renaming->to, renaming->new_name))
		return nefs_error_set(err, EPERM,
			"%s cannot take the place of %s; copy what it holds instead", row->name,
			renaming->new_name);
	/* What runs must have its command. */
	if (row->control->flags & CONTROL_COMMAND)
		failed = from->ops->unlink(from, row->name, err);
	return failed ? failed : staged_backup(row, renaming->to, renaming->new_name, err);
}

/* A directory for which that means something: an enclave. */
static int rename_directory(const struct renaming *renaming, struct nefs_error *err)
{
	struct directory *directory = renaming->node->directory;
	char path[DIRECTORY_PATH_MAX], new_path[DIRECTORY_PATH_MAX];
	struct notifier *notifier = directory->tree->notifier;
	bool known = directory_path(&directory->node, path);
	int failed = directory->ops->rename(directory, renaming->new_name, err);

	if (!failed && notifier && known && directory_path(&directory->node, new_path))
		notifier_moved(notifier, path, new_path);
	return failed;
}

/* ---- which of them ---- */

static bool is_own_name(const struct renaming *renaming)
{
	const struct node *node = renaming->node;

	/* An enclave has a name that can change; a setting's can, where its backup can be. */
	if (S_ISDIR(node->mode) && node->directory->ops->rename)
		return renaming->from != renaming->to;
	return !renaming->from->staging || (node->control && !control_is_settable(node)) ||
	       (!node->control && !S_ISDIR(node->mode) && !staged_of((struct node *)node));
}

/* What is wrong with the old name alone. */
static int check_old_name(const struct renaming *renaming, struct nefs_error *err)
{
	if (renaming->flags & ~(unsigned int)RENAME_NOREPLACE)
		return nefs_error_set(
			err, EINVAL, "%.64s: two files cannot be exchanged here", renaming->name);
	if (is_own_name(renaming))
		return nefs_error_set(err, EPERM, "%.64s keeps its name", renaming->name);
	/* mv(1) copies and unlinks then, which works everywhere. */
	if (renaming->from->staging != renaming->to->staging)
		return nefs_error_set(err, EXDEV,
			"%.64s can only be renamed within its enclave's directory; copy it",
			renaming->name);
	return 0;
}

/* What can be said without looking at what the names stand for. */
static int check(struct renaming *renaming, struct nefs_error *err)
{
	struct node *target = directory_find(renaming->to, renaming->new_name);
	int failed = check_old_name(renaming, err);

	if (failed) {
		/* Who may look into the one directory need not be let into the other. */
		renaming->of_old_name = true;
		return failed;
	}
	if (target && renaming->flags & RENAME_NOREPLACE)
		return nefs_error_set(err, EEXIST, "%.64s exists already", renaming->new_name);
	if (text_log_owns(renaming->to, renaming->new_name))
		return nefs_error_set(
			err, EPERM, "%.64s is made by nefs alone", renaming->new_name);
	if (renaming->to->removed)
		return nefs_error_set(
			err, ENOENT, "%.64s: its directory was removed", renaming->new_name);
	if (strlen(renaming->new_name) > NAME_MAX)
		return nefs_error_set(
			err, ENAMETOOLONG, "a file name has at most %d bytes", NAME_MAX);
	return 0;
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	const char *new_name, unsigned int flags)
{
	struct renaming renaming = { .name = name, .new_name = new_name, .flags = flags };
	struct nefs_error err = { 0 };
	struct node *row, *node;
	int failed;

	renaming.from = op_directory(req, parent);
	if (!renaming.from)
		return;
	renaming.to = op_directory(req, new_parent);
	if (!renaming.to)
		return;
	row = directory_row(renaming.to, new_name);
	node = directory_find(renaming.from, name);
	if (op_repeats(req)) {
		fuse_reply_err(req, text_log_moved(renaming.from, name, new_name) ? 0 : ENOENT);
		return;
	}
	renaming.node = node;
	if (!node) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	failed = check(&renaming, &err);
	if (!failed && row && staged_of(node)) {
		commit(req, row, staged_of(node));
		return;
	}
	if (failed)
		;
	else if (S_ISDIR(node->mode) && node->directory->ops->rename)
		failed = rename_directory(&renaming, &err);
	else if (node->control)
		failed = rename_row(&renaming, &err);
	else if (row)
		failed = nefs_error_set(&err, EPERM, "%.64s is a file, not a directory", new_name);
	else
		failed = rename_staged(&renaming, &err);
	if (!failed)
		control_accepted(renaming.from, name);
	if (renaming.of_old_name)
		op_end(req, renaming.from, name, &err);
	else
		op_end(req, renaming.to, new_name, &err);
	if (!failed && renaming.to->staging)
		staged_name_told(renaming.to, new_name);
}
