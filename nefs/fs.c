/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs.h"
#include "enclave.h"
#include "operations.h"
#include "root_files.h"
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

int fs_init(struct fs *fs, gid_t gid, struct nefs_error *err)
{
	mode_t mode = gid == (gid_t)-1 ? 0755 : 0775;

	if (gid == (gid_t)-1)
		gid = getegid();
	fs->next_ino = 1;
	fs->journal.next = 1;
	if (!directory_init(&fs->root, fs, root_files, mode, geteuid(), gid, NULL))
		goto no_memory;
	fs->has_sim = strcmp(backend_name(fs->backend), "sim") == 0;
	if (fs->has_sim &&
		!directory_init(&fs->sim, fs, sim_files, 0755, geteuid(), getegid(), NULL))
		goto no_memory;
	/* The kernel never looks the root up, and never forgets it. */
	fs->root.node.lookups = 1;
	return 0;
no_memory:
	free(fs->root.controls);
	fs->root.controls = NULL;
	return nefs_error_set(err, ENOMEM, "out of memory for the root directory");
}

/* The tree only refers to the enclaves, which are freed through their directories. */
static void keep(void *nodep)
{
	(void)nodep;
}

void fs_release(struct fs *fs)
{
	tdestroy(fs->by_name, keep);
	fs->by_name = NULL;
	for (size_t i = 0; i < fs->enclave_count; i++) {
		struct enclave *enclave = fs->enclaves[i];

		/* There is no kernel any more that could refer to any of it. */
		staged_unlink_all(enclave);
		enclave->directory.destroy(&enclave->directory);
	}
	free(fs->enclaves);
	fs->enclaves = NULL;
	fs->enclave_count = 0;
	free(fs->root.controls);
	free(fs->sim.controls);
	journal_release(&fs->journal);
	free(fs->faults);
}

const struct fuse_lowlevel_ops fs_operations = {
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
	.readdir = op_readdir,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.release = op_release,
	.poll = op_poll,
	.fsync = op_fsync,
	.fsyncdir = op_fsync,
	.statfs = op_statfs,
};
