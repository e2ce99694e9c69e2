/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The requests about attributes. */
#include "control.h"
#include "enclave.h"
#include "fs.h"
#include "operations.h"
#include <errno.h>
#include <sys/statvfs.h>

static struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* A staged file may become a control file by a rename that the kernel does not look through. */
static double attribute_seconds(const struct node *node)
{
	return node->kind == NODE_STAGED ? 0.0 : FS_CACHE_SECONDS;
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	struct node *node = node_from_id(fs_of(req), ino);
	struct stat attributes;

	(void)info;
	node_stat(node, &attributes);
	fuse_reply_attr(req, &attributes, attribute_seconds(node));
}

static int resize(struct node *node, uint64_t size)
{
	struct nefs_error err = { 0 };
	int failed;

	if (node->kind == NODE_STAGED) {
		struct spool_file *file = staged_of(node)->file;

		return file->refs > 1 ? -EBUSY : spool_truncate(file, size, NULL);
	}
	if (node->kind != NODE_CONTROL)
		return -EISDIR;
	if (fs_gone(node))
		return -ENODEV;
	/* A control file has no length of its own: truncation changes nothing, as in kernfs. */
	if (!node->control->ops || !node->control->ops->truncate)
		return 0;
	failed = node->control->ops->truncate(node, size, &err);
	control_outcome(node->directory, node->control->name, &err);
	return failed;
}

void op_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *wanted, int which, struct fuse_file_info *info)
{
	struct node *node = node_from_id(fs_of(req), ino);
	struct timespec now;
	struct stat attributes;

	(void)info;
	/* Who may do this was checked by the kernel (default_permissions). */
	if (which & FUSE_SET_ATTR_SIZE) {
		int failed = resize(node, (uint64_t)wanted->st_size);

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
	node_stat(node, &attributes);
	fuse_reply_attr(req, &attributes, attribute_seconds(node));
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *fs = fs_of(req);
	struct statvfs status;

	(void)ino;
	/* What can be staged here is what the spool has room for. */
	if (fstatvfs(fs->spool, &status)) {
		fuse_reply_err(req, errno);
		return;
	}
	status.f_namemax = NAME_MAX;
	fuse_reply_statfs(req, &status);
}
