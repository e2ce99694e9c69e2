/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "staging_directory.h"
#include "directory.h"
#include "staging.h"
#include "tree.h"
#include <errno.h>
#include <nefs/cleanup.h>
#include <stdlib.h>

struct staging_directory {
	struct directory directory; /* first */
	struct directory *home;	    /* whose staging this is a part of; referred to */
	struct quota_user *user;    /* for whom it is counted (QUOTA_FILES); or NULL */
};

/* What is in it may be open, and keeps it: that counts by itself. */
static void take_name(struct directory *directory)
{
	struct staging_directory *staging = (struct staging_directory *)directory;

	directory->staging->count--;
	quota_give(nefs_take_ptr(staging->user), QUOTA_FILES);
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
	struct staging_directory *staging = (struct staging_directory *)directory;
	struct directory *home = staging->home;

	quota_give(staging->user, QUOTA_FILES);
	free(staging);
	directory_unref(home);
}

static int chown_staging(struct directory *directory, uid_t uid)
{
	return quota_chown(&directory->tree->quota, uid, QUOTA_FILES,
		&((struct staging_directory *)directory)->user, NULL);
}

static const struct directory_ops staging_ops = {
	.rmdir = rmdir_staging,
	.chown = chown_staging,
	.destroy = destroy_staging,
};

int staging_mkdir(struct directory *directory, const char *name, mode_t mode, uid_t uid, gid_t gid,
	struct node **result, struct nefs_error *err)
{
	struct staging_directory *made;
	struct quota_user *user;
	int failed = staging_check(directory, name, err);

	if (failed)
		return failed;
	failed = quota_take(&directory->tree->quota, uid, QUOTA_FILES, &user, err);
	if (failed) {
		nefs_error_prefix(err, "%s", name);
		return failed;
	}
	made = calloc(1, sizeof(*made));
	if (!made) {
		quota_give(user, QUOTA_FILES);
		return nefs_error_set(err, ENOMEM, "out of memory for a directory");
	}
	made->user = user;
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
