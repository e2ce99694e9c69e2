/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bare_tree.h"
#include "cunit_main.h"
#include "staging_directory.h"
#include <errno.h>
#include <unistd.h>

static struct bare_directory *bare_of(struct directory *directory)
{
	return (struct bare_directory *)directory;
}

static int check_busy(struct directory *directory, const char *name, struct nefs_error *err)
{
	return bare_of(directory)->busy ? nefs_error_set(err, EBUSY, "%s is in use", name) : 0;
}

static int bare_rmdir(struct directory *directory, struct nefs_error *err)
{
	int failed = check_busy(directory, directory->node.name, err);

	if (failed)
		return failed;
	staging_unlink_all(directory);
	directory_removed(directory);
	return 0;
}

static int bare_rename(struct directory *directory, const char *name, struct nefs_error *err)
{
	int failed = check_busy(directory, directory->node.name, err);

	return failed ? failed : directory_rename(directory->parent, &directory->node, name);
}

static void bare_drop_requests(struct directory *directory)
{
	bare_of(directory)->dropped++;
}

static void bare_destroy(struct directory *directory)
{
	bare_of(directory)->bare->destroyed++;
	free(directory);
}

static void bare_refused(
	struct directory *directory, const char *file, uid_t uid, const struct nefs_error *err)
{
	bare_of(directory)->refusals++;
	bare_of(directory)->refused_to = uid;
}

static const struct directory_ops bare_ops = {
	.mkdir = staging_mkdir,
	.rmdir = bare_rmdir,
	.rename = bare_rename,
	.unlink = check_busy,
	.refused = bare_refused,
	.drop_requests = bare_drop_requests,
	.destroy = bare_destroy,
};

struct bare_directory *bare_directory_new(struct bare_tree *bare, struct directory *parent,
	const char *name, const struct control *rows)
{
	struct bare_directory *made = calloc(1, sizeof(*made));

	CU_ASSERT_PTR_NOT_NULL_FATAL(made);
	made->bare = bare;
	bare->made++;
	directory_init(&made->directory, &bare->tree, &bare_ops, 0755, 1000, 100);
	staging_init(&made->staging, &made->directory);
	if (rows)
		CU_ASSERT_EQUAL_FATAL(control_populate(&made->directory, rows), 0);
	if (parent)
		CU_ASSERT_EQUAL_FATAL(directory_add(parent, &made->directory.node, name), 0);
	return made;
}

void bare_tree_set_up(struct bare_tree *bare, const struct control *rows)
{
	struct nefs_error err = { 0 };
	struct bare_directory *root;

	*bare = (struct bare_tree){ 0 };
	temporary_directory(bare->spool_path, "nefs-tree");
	CU_ASSERT_EQUAL_FATAL(spool_open(&bare->spool, bare->spool_path, NULL, &err), 0);
	LIST_INIT(&bare->tree.alive);
	bare->tree.session = &bare->session;
	bare->tree.spool = &bare->spool;
	root = bare_directory_new(bare, NULL, NULL, rows);
	bare->tree.root = &root->directory;
	node_remember(&root->directory.node);
}

void bare_tree_tear_down(struct bare_tree *bare)
{
	tree_drop_requests(&bare->tree);
	tree_release(&bare->tree);
	CU_ASSERT_TRUE(LIST_EMPTY(&bare->tree.alive));
	CU_ASSERT_EQUAL(bare->destroyed, bare->made);
	spool_close(&bare->spool);
	rmdir(bare->spool_path);
}

struct fuse_req bare_request(struct bare_tree *bare)
{
	return (struct fuse_req){ .tree = &bare->tree, .context = { .uid = 1000, .gid = 100 } };
}
