/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs.h"
#include "control.h"
#include <errno.h>
#include <unistd.h>

/*
 * The directories of the root: each is a file NAME_directory.c with a function NAME_directory_new,
 * which does nothing where there is nothing to show.
 */
#define ROOT_DIRECTORIES(row) row(sim)

#define DECLARE(name) root_directory_new name##_directory_new;
ROOT_DIRECTORIES(DECLARE)

#define FUNCTION(name) name##_directory_new,
static root_directory_new *const root_directories[] = { ROOT_DIRECTORIES(FUNCTION) };

/* Enough for a day on which each minute something happens. */
static const struct text_log_limits journal_limits = {
	.bytes = 1U << 20, .records = 2048, .reserved = true
};

struct fs *fs_of(const struct directory *directory)
{
	return container_of(directory->tree, struct fs, tree);
}

/*
 * The root's journal tells of enclaves that not all who may make some can look into: it is not for the root's
 * group. Who is to watch over all of them is let in by chgrp(1), which lasts.
 */
static void close_journal(struct root *root)
{
	struct node *journal = &root->journal.current->node;

	journal->gid = getegid();
	journal->ops->owned(journal);
}

int fs_init(struct fs *fs, gid_t gid, struct nefs_error *err)
{
	/* Sticky: a member removes and renames what is his own, and nothing of another. */
	mode_t mode = gid == (gid_t)-1 ? 0755 : 01775;
	int failed;

	if (gid == (gid_t)-1)
		gid = getegid();
	LIST_INIT(&fs->tree.alive);
	fs->tree.root = &fs->root.directory;
	fs->tree.spool = &fs->spool;
	fs->tree.caller = TREE_NO_CALLER;
	directory_init(&fs->root.directory, &fs->tree, &root_ops, mode, geteuid(), gid);
	/* The kernel never looks the root up, and never forgets it. */
	node_remember(&fs->root.directory.node);
	failed = control_populate(&fs->root.directory, root_files);
	if (!failed)
		failed = text_log_init(&fs->root.journal, &fs->root.directory, &journal_limits,
			"journal", "journal.1", 0440, fs->root.journal_follow);
	if (failed)
		return nefs_error_set(err, -failed, "out of memory for the root directory");
	close_journal(&fs->root);
	for (size_t i = 0; !failed && i < sizeof(root_directories) / sizeof(*root_directories); i++)
		failed = root_directories[i](fs, err);
	return failed;
}

void fs_release(struct fs *fs)
{
	repeats_release(&fs->root.repeats);
	records_release(&fs->records);
	if (fs->tree.root)
		tree_release(&fs->tree);
	fs->tree.root = NULL;
}
