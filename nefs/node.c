/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control.h"
#include "enclave.h"
#include "fs.h"
#include "notifier.h"
#include "parked.h"
#include "staging.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void node_init(struct node *node, struct fs *fs, enum node_kind kind, struct directory *directory,
	mode_t mode, uid_t uid, gid_t gid)
{
	node->kind = kind;
	node->directory = directory;
	node->ino = fs->next_ino++;
	node->mode = mode;
	node->uid = uid;
	node->gid = gid;
	/* A directory's files are made with it: one look at the clock serves them all. */
	if (kind == NODE_CONTROL)
		node->mtime = directory->node.mtime;
	else
		clock_gettime(CLOCK_REALTIME, &node->mtime);
	node->atime = node->mtime;
	node->ctime = node->mtime;
	node->changes = 1;
	LIST_INIT(&node->handles);
	LIST_INIT(&node->parked);
}

fuse_ino_t node_id(const struct node *node)
{
	return node == &node->directory->fs->root.node ? FUSE_ROOT_ID : (fuse_ino_t)node;
}

struct node *node_from_id(struct fs *fs, fuse_ino_t id)
{
	return id == FUSE_ROOT_ID ? &fs->root.node : (struct node *)id;
}

void node_remember(struct node *node)
{
	if (node->lookups++ == 0)
		directory_ref(node->directory);
}

void node_forget(struct node *node, uint64_t count)
{
	struct directory *directory = node->directory;

	if (count > node->lookups)
		count = node->lookups;
	if (!count)
		return;
	node->lookups -= count;
	if (node->lookups)
		return;
	if (node->kind == NODE_STAGED || node->kind == NODE_LOCK)
		staged_collect(node);
	directory_unref(directory);
}

static uint64_t node_size(struct node *node)
{
	char *text;
	size_t size;

	switch (node->kind) {
	case NODE_STAGED:
		return staged_size(node);
	case NODE_CONTROL:
		if (node->directory->removed)
			return 0;
		if (node->control->ops)
			return node->control->ops->size ? node->control->ops->size(node) : 0;
		if (control_render(node, &text, &size))
			return 0;
		free(text);
		return size;
	default:
		return 0;
	}
}

void node_stat(struct node *node, struct stat *attributes)
{
	memset(attributes, 0, sizeof(*attributes));
	attributes->st_ino = node->ino;
	attributes->st_mode = node->mode;
	attributes->st_nlink = S_ISDIR(node->mode) ? 2 : 1;
	attributes->st_uid = node->uid;
	attributes->st_gid = node->gid;
	attributes->st_size = (off_t)node_size(node);
	attributes->st_blocks = (attributes->st_size + 511) / 512;
	/* Bulk data in requests of 1 MiB (facts/conventions.md §2). */
	attributes->st_blksize = 1 << 20;
	attributes->st_atim = node->atime;
	attributes->st_mtim = node->mtime;
	attributes->st_ctim = node->ctime;
}

/* Wakes a poll(2); the handle's next POLL brings a new poll handle. */
static void wake_pollers(struct node *node)
{
	struct handle *handle;

	LIST_FOREACH(handle, &node->handles, siblings)
	{
		if (!handle->poll)
			continue;
		fuse_lowlevel_notify_poll(handle->poll);
		fuse_pollhandle_destroy(handle->poll);
		handle->poll = NULL;
	}
}

void node_invalidate(struct node *node)
{
	struct fs *fs = node->directory->fs;

	/* Attributes only (a negative offset): that takes no lock of the kernel's, unlike names. */
	if (node->lookups && fs->session)
		fuse_lowlevel_notify_inval_inode(fs->session, node_id(node), -1, 0);
}

void node_changed(struct node *node)
{
	clock_gettime(CLOCK_REALTIME, &node->mtime);
	node->ctime = node->mtime;
	node->changes++;
	node_invalidate(node);
	wake_pollers(node);
	parked_retry(node);
	if (node->control && node->control->flags & CONTROL_POLL)
		notifier_touch(node);
}

bool directory_init(struct directory *directory, struct fs *fs, const struct control *table,
	mode_t mode, uid_t uid, gid_t gid, void (*destroy)(struct directory *))
{
	directory->fs = fs;
	directory->table = table;
	directory->destroy = destroy;
	directory->refs = 1;
	node_init(&directory->node, fs, NODE_DIRECTORY, directory, S_IFDIR | mode, uid, gid);
	while (table[directory->control_count].name)
		directory->control_count++;
	directory->controls = calloc(directory->control_count, sizeof(*directory->controls));
	if (!directory->controls)
		return false;
	for (size_t i = 0; i < directory->control_count; i++) {
		struct node *node = &directory->controls[i];

		node_init(node, fs, NODE_CONTROL, directory, S_IFREG | table[i].mode, uid, gid);
		node->control = &table[i];
	}
	return true;
}

void directory_ref(struct directory *directory)
{
	directory->refs++;
}

void directory_unref(struct directory *directory)
{
	if (--directory->refs == 0 && directory->destroy)
		directory->destroy(directory);
}

struct node *directory_control(struct directory *directory, const char *name)
{
	for (size_t i = 0; i < directory->control_count; i++)
		if (strcmp(directory->table[i].name, name) == 0)
			return &directory->controls[i];
	return NULL;
}

void directory_drop_requests(struct directory *directory)
{
	for (size_t i = 0; i < directory->control_count; i++) {
		struct node *node = &directory->controls[i];
		struct parked *parked;

		wake_pollers(node);
		while ((parked = LIST_FIRST(&node->parked))) {
			fuse_req_t req = parked->req;

			parked_remove(parked);
			fuse_reply_err(req, ENODEV);
		}
	}
}

void directory_removed(struct directory *directory)
{
	directory->removed = true;
	directory_drop_requests(directory);
}

struct handle *handle_new(struct node *node, int flags)
{
	struct handle *handle = calloc(1, sizeof(*handle));

	if (!handle)
		return NULL;
	handle->node = node;
	handle->flags = flags;
	LIST_INSERT_HEAD(&node->handles, handle, siblings);
	directory_ref(node->directory);
	return handle;
}

void handle_free(struct handle *handle)
{
	struct node *node = handle->node;
	struct directory *directory = node->directory;

	if (!LIST_EMPTY(&node->parked))
		parked_drop(handle, EINTR);
	LIST_REMOVE(handle, siblings);
	if (handle->poll)
		fuse_pollhandle_destroy(handle->poll);
	free(handle->text);
	free(handle);
	if (node->kind == NODE_STAGED || node->kind == NODE_LOCK)
		staged_collect(node);
	directory_unref(directory);
}
