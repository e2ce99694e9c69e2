/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The requests about attributes. */
#include "operations.h"
#include "spool.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	struct node *node = node_from_id(op_tree(req), ino);

	if (!node) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	node_answer_stat(req, node);
}

/* A SETATTR that changes the size, and perhaps more. */
struct resizing {
	struct node_end end; /* first */
	fuse_req_t req;
	fuse_ino_t ino;
	struct stat wanted;
	int which;
};

/* All but the size: 0 or a negative errno, and nothing has changed. */
static int set_attributes(struct node *node, const struct stat *wanted, int which)
{
	struct timespec now;
	int failed = which & FUSE_SET_ATTR_UID ? node_chown(node, wanted->st_uid) : 0;

	if (failed)
		return failed;
	clock_gettime(CLOCK_REALTIME, &now);
	if (which & FUSE_SET_ATTR_MODE)
		node->mode = (node->mode & S_IFMT) | (wanted->st_mode & 07777);
	if (which & FUSE_SET_ATTR_UID)
		node->uid = wanted->st_uid;
	if (which & FUSE_SET_ATTR_GID)
		node->gid = wanted->st_gid;
	if (which & FUSE_SET_ATTR_ATIME)
		node->atime = which & FUSE_SET_ATTR_ATIME_NOW ? now : wanted->st_atim;
	if (which & FUSE_SET_ATTR_MTIME)
		node->mtime = which & FUSE_SET_ATTR_MTIME_NOW ? now : wanted->st_mtim;
	node->ctime = now;
	if (which & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) && node->ops &&
		node->ops->owned)
		node->ops->owned(node);
	return 0;
}

static void change(fuse_req_t req, struct node *node, const struct stat *wanted, int which)
{
	struct stat attributes;
	int failed = set_attributes(node, wanted, which);

	if (failed) {
		fuse_reply_err(req, -failed);
		return;
	}
	node_stat(node, &attributes);
	fuse_reply_attr(req, &attributes, node_cache_seconds(node));
}

/* Its size is as wanted: so be the rest. It may have been removed meanwhile, with its directory. */
static void resized(struct node_end *end, int result)
{
	struct resizing *resizing = (struct resizing *)end;
	struct node *node = node_from_id(op_tree(resizing->req), resizing->ino);

	if (!result && !node)
		result = -ESTALE;
	if (result)
		fuse_reply_err(resizing->req, -result);
	else
		change(resizing->req, node, &resizing->wanted, resizing->which);
	free(resizing);
}

static void resize(fuse_req_t req, struct node *node, const struct stat *wanted, int which)
{
	struct resizing *resizing = node->ops ? malloc(sizeof(*resizing)) : NULL;
	int result;

	if (!resizing) {
		fuse_reply_err(req, node->ops ? ENOMEM : EISDIR);
		return;
	}
	*resizing = (struct resizing){ .end.done = resized,
		.req = req,
		.ino = node_id(node),
		.wanted = *wanted,
		.which = which };
	result = node->ops->resize(node, (uint64_t)wanted->st_size, &resizing->end);
	if (result != NODE_LATER)
		resized(&resizing->end, result);
}

/*
 * Who may do this was checked by the kernel (default_permissions), by the owner that it was told last. A rename over
 * the file, or a chown of the one that a stream belongs to, makes it another's without its knowledge. It looks
 * again upon ESTALE, but for what was given by an fd. What changes a size was checked by the mode, anew.
 */
static bool is_former_owner(fuse_req_t req, const struct node *node, int which)
{
	const uid_t caller = fuse_req_ctx(req)->uid;

	return !(which & FUSE_SET_ATTR_SIZE) && caller != 0 && caller == node->told_uid &&
	       caller != node->uid;
}

void op_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *wanted, int which, struct fuse_file_info *info)
{
	struct node *node = node_from_id(op_begin(req), ino);

	if (!node || is_former_owner(req, node, which)) {
		fuse_reply_err(req, ESTALE);
	} else if (which & FUSE_SET_ATTR_SIZE) {
		resize(req, node, wanted, which);
	} else {
		change(req, node, wanted, which);
	}
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	/* What can be staged here is what the spool has room for. */
	spool_answer_statfs(req, op_tree(req)->spool);
}
