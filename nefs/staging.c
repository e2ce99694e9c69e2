/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "staging.h"
#include "control.h"
#include "directory.h"
#include "spool_job.h"
#include "text_log.h"
#include "tree.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void staging_init(struct staging *staging, struct directory *directory)
{
	LIST_INIT(&staging->known);
	directory->staging = staging;
}

static int check_count(const struct directory *directory, const char *name, struct nefs_error *err)
{
	if (directory->staging->count < STAGED_COUNT_MAX)
		return 0;
	return nefs_error_set(err, ENOSPC,
		"%s: %d files are staged here already, which is the limit; remove what is left of "
		"earlier attempts",
		name, STAGED_COUNT_MAX);
}

int staging_check(struct directory *directory, const char *name, struct nefs_error *err)
{
	if (!directory->staging)
		return nefs_error_set(err, EPERM, "%.64s: only directories can be made here", name);
	if (directory_find(directory, name))
		return nefs_error_set(err, EEXIST, "%.64s exists already", name);
	/* Hidden, perhaps: there is no other file of that name. */
	if (directory_row(directory, name) || text_log_owns(directory, name))
		return nefs_error_set(err, EACCES, "%.64s is made by nefs alone", name);
	if (strlen(name) > NAME_MAX)
		return nefs_error_set(
			err, ENAMETOOLONG, "a file name has at most %d bytes", NAME_MAX);
	return check_count(directory, name, err);
}

/* ---- files ---- */

/* Once it was renamed over `image` it is not a staged file's content any more. */
static bool is_shared(const struct staged *staged)
{
	return staged->file->refs > 1;
}

/* What the spool directory has refused is said as what a control file refuses. Returns result. */
static ssize_t told(const struct staged *staged, ssize_t result, struct nefs_error *err)
{
	if (result < 0 && err->code && staged->node.name)
		control_outcome(staged->node.directory, staged->node.name, err);
	return result;
}

/* What is done to a file, as its owner or a request of the kernel's wants it. */
struct staged_job {
	struct spool_job job; /* first */
	struct tree *tree;
	uint64_t ino;
	uid_t caller;
	fuse_req_t req;	      /* of a write; NULL: */
	struct node_end *end; /* of what changes its size */
};

/* Tells what came of it: its node may have gone with its directory, which is no news then. */
static ssize_t end_job(struct staged_job *job)
{
	struct node *node = node_from_id(job->tree, job->ino);
	struct staged *staged = node ? staged_of(node) : NULL;
	uid_t before = job->tree->caller;

	if (!staged)
		return job->job.result < 0 ? job->job.result : -ENODEV;
	job->tree->caller = job->caller;
	told(staged, job->job.result, &job->job.err);
	job->tree->caller = before;
	if (job->job.result >= 0)
		node_written(node);
	return job->job.result;
}

static void change_done(struct spool_job *done)
{
	struct staged_job *job = (struct staged_job *)done;
	struct node_end *end = job->end;
	ssize_t result = end_job(job);

	free(job);
	end->done(end, (int)result);
}

static void write_done(struct spool_job *done)
{
	struct staged_job *job = (struct staged_job *)done;
	ssize_t result = end_job(job);

	if (result < 0)
		fuse_reply_err(job->req, (int)-result);
	else
		fuse_reply_write(job->req, (size_t)result);
	free(job);
}

/* NULL: out of memory. */
static struct staged_job *job_new(const struct node *node, void (*done)(struct spool_job *job))
{
	struct staged_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->job.done = done;
	job->tree = node->directory->tree;
	job->ino = node->ino;
	job->caller = job->tree->caller;
	return job;
}

/* Another takes its place, which waits for no disk. What is being written goes to the one before, and with it. */
static int empty(struct staged *staged)
{
	struct spool_file *file = staged->file, *fresh;
	struct nefs_error err = { 0 };
	int failed = 0;

	if (file->size || file->running)
		failed = spool_file_new(file->spool, file->owner, &fresh, &err);
	else
		fresh = file;
	if (told(staged, failed, &err) < 0)
		return failed;
	if (fresh != file)
		spool_file_unref(file);
	staged->file = fresh;
	node_written(&staged->node);
	return 0;
}

static int open_staged(struct handle *handle)
{
	struct staged *staged = staged_of(handle->node);

	return handle->flags & O_TRUNC && !is_shared(staged) ? empty(staged) : 0;
}

static void read_staged(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	spool_reply(req, staged_of(handle->node)->file, size, offset);
}

static void write_staged(
	fuse_req_t req, struct handle *handle, const char *data, size_t size, off_t offset)
{
	struct staged *staged = staged_of(handle->node);
	struct staged_job *job;

	if (handle->flags & O_APPEND)
		offset = (off_t)staged->file->size;
	if (is_shared(staged)) {
		fuse_reply_err(req, EBUSY);
		return;
	}
	job = job_new(handle->node, write_done);
	if (!job) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	job->req = req;
	spool_write(&job->job, staged->file, data, size, offset);
}

static int resize_staged(struct node *node, uint64_t size, struct node_end *end)
{
	struct staged *staged = staged_of(node);
	struct staged_job *job;

	if (is_shared(staged))
		return -EBUSY;
	if (size == 0)
		return empty(staged);
	job = job_new(node, change_done);
	if (!job)
		return -ENOMEM;
	job->end = end;
	spool_resize(&job->job, staged->file, size);
	return NODE_LATER;
}

/* Room ahead of the writes, or a hole: what programs that copy ask for. */
static int allocate_staged(
	struct node *node, int mode, uint64_t offset, uint64_t length, struct node_end *end)
{
	struct staged *staged = staged_of(node);
	struct staged_job *job;
	bool punches = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);

	if (is_shared(staged))
		return -EBUSY;
	if (!punches && mode & ~FALLOC_FL_KEEP_SIZE)
		return -EOPNOTSUPP;
	job = job_new(node, change_done);
	if (!job)
		return -ENOMEM;
	job->end = end;
	if (punches)
		spool_punch(&job->job, staged->file, offset, length);
	else
		spool_allocate(&job->job, staged->file, offset + length, mode != 0);
	return NODE_LATER;
}

static unsigned int poll_staged(struct handle *handle)
{
	return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
}

static uint64_t staged_size(struct node *node)
{
	return staged_of(node)->file->size;
}

static void staged_idle(struct node *node)
{
	struct staged *staged = staged_of(node);

	node_end(node);
	LIST_REMOVE(staged, known);
	node->directory->staging->count--;
	spool_file_unref(staged->file);
	quota_give(staged->user, QUOTA_FILES);
	free(staged);
}

static int chown_staged(struct node *node, uid_t uid)
{
	struct staged *staged = staged_of(node);
	int failed = spool_file_chown(staged->file, uid);

	return failed ? failed
		      : quota_chown(&node->directory->tree->quota, uid, QUOTA_FILES, &staged->user,
				NULL);
}

static const struct node_ops staged_node_ops = {
	.open = open_staged,
	.read = read_staged,
	.write = write_staged,
	.resize = resize_staged,
	.allocate = allocate_staged,
	.chown = chown_staged,
	.poll = poll_staged,
	.size = staged_size,
	.idle = staged_idle,
};

struct staged *staged_of(struct node *node)
{
	return node->ops == &staged_node_ops ? (struct staged *)node : NULL;
}

/* One without a name, of this file, which is its own then. If that fails it stays the caller's: EDQUOT, ENOMEM. */
static int staged_new(struct directory *directory, struct spool_file *file, mode_t mode, uid_t uid,
	gid_t gid, struct staged **result, struct nefs_error *err)
{
	struct staged *staged = calloc(1, sizeof(*staged));
	struct timespec now;
	int failed;

	if (!staged)
		return nefs_error_set(err, ENOMEM, "out of memory for a staged file");
	failed = quota_take(&directory->tree->quota, uid, QUOTA_FILES, &staged->user, err);
	if (failed) {
		free(staged);
		return failed;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	staged->file = file;
	node_init(&staged->node, &staged_node_ops, directory, S_IFREG | (mode & 07777), uid, gid,
		&now);
	/* It may become a control file by a rename that the kernel does not look through. */
	staged->node.uncached = true;
	LIST_INSERT_HEAD(&directory->staging->known, staged, known);
	directory->staging->count++;
	*result = staged;
	return 0;
}

/* Gives it a name, or, without memory for that, frees it. */
static int give_name(struct staged *staged, const char *name, struct nefs_error *err)
{
	struct directory *directory = staged->node.directory;

	if (directory_add(directory, &staged->node, name)) {
		node_check_idle(&staged->node);
		return nefs_error_set(err, ENOMEM, "out of memory for a staged file");
	}
	return 0;
}

int staged_create(struct directory *directory, const char *name, mode_t mode, uid_t uid, gid_t gid,
	struct staged **result, struct nefs_error *err)
{
	struct spool_file *file;
	int failed = staging_check(directory, name, err);

	if (!failed)
		failed = spool_file_new(directory->tree->spool, uid, &file, err);
	if (failed)
		return failed;
	failed = staged_new(directory, file, mode, uid, gid, result, err);
	if (failed) {
		spool_file_unref(file);
		nefs_error_prefix(err, "%s", name);
		return failed;
	}
	return give_name(*result, name, err);
}

void staged_unlink(struct staged *staged)
{
	struct node *node = &staged->node;

	directory_remove(node->directory, node);
	node_check_idle(node);
}

/* ---- backups ---- */

/* A file with what a row holds now; the caller's reference. */
static int file_of_row(struct node *row, struct spool_file **file, struct nefs_error *err)
{
	const struct control *control = row->control;
	char *text;
	size_t size;
	int failed;

	*file = control->ops && control->ops->content ? control->ops->content(row) : NULL;
	if (*file)
		return 0;
	failed = spool_file_new(row->directory->tree->spool, row->uid, file, err);
	if (failed || !control->show)
		return failed;
	if (control_render(row, &text, &size)) {
		spool_file_unref(*file);
		return nefs_error_set(err, ENOMEM, "out of memory for what %s holds", row->name);
	}
	failed = spool_fill(*file, text, size, err);
	free(text);
	if (failed)
		spool_file_unref(*file);
	return failed;
}

int staged_backup(struct node *row, struct directory *to, const char *name, struct nefs_error *err)
{
	struct node *target = directory_find(to, name);
	struct spool_file *file;
	struct staged *staged;
	char *copy;
	int failed;

	if (target && !staged_of(target))
		return nefs_error_set(err, EISDIR, "%.64s is a directory", name);
	/* What has the name goes, unless it is open. */
	failed = target && LIST_EMPTY(&target->handles) ? 0 : check_count(to, name, err);
	if (!failed)
		failed = file_of_row(row, &file, err);
	if (failed)
		return failed;
	/* All that it takes, before what has that name is gone. */
	copy = directory_prepare(to, name);
	failed = copy ? staged_new(to, file, row->mode, row->uid, row->gid, &staged, err)
		      : nefs_error_set(err, ENOMEM, "out of memory for the new name");
	if (failed) {
		free(copy);
		spool_file_unref(file);
		nefs_error_prefix(err, "%s", name);
		return failed;
	}
	staged->node.atime = row->atime;
	staged->node.mtime = row->mtime;
	if (target)
		staged_unlink(staged_of(target));
	directory_add_prepared(to, &staged->node, copy);
	node_hand_over(row, &staged->node);
	control_withdraw(row);
	return 0;
}

/* ---- names that look like settings ---- */

void staged_name_told(struct directory *directory, const char *name)
{
	struct node *node = directory_find(directory, name);
	struct nefs_error note = { 0 };
	char names[256] = "";
	size_t used = 0;

	/* Tools put a dot, a digit or a capital into the names of what they stage. */
	if (!node || !staged_of(node) || !directory->error_node ||
		strspn(name, "abcdefghijklmnopqrstuvwxyz_") != strlen(name))
		return;
	for (size_t i = 0; i < directory->control_count && used < sizeof(names); i++)
		if (control_is_settable(&directory->controls[i]))
			used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
				used ? ", " : "", directory->controls[i].name);
	nefs_error_set(&note, ENOENT,
		"%.64s sets nothing; the settings are %s. Rename it over one of them, or remove it",
		name, names);
	control_set_error(directory, name, note.text);
}

/* ---- all of them ---- */

void staging_release(struct directory *directory)
{
	struct staged *staged;

	while ((staged = LIST_FIRST(&directory->staging->known))) {
		bool named = staged->node.name != NULL;

		/* Without a name it is gone with the last of them. */
		node_close_handles(&staged->node);
		if (named)
			staged_unlink(staged);
	}
}
