/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The requests about names: the root holds enclaves, an enclave holds its control files and what
 * configuration tools stage next to them. */
#include "control.h"
#include "enclave.h"
#include "fs.h"
#include "operations.h"
#include "parked.h"
#include "values.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Offsets of a directory listing: ".", "..", the control files, sim/, then enclaves by their id or
 * staged files by their st_ino. */
#define LISTING_ENTRIES 1000

static struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

void op_init(void *userdata, struct fuse_conn_info *connection)
{
	(void)userdata;
	/* Small requests are what this filesystem lives on: a pipe for each read would slow them. */
	connection->want &= ~(unsigned int)FUSE_CAP_SPLICE_READ;
	connection->max_write = 1 << 20;
}

/* What a name in a directory stands for; NULL if nothing. */
static struct node *find(struct fs *fs, struct node *parent, const char *name)
{
	struct directory *directory = parent->directory;
	struct node *control;

	if (parent->kind != NODE_DIRECTORY)
		return NULL;
	control = directory_control(directory, name);
	if (control)
		return control->hidden ? NULL : control;
	if (directory == &fs->root) {
		struct enclave *enclave = enclave_find(fs, name);

		if (fs->has_sim && strcmp(name, "sim") == 0)
			return &fs->sim.node;
		return enclave ? &enclave->directory.node : NULL;
	}
	if (enclave_is(directory)) {
		struct staged *staged = staged_find(enclave_of(directory), name);

		return staged ? &staged->node : NULL;
	}
	return NULL;
}

void file_entry(struct node *node, struct fuse_entry_param *entry)
{
	bool lasting = node->kind == NODE_DIRECTORY || node->kind == NODE_CONTROL;

	memset(entry, 0, sizeof(*entry));
	entry->ino = node_id(node);
	/* The node id is an address that may come again: the pair with st_ino does not. */
	entry->generation = node->ino;
	node_stat(node, &entry->attr);
	entry->attr_timeout = lasting ? FS_CACHE_SECONDS : 0.0;
	entry->entry_timeout = lasting ? FS_CACHE_SECONDS : 0.0;
}

static void reply_entry(fuse_req_t req, struct node *node)
{
	struct fuse_entry_param entry;

	file_entry(node, &entry);
	node_remember(node);
	/* -ENOENT: the caller was interrupted, the kernel knows nothing of it. */
	if (fuse_reply_entry(req, &entry) == -ENOENT)
		node_forget(node, 1);
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	struct node *directory = node_from_id(fs, parent);
	struct node *node = find(fs, directory, name);

	if (node && !directory->directory->removed)
		reply_entry(req, node);
	else
		fuse_reply_err(req, ENOENT);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	if (ino != FUSE_ROOT_ID)
		node_forget(node_from_id(fs_of(req), ino), count);
	fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		if (forgets[i].ino != FUSE_ROOT_ID)
			node_forget(node_from_id(fs_of(req), forgets[i].ino), forgets[i].nlookup);
	fuse_reply_none(req);
}

/* The enclave that a directory is, or NULL. */
static struct enclave *enclave_at(struct node *node)
{
	return node->kind == NODE_DIRECTORY && enclave_is(node->directory) &&
			       !node->directory->removed
		       ? enclave_of(node->directory)
		       : NULL;
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), tail = strlen(end);

	return length > tail && strcmp(text + length - tail, end) == 0;
}

/* Ends an operation: what was refused is told in `error`, then the errno is the answer. */
static void refuse(fuse_req_t req, struct directory *directory, struct nefs_error *err)
{
	control_outcome(directory, NULL, err);
	fuse_reply_err(req, err->code);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	const struct fuse_ctx *caller = fuse_req_ctx(req);
	struct fs *fs = fs_of(req);
	struct node *directory = node_from_id(fs, parent);
	struct enclave *enclave = enclave_at(directory);
	struct nefs_error err = { 0 };
	struct staged *lock;
	int failed;

	if (directory == &fs->root.node) {
		failed = enclave_create(fs, name, mode, caller->uid, caller->gid, &enclave, &err);
		control_outcome(&fs->root, NULL, &err);
		if (failed)
			fuse_reply_err(req, -failed);
		else
			reply_entry(req, &enclave->directory.node);
		return;
	}
	if (!enclave || find(fs, directory, name))
		failed = nefs_error_set(&err, find(fs, directory, name) ? EEXIST : EPERM,
			"%.64s: cannot make a directory here", name);
	else if (!ends_with(name, ".lock"))
		failed = nefs_error_set(&err, EPERM,
			"%.64s: an enclave's directory holds no directories but a tool's *.lock",
			name);
	else
		failed = staged_create(
			enclave, name, true, mode, caller->uid, caller->gid, &lock, &err);
	if (failed)
		refuse(req, directory->directory, &err);
	else
		reply_entry(req, &lock->node);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	struct node *directory = node_from_id(fs, parent);
	struct node *node = find(fs, directory, name);
	struct nefs_error err = { 0 };
	struct enclave *enclave;

	if (!node) {
		fuse_reply_err(req, ENOENT);
	} else if (node->kind == NODE_LOCK) {
		staged_unlink(staged_of(node));
		fuse_reply_err(req, 0);
	} else if (!S_ISDIR(node->mode)) {
		fuse_reply_err(req, ENOTDIR);
	} else if (!(enclave = enclave_at(node))) {
		fuse_reply_err(req, EPERM);
	} else if (enclave_remove(enclave, &err)) {
		refuse(req, &enclave->directory, &err);
	} else {
		control_outcome(&fs->root, NULL, &err);
		fuse_reply_err(req, 0);
	}
}

/* Makes a file in an enclave: a staged one, or a control file that was unlinked. */
static struct node *make_file(fuse_req_t req, struct node *directory, const char *name, mode_t mode,
	struct nefs_error *err)
{
	const struct fuse_ctx *caller = fuse_req_ctx(req);
	struct enclave *enclave = enclave_at(directory);
	struct staged *staged;
	struct node *control;

	if (!enclave) {
		nefs_error_set(err, EPERM, "%.64s: only directories can be made here", name);
		return NULL;
	}
	control = directory_control(&enclave->directory, name);
	if (control) {
		if (!control->hidden) {
			nefs_error_set(err, EEXIST, "%s exists already", name);
			return NULL;
		}
		control->hidden = false;
		control->uid = caller->uid;
		control->gid = caller->gid;
		control->mode = S_IFREG | (mode & 0777);
		return control;
	}
	if (find(enclave->directory.fs, directory, name)) {
		nefs_error_set(err, EEXIST, "%.64s exists already", name);
		return NULL;
	}
	if (staged_create(enclave, name, false, mode, caller->uid, caller->gid, &staged, err))
		return NULL;
	return &staged->node;
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	struct fuse_file_info *info)
{
	struct node *directory = node_from_id(fs_of(req), parent);
	struct nefs_error err = { 0 };
	struct node *node = make_file(req, directory, name, mode, &err);
	struct fuse_entry_param entry;
	int failed;

	if (!node) {
		refuse(req, directory->directory, &err);
		return;
	}
	failed = file_open(node, info);
	if (failed) {
		if (node->kind == NODE_STAGED)
			staged_unlink(staged_of(node));
		fuse_reply_err(req, failed);
		return;
	}
	file_entry(node, &entry);
	node_remember(node);
	if (fuse_reply_create(req, &entry, info) == -ENOENT) {
		handle_free((struct handle *)(uintptr_t)info->fh);
		node_forget(node, 1);
	}
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
	struct node *directory = node_from_id(fs_of(req), parent);
	struct nefs_error err = { 0 };
	struct node *node = NULL;

	(void)device;
	if (!S_ISREG(mode))
		nefs_error_set(&err, EPERM, "%.64s: only regular files can be made here", name);
	else
		node = make_file(req, directory, name, mode, &err);
	if (node)
		reply_entry(req, node);
	else
		refuse(req, directory->directory, &err);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	(void)target;
	(void)parent;
	(void)name;
	fuse_reply_err(req, EPERM);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *name)
{
	(void)ino;
	(void)new_parent;
	(void)name;
	fuse_reply_err(req, EPERM);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	struct node *directory = node_from_id(fs, parent);
	struct node *node = find(fs, directory, name);
	struct enclave *enclave = enclave_at(directory);
	struct nefs_error err = { 0 };

	if (!node) {
		fuse_reply_err(req, ENOENT);
	} else if (node->kind == NODE_STAGED) {
		staged_unlink(staged_of(node));
		fuse_reply_err(req, 0);
	} else if (S_ISDIR(node->mode)) {
		fuse_reply_err(req, EISDIR);
	} else if (!enclave) {
		fuse_reply_err(req, EPERM);
	} else if (enclave_active(enclave)) {
		nefs_error_set(&err, EBUSY, "%s: %s is %s; stop it first: echo 0 > %s/start", name,
			enclave->name, enclave_state_name(enclave->state), enclave->name);
		refuse(req, directory->directory, &err);
	} else {
		/* What can't be set can't be unset either, but rm -rf must get through. */
		if (node->control->flags & CONTROL_SETTABLE) {
			node->hidden = true;
			node->control->reset(node);
			node_invalidate(node);
		}
		control_outcome(directory->directory, NULL, &err);
		fuse_reply_err(req, 0);
	}
}

/* ---- rename ---- */

static void answer_rename(struct parked *parked, int result)
{
	if (!result)
		staged_unlink(parked->context);
	fuse_reply_err(parked->req, -result);
}

/* Commits a staged file's content to a control file, as one write would. */
static void commit(fuse_req_t req, struct staged *staged, struct node *node)
{
	struct enclave *enclave = enclave_of(node->directory);
	struct nefs_error err = { 0 };
	char text[VALUE_MAX + 1];
	struct parked *parked;
	ssize_t size;
	int result;

	if (node->control->ops && node->control->ops->adopt) {
		result = node->control->ops->adopt(node, &staged->node, &err);
		control_outcome(node->directory, node->control->name, &err);
	} else if (!node->control->store) {
		result = nefs_error_set(&err, EPERM, "it can only be read");
		control_outcome(node->directory, node->control->name, &err);
	} else {
		size = spool_read(staged->file, text, sizeof(text), 0);
		if (size < 0)
			result = -EIO;
		else
			/* One byte more than allowed is enough to be refused; none changes nothing. */
			result = size ? control_store(node, text, (size_t)size) : 0;
	}
	if (result >= 0) {
		node->hidden = false;
		node_invalidate(node);
	}
	if (result == STORE_PARKED) {
		parked = enclave_park(enclave, req,
			enclave->state == STATE_STOPPING && !enclave->start_queued ? PARKED_STOP
										   : PARKED_START);
		if (parked) {
			parked->context = staged;
			parked->answer = answer_rename;
		}
		return;
	}
	if (!result)
		staged_unlink(staged);
	fuse_reply_err(req, -result);
}

/* Inside one enclave: a staged file gets another name, or is committed. */
static void rename_staged(fuse_req_t req, struct enclave *enclave, struct staged *staged,
	const char *new_name, unsigned int flags)
{
	struct node *control = directory_control(&enclave->directory, new_name);
	struct staged *target = staged_find(enclave, new_name);
	bool exists = target || (control && !control->hidden);

	if (exists && flags & RENAME_NOREPLACE) {
		fuse_reply_err(req, EEXIST);
	} else if (control) {
		if (staged->file)
			commit(req, staged, control);
		else
			fuse_reply_err(req, EPERM);
	} else if (strlen(new_name) > NAME_MAX) {
		fuse_reply_err(req, ENAMETOOLONG);
	} else if (target && !target->file != !staged->file) {
		fuse_reply_err(req, target->file ? ENOTDIR : EISDIR);
	} else {
		if (target && target != staged)
			staged_unlink(target);
		snprintf(staged->name, sizeof(staged->name), "%s", new_name);
		fuse_reply_err(req, 0);
	}
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	const char *new_name, unsigned int flags)
{
	struct fs *fs = fs_of(req);
	struct node *from = node_from_id(fs, parent), *to = node_from_id(fs, new_parent);
	struct node *node = find(fs, from, name);
	struct nefs_error err = { 0 };

	if (!node) {
		fuse_reply_err(req, ENOENT);
	} else if (flags & ~(unsigned int)RENAME_NOREPLACE) {
		fuse_reply_err(req, EINVAL);
	} else if (node->kind == NODE_DIRECTORY) {
		if (from != to || !enclave_at(node)) {
			fuse_reply_err(req, EPERM);
			return;
		}
		enclave_rename(enclave_of(node->directory), new_name, &err);
		control_outcome(&fs->root, NULL, &err);
		fuse_reply_err(req, err.code);
	} else if (node->kind == NODE_CONTROL) {
		fuse_reply_err(req, EPERM);
	} else if (from != to) {
		/* mv(1) copies and unlinks then, which works everywhere. */
		fuse_reply_err(req, EXDEV);
	} else {
		rename_staged(req, enclave_at(from), staged_of(node), new_name, flags);
	}
}

/* ---- readdir ---- */

struct listing {
	fuse_req_t req;
	char *buffer;
	size_t size, used;
};

/* Adds an entry; false when the buffer is full. next is the offset behind it. */
static bool list(struct listing *listing, const char *name, const struct node *node, off_t next)
{
	struct stat attributes = { .st_ino = node->ino, .st_mode = node->mode };
	size_t need = fuse_add_direntry(listing->req, listing->buffer + listing->used,
		listing->size - listing->used, name, &attributes, next);

	if (need > listing->size - listing->used)
		return false;
	listing->used += need;
	return true;
}

static bool list_fixed(struct listing *listing, struct directory *directory, off_t offset)
{
	struct fs *fs = directory->fs;
	off_t at = 0;

	if (offset <= at && !list(listing, ".", &directory->node, at + 1))
		return false;
	at++;
	if (offset <= at && !list(listing, "..", &fs->root.node, at + 1))
		return false;
	at++;
	for (size_t i = 0; i < directory->control_count; i++, at++)
		if (offset <= at && !directory->controls[i].hidden &&
			!list(listing, directory->table[i].name, &directory->controls[i], at + 1))
			return false;
	if (directory == &fs->root && fs->has_sim && offset <= at)
		return list(listing, "sim", &fs->sim.node, at + 1);
	return true;
}

static void list_enclaves(struct listing *listing, struct fs *fs, off_t offset)
{
	uint64_t after = offset > LISTING_ENTRIES ? (uint64_t)(offset - LISTING_ENTRIES) : 0;
	size_t low = 0, high = fs->enclave_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (fs->enclaves[middle]->id <= after)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < fs->enclave_count; low++) {
		struct enclave *enclave = fs->enclaves[low];

		if (!list(listing, enclave->name, &enclave->directory.node,
			    LISTING_ENTRIES + (off_t)enclave->id))
			return;
	}
}

/* The newest is first on the list, so offsets count down. */
static void list_staged(struct listing *listing, struct enclave *enclave, off_t offset)
{
	struct staged *staged;

	LIST_FOREACH(staged, &enclave->staged, siblings)
	{
		off_t next = INT64_MAX - (off_t)staged->node.ino;

		if (offset >= next)
			continue;
		if (!list(listing, staged->name, &staged->node, next))
			return;
	}
}

void op_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
	struct fs *fs = fs_of(req);
	struct node *node = node_from_id(fs, ino);
	struct directory *directory = node->directory;
	struct listing listing = { .req = req, .size = size };

	(void)info;
	listing.buffer = malloc(size);
	if (!listing.buffer) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (node->kind == NODE_LOCK) {
		if (offset > 0 || !list(&listing, ".", node, 1) ||
			!list(&listing, "..", &directory->node, 2))
			offset = 0;
	} else if (!directory->removed && list_fixed(&listing, directory, offset)) {
		if (directory == &fs->root)
			list_enclaves(&listing, fs, offset);
		else if (enclave_is(directory))
			list_staged(&listing, enclave_of(directory), offset);
	}
	fuse_reply_buf(req, listing.buffer, listing.used);
	free(listing.buffer);
}
