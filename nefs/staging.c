/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "staging.h"
#include "directory.h"
#include "tree.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <nefs/cleanup.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void staging_init(struct staging *staging, struct directory *directory)
{
	LIST_INIT(&staging->known);
	directory->staging = staging;
}

/* May one more name be staged? */
static int check_name(struct directory *directory, const char *name, struct nefs_error *err)
{
	if (!directory->staging)
		return nefs_error_set(err, EPERM, "%.64s: only directories can be made here", name);
	if (directory_find(directory, name))
		return nefs_error_set(err, EEXIST, "%.64s exists already", name);
	if (strlen(name) > NAME_MAX)
		return nefs_error_set(
			err, ENAMETOOLONG, "a file name has at most %d bytes", NAME_MAX);
	if (directory->staging->count >= STAGED_COUNT_MAX)
		return nefs_error_set(err, ENOSPC,
			"%s: %d files are staged here already, which is the limit; remove what is left "
			"of earlier attempts",
			name, STAGED_COUNT_MAX);
	return 0;
}

/* ---- files ---- */

/* Once it was renamed over `image` it is not a staged file's content any more. */
static bool is_shared(const struct staged *staged)
{
	return staged->file->refs > 1;
}

static int open_staged(struct handle *handle)
{
	struct staged *staged = staged_of(handle->node);

	return handle->flags & O_TRUNC && !is_shared(staged) ? spool_truncate(staged->file, 0, NULL)
							     : 0;
}

static void read_staged(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	spool_reply(req, staged_of(handle->node)->file, size, offset);
}

static void write_staged(
	fuse_req_t req, struct handle *handle, const char *data, size_t size, off_t offset)
{
	struct staged *staged = staged_of(handle->node);
	ssize_t written;

	if (handle->flags & O_APPEND)
		offset = (off_t)staged->file->size;
	written = is_shared(staged) ? -EBUSY : spool_write(staged->file, data, size, offset, NULL);
	if (written < 0) {
		fuse_reply_err(req, (int)-written);
		return;
	}
	node_written(&staged->node);
	fuse_reply_write(req, (size_t)written);
}

static int resize_staged(struct node *node, uint64_t size)
{
	struct staged *staged = staged_of(node);

	return is_shared(staged) ? -EBUSY : spool_truncate(staged->file, size, NULL);
}

static unsigned int poll_staged(struct handle *handle)
{
	return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
}

static uint64_t staged_size(struct node *node)
{
	return staged_of(node)->file->size;
}

/* Frees it if it has no name either. */
static void staged_idle(struct node *node)
{
	struct staged *staged = staged_of(node);

	if (node->name)
		return;
	LIST_REMOVE(staged, known);
	spool_file_unref(staged->file);
	free(staged);
}

static const struct node_ops staged_node_ops = {
	.open = open_staged,
	.read = read_staged,
	.write = write_staged,
	.resize = resize_staged,
	.poll = poll_staged,
	.size = staged_size,
	.idle = staged_idle,
};

struct staged *staged_of(struct node *node)
{
	return node->ops == &staged_node_ops ? (struct staged *)node : NULL;
}

int staged_create(struct directory *directory, const char *name, mode_t mode, uid_t uid, gid_t gid,
	struct staged **result, struct nefs_error *err)
{
	NEFS_AUTO_FREE struct staged *staged = NULL;
	struct timespec now;
	int failed = check_name(directory, name, err);

	if (failed)
		return failed;
	staged = calloc(1, sizeof(*staged));
	if (!staged)
		return nefs_error_set(err, ENOMEM, "out of memory for a staged file");
	failed = spool_file_new(directory->tree->spool, &staged->file, err);
	if (failed)
		return failed;
	clock_gettime(CLOCK_REALTIME, &now);
	node_init(&staged->node, &staged_node_ops, directory, S_IFREG | (mode & 07777), uid, gid,
		&now);
	/* It may become a control file by a rename that the kernel does not look through. */
	staged->node.uncached = true;
	if (directory_add(directory, &staged->node, name)) {
		spool_file_unref(staged->file);
		return nefs_error_set(err, ENOMEM, "out of memory for a staged file");
	}
	LIST_INSERT_HEAD(&directory->staging->known, staged, known);
	directory->staging->count++;
	*result = nefs_take_ptr(staged);
	return 0;
}

void staged_unlink(struct staged *staged)
{
	struct node *node = &staged->node;

	directory_remove(node->directory, node);
	node->directory->staging->count--;
	if (!node->lookups && LIST_EMPTY(&node->handles))
		staged_idle(node);
}

/* ---- lock directories ---- */

static int rmdir_lock(struct directory *lock, struct nefs_error *err)
{
	lock->parent->staging->count--;
	directory_removed(lock);
	return 0;
}

static void destroy_lock(struct directory *lock)
{
	free(lock);
}

static const struct directory_ops lock_ops = { .rmdir = rmdir_lock, .destroy = destroy_lock };

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), tail = strlen(end);

	return length > tail && strcmp(text + length - tail, end) == 0;
}

int staging_mkdir(struct directory *directory, const char *name, mode_t mode, uid_t uid, gid_t gid,
	struct node **made, struct nefs_error *err)
{
	struct directory *lock;
	int failed = check_name(directory, name, err);

	if (failed)
		return failed;
	if (!ends_with(name, ".lock"))
		return nefs_error_set(err, EPERM,
			"%.64s: an enclave's directory holds no directories but a tool's *.lock",
			name);
	lock = calloc(1, sizeof(*lock));
	if (!lock)
		return nefs_error_set(err, ENOMEM, "out of memory for a lock directory");
	directory_init(lock, directory->tree, &lock_ops, mode & 07777, uid, gid);
	lock->node.uncached = true;
	if (directory_add(directory, &lock->node, name)) {
		directory_unref(lock);
		return nefs_error_set(err, ENOMEM, "out of memory for a lock directory");
	}
	directory->staging->count++;
	*made = &lock->node;
	return 0;
}

/* ---- all of them ---- */

void staging_unlink_all(struct directory *directory)
{
	struct node *node = directory_next(directory, 0);

	while (node) {
		struct node *next = directory_next(directory, node->ino);
		struct staged *staged = staged_of(node);

		if (staged)
			staged_unlink(staged);
		else if (node->directory->ops == &lock_ops)
			rmdir_lock(node->directory, NULL);
		node = next;
	}
}

void staging_release(struct directory *directory)
{
	struct staged *staged;

	while ((staged = LIST_FIRST(&directory->staging->known))) {
		/* Kept until its handles, its name and the kernel's references are gone. */
		staged->node.lookups++;
		node_close_handles(&staged->node);
		if (staged->node.name)
			staged_unlink(staged);
		staged->node.lookups--;
		if (staged->node.lookups)
			node_forget(&staged->node, UINT64_MAX);
		else
			staged_idle(&staged->node);
	}
}
