/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of requests, and what all of them share. */
#include "operations.h"
#include "control.h"
#include "notifier.h"
#include <errno.h>

static void op_init(void *userdata, struct fuse_conn_info *connection)
{
	/* Small requests are what this filesystem lives on: a pipe for each read would slow them. */
	connection->want &= ~(unsigned int)FUSE_CAP_SPLICE_READ;
	/*
	 * A read of a page that has to wait counts against the few that the kernel has under way in the
	 * background, of all files together; else its caller waits by itself, and can be interrupted.
	 */
	connection->want &= ~(unsigned int)FUSE_CAP_ASYNC_READ;
	/*
	 * Pages are dropped when we say so. A stat(2) that finds another time would sleep for the lock of
	 * a page that is waited for, where even SIGKILL cannot reach it.
	 */
	connection->want &= ~(unsigned int)FUSE_CAP_AUTO_INVAL_DATA;
#ifdef FUSE_CAP_DIRECT_IO_ALLOW_MMAP
	connection->want |= connection->capable & (unsigned int)FUSE_CAP_DIRECT_IO_ALLOW_MMAP;
#endif
	connection->max_write = NODE_BLOCK_SIZE;
}

struct tree *op_tree(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

struct tree *op_begin(fuse_req_t req)
{
	struct tree *tree = op_tree(req);

	tree->caller = fuse_req_ctx(req)->uid;
	return tree;
}

struct directory *op_directory(fuse_req_t req, fuse_ino_t ino)
{
	struct node *node = node_from_id(op_begin(req), ino);

	if (!node)
		fuse_reply_err(req, ENOENT);
	return node ? node->directory : NULL;
}

void op_end(
	fuse_req_t req, struct directory *directory, const char *name, const struct nefs_error *err)
{
	if (err->code)
		control_refused(directory, name, err);
	else
		control_accepted(directory, name);
	fuse_reply_err(req, err->code);
}

bool op_repeats(fuse_req_t req)
{
	const struct notifier *notifier = op_tree(req)->notifier;

	return notifier && notifier_repeats(notifier, fuse_req_ctx(req)->pid);
}

const struct fuse_lowlevel_ops tree_operations = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.mkdir = op_mkdir,
	.rmdir = op_rmdir,
	.mknod = op_mknod,
	.create = op_create,
	.unlink = op_unlink,
	.rename = op_rename,
	.symlink = op_symlink,
	.link = op_link,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.releasedir = op_releasedir,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.release = op_release,
	.poll = op_poll,
	.fallocate = op_fallocate,
	.fsync = op_fsync,
	.fsyncdir = op_fsync,
	.statfs = op_statfs,
};
