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

/* Forgets what was open on a node. */
static void close_handles(struct node *node)
{
	struct handle *handle;

	while ((handle = LIST_FIRST(&node->handles)))
		handle_free(handle);
}

static void release_directory(struct directory *directory)
{
	directory_ref(directory);
	for (size_t i = 0; i < directory->control_count; i++) {
		close_handles(&directory->controls[i]);
		node_forget(&directory->controls[i], UINT64_MAX);
	}
	node_forget(&directory->node, UINT64_MAX);
	directory_unref(directory);
}

static void release_enclave(struct enclave *enclave)
{
	struct directory *directory = &enclave->directory;
	struct staged *staged;

	directory_ref(directory);
	while ((staged = LIST_FIRST(&enclave->known))) {
		/* Kept until its name, its handles and the kernel's references are gone. */
		staged->node.lookups++;
		close_handles(&staged->node);
		staged->node.lookups--;
		if (staged->linked)
			staged_unlink(staged);
		else if (staged->node.lookups)
			node_forget(&staged->node, UINT64_MAX);
		else
			staged_collect(&staged->node);
	}
	release_directory(directory);
	if (!directory->removed)
		directory_unref(directory); /* its name's */
	directory_unref(directory);
}

void fs_drop_requests(struct fs *fs)
{
	struct enclave *enclave;

	directory_drop_requests(&fs->root);
	LIST_FOREACH(enclave, &fs->alive, alive)
	{
		directory_drop_requests(&enclave->directory);
		enclave_answer(enclave, PARKED_START, -ENODEV);
		enclave_answer(enclave, PARKED_STOP, -ENODEV);
	}
}

void fs_release(struct fs *fs)
{
	struct enclave *enclave;

	tdestroy(fs->by_name, keep);
	fs->by_name = NULL;
	fs->enclave_count = 0;
	while ((enclave = LIST_FIRST(&fs->alive)))
		release_enclave(enclave);
	free(fs->enclaves);
	release_directory(&fs->root);
	release_directory(&fs->sim);
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
