/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The requests about attributes. */
#include "operations.h"
#include "spool.h"
#include <errno.h>
#include <limits.h>
#include <sys/statvfs.h>
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

void op_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *wanted, int which, struct fuse_file_info *info)
{
	struct node *node = node_from_id(op_begin(req), ino);
	struct timespec now;
	struct stat attributes;

	if (!node) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	/* Who may do this was checked by the kernel (default_permissions). */
	if (which & FUSE_SET_ATTR_SIZE) {
		int failed =
			node->ops ? node->ops->resize(node, (uint64_t)wanted->st_size) : -EISDIR;

		if (failed) {
			fuse_reply_err(req, -failed);
			return;
		}
	}
	if (which & FUSE_SET_ATTR_UID) {
		int failed = node_chown(node, wanted->st_uid);

		if (failed) {
			fuse_reply_err(req, -failed);
			return;
		}
	}
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
	node_stat(node, &attributes);
	fuse_reply_attr(req, &attributes, node_cache_seconds(node));
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs status;

	/* What can be staged here is what the spool has room for. */
	if (fstatvfs(op_tree(req)->spool->directory, &status)) {
		fuse_reply_err(req, errno);
		return;
	}
	status.f_namemax = NAME_MAX;
	fuse_reply_statfs(req, &status);
}
