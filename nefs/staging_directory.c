/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "staging_directory.h"
#include "directory.h"
#include "staging.h"
#include "tree.h"
#include <errno.h>
#include <stdlib.h>

struct staging_directory {
	struct directory directory; /* first */
	struct directory *home;	    /* whose staging this is a part of; referred to */
};

static void take_name(struct directory *directory)
{
	directory->staging->count--;
	directory_removed(directory);
}

static int rmdir_staging(struct directory *directory, struct nefs_error *err)
{
	if (directory->entry_count)
		return nefs_error_set(err, ENOTEMPTY, "%.64s still holds %zu files",
			directory->node.name, directory->entry_count);
	take_name(directory);
	return 0;
}

static void destroy_staging(struct directory *directory)
{
	struct directory *home = ((struct staging_directory *)directory)->home;

	free(directory);
	directory_unref(home);
}

static const struct directory_ops staging_ops = {
	.rmdir = rmdir_staging,
	.destroy = destroy_staging,
};

int staging_mkdir(struct directory *directory, const char *name, mode_t mode, uid_t uid, gid_t gid,
	struct node **result, struct nefs_error *err)
{
	struct staging_directory *made;
	int failed = staging_check(directory, name, err);

	if (failed)
		return failed;
	made = calloc(1, sizeof(*made));
	if (!made)
		return nefs_error_set(err, ENOMEM, "out of memory for a directory");
	directory_init(&made->directory, directory->tree, &staging_ops, mode & 07777, uid, gid);
	made->home = directory;
	directory_ref(directory);
	made->directory.staging = directory->staging;
	made->directory.node.uncached = true;
	if (directory_add(directory, &made->directory.node, name)) {
		directory_unref(&made->directory);
		return nefs_error_set(err, ENOMEM, "out of memory for a directory");
	}
	directory->staging->count++;
	*result = &made->directory.node;
	return 0;
}

void staging_unlink_all(struct directory *directory)
{
	struct node *node;
	uint64_t ino = 0;

	while ((node = directory_next(directory, ino))) {
		struct staged *staged = staged_of(node);

		ino = node->ino;
		if (staged) {
			staged_unlink(staged);
		} else if (node->directory->ops == &staging_ops) {
			staging_unlink_all(node->directory);
			take_name(node->directory);
		}
	}
}
