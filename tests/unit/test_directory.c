/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names, paths and lives of directories and their nodes (nefs/directory.h, node.h, tree.h). */
#include "bare_tree.h"
#include "cunit_main.h"
#include "failing_memory.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>

static const struct control rows[] = {
	{ .name = "size", .mode = 0644, .flags = CONTROL_SETTABLE, .handle = BARE_HANDLE(0) },
	{ .name = "state", .mode = 0444, .flags = CONTROL_POLL, .handle = BARE_HANDLE(1) },
	CONTROL_ERROR_ROW,
	{ .name = "load", .mode = 0400, .flags = CONTROL_VOLATILE },
	{ .name = NULL },
};

static struct bare_tree bare;
static struct directory *root;

static void set_up(void)
{
	bare_tree_set_up(&bare, rows);
	root = bare.tree.root;
}

static void tear_down(void)
{
	bare_tree_tear_down(&bare);
}

static struct bare_directory *make(struct directory *parent, const char *name)
{
	return bare_directory_new(&bare, parent, name, rows);
}

/* ---- names ---- */

/* What the entries should be: in the order of their making, which is that of their numbers. */
#define MODEL_NAMES 300

struct model {
	struct directory *made[MODEL_NAMES * 4];
	char names[MODEL_NAMES * 4][16]; /* "": removed */
	size_t count;
};

static struct directory *model_find(const struct model *model, const char *name)
{
	for (size_t i = 0; i < model->count; i++)
		if (strcmp(model->names[i], name) == 0)
			return model->made[i];
	return NULL;
}

static void check_against(const struct model *model)
{
	const struct node *node = directory_next(root, 0);
	size_t left = 0;

	for (size_t i = 0; i < model->count; i++) {
		if (!*model->names[i])
			continue;
		left++;
		CU_ASSERT_PTR_EQUAL_FATAL(node, &model->made[i]->node);
		CU_ASSERT_STRING_EQUAL(node->name, model->names[i]);
		/* Behind any number below it, there or not, it is the next. */
		CU_ASSERT_PTR_EQUAL(directory_next(root, node->ino - 1), node);
		node = directory_next(root, node->ino);
	}
	CU_ASSERT_PTR_NULL(node);
	CU_ASSERT_EQUAL(root->entry_count, left);
	for (int number = 0; number < MODEL_NAMES; number++) {
		char name[16];
		struct directory *expected;

		snprintf(name, sizeof(name), "d%d", number);
		expected = model_find(model, name);
		CU_ASSERT_PTR_EQUAL(directory_find(root, name), expected ? &expected->node : NULL);
	}
}

/* Always the same sequence: a failure comes again. */
static unsigned int next_random(void)
{
	static uint32_t state = 20251125;

	state = state * 1664525U + 1013904223U;
	return state >> 8;
}

static void random_operation(struct model *model)
{
	char name[16];
	size_t victim = model->count ? next_random() % model->count : 0;
	bool is_there = model->count && *model->names[victim];
	struct directory *found;

	snprintf(name, sizeof(name), "d%u", next_random() % MODEL_NAMES);
	found = model_find(model, name);
	switch (next_random() % 4) {
	case 0:
	case 1:
		if (found || model->count == sizeof(model->made) / sizeof(*model->made))
			return;
		model->made[model->count] = &make(root, name)->directory;
		strcpy(model->names[model->count++], name);
		return;
	case 2:
		if (found || !is_there)
			return;
		CU_ASSERT_EQUAL(directory_rename(root, &model->made[victim]->node, name), 0);
		strcpy(model->names[victim], name);
		return;
	default:
		if (!is_there)
			return;
		CU_ASSERT_EQUAL(model->made[victim]->ops->rmdir(model->made[victim], NULL), 0);
		*model->names[victim] = '\0';
	}
}

static void test_many_entries(void)
{
	struct model *model = calloc(1, sizeof(*model));

	CU_ASSERT_PTR_NOT_NULL_FATAL(model);
	for (int i = 0; i < 3000; i++) {
		random_operation(model);
		if (i % 100 == 0)
			check_against(model);
	}
	check_against(model);
	free(model);
}

static void test_rows(void)
{
	struct directory *directory = &make(root, "web")->directory;
	struct node *row = directory_row(directory, "size");

	CU_ASSERT_PTR_NOT_NULL_FATAL(row);
	CU_ASSERT_PTR_EQUAL(directory_find(directory, "size"), row);
	CU_ASSERT_PTR_NULL(directory_row(directory, "siz"));
	CU_ASSERT_PTR_NULL(directory_row(directory, "size "));
	CU_ASSERT_PTR_NULL(directory_find(directory, ""));
	/* A row that is hidden has no name to find, but its place is kept. */
	row->hidden = true;
	CU_ASSERT_PTR_NULL(directory_find(directory, "size"));
	CU_ASSERT_PTR_EQUAL(directory_row(directory, "size"), row);
	/* Rows are no entries. */
	CU_ASSERT_PTR_NULL(directory_next(directory, 0));
}

static void test_populate(void)
{
	struct bare_directory *web = make(root, "web");
	struct directory *directory = &web->directory;

	CU_ASSERT_EQUAL(directory->control_count, 4);
	CU_ASSERT_PTR_EQUAL(web->kept[0], directory_row(directory, "size"));
	CU_ASSERT_PTR_EQUAL(web->kept[1], directory_row(directory, "state"));
	CU_ASSERT_PTR_NULL(web->kept[2]);
	CU_ASSERT_PTR_EQUAL(directory->error_node, directory_row(directory, "error"));
	for (size_t i = 0; i < directory->control_count; i++) {
		const struct node *row = &directory->controls[i];

		CU_ASSERT_EQUAL(row->mode, S_IFREG | rows[i].mode);
		CU_ASSERT_EQUAL(row->uid, 1000);
		CU_ASSERT_EQUAL(row->gid, 100);
		CU_ASSERT_PTR_EQUAL(row->directory, directory);
		CU_ASSERT_PTR_EQUAL(row->control, &rows[i]);
		CU_ASSERT_STRING_EQUAL(row->name, rows[i].name);
		CU_ASSERT_EQUAL(row->ino, directory->node.ino + 1 + i);
		CU_ASSERT_EQUAL(row->changes, 1);
		CU_ASSERT_EQUAL(row->mtime.tv_sec, directory->node.mtime.tv_sec);
		CU_ASSERT_EQUAL(node_cache_seconds(row),
			strcmp(row->name, "load") == 0 ? 0.0 : TREE_CACHE_SECONDS);
	}
}

/* ---- paths ---- */

static void check_path(const struct node *node, const char *expected)
{
	char path[DIRECTORY_PATH_MAX];

	if (!expected) {
		CU_ASSERT_FALSE(directory_path(node, path));
		return;
	}
	CU_ASSERT_TRUE_FATAL(directory_path(node, path));
	CU_ASSERT_STRING_EQUAL(path, expected);
}

static void test_paths(void)
{
	struct directory *web = &make(root, "web")->directory;
	struct directory *lock = &make(web, "x.lock")->directory;
	struct directory *alone = &make(NULL, NULL)->directory;

	check_path(&root->node, "");
	check_path(directory_row(root, "state"), "state");
	check_path(&web->node, "web");
	check_path(directory_row(web, "state"), "web/state");
	check_path(&lock->node, "web/x.lock");
	check_path(directory_row(lock, "size"), "web/x.lock/size");
	CU_ASSERT_EQUAL(directory_rename(root, &web->node, "a-longer-name"), 0);
	check_path(directory_row(lock, "size"), "a-longer-name/x.lock/size");
	/* Without a name there is none, and in a directory without one neither. */
	check_path(&alone->node, NULL);
	check_path(directory_row(alone, "state"), NULL);
	directory_ref(web);
	directory_ref(lock);
	directory_removed(lock);
	check_path(&lock->node, NULL);
	directory_removed(web);
	check_path(&web->node, NULL);
	check_path(directory_row(web, "state"), NULL);
	directory_unref(lock);
	directory_unref(web);
	directory_unref(alone);
}

/* A path has an end: what does not fit is none, and nothing is written beside it. */
static void test_long_paths(void)
{
	char name[NAME_MAX + 2], guarded[DIRECTORY_PATH_MAX + 16];
	struct directory *at = root;
	size_t length = 0;

	for (int depth = 0; depth < 3; depth++) {
		memset(name, 'n', NAME_MAX);
		name[NAME_MAX] = '\0';
		at = &make(at, name)->directory;
		length += NAME_MAX + 1;
	}
	/* What is left has room for a name of NAME_MAX, and for none that is longer. */
	for (size_t last = NAME_MAX - 1; last <= NAME_MAX + 1; last++) {
		struct directory *deepest;
		bool fits;

		memset(name, 'n', last);
		name[last] = '\0';
		deepest = &make(at, name)->directory;
		memset(guarded, '#', sizeof(guarded));
		fits = directory_path(&deepest->node, guarded + 8);
		CU_ASSERT_EQUAL(fits, last <= NAME_MAX);
		if (fits)
			CU_ASSERT_EQUAL(strlen(guarded + 8), length + last);
		CU_ASSERT_EQUAL(memcmp(guarded, "########", 8), 0);
		CU_ASSERT_EQUAL(memcmp(guarded + 8 + DIRECTORY_PATH_MAX, "########", 8), 0);
		/* Nor for anything below it. */
		CU_ASSERT_FALSE(directory_path(directory_row(deepest, "state"), guarded + 8));
	}
}

/* ---- lives ---- */

static void test_references(void)
{
	struct directory *web = &make(root, "web")->directory;
	struct node *row = directory_row(web, "state");
	struct handle *handle;

	CU_ASSERT_EQUAL(web->refs, 1);
	/* The kernel's references to a node are one of the directory, however many they are. */
	node_remember(row);
	node_remember(row);
	CU_ASSERT_EQUAL(web->refs, 2);
	node_remember(&web->node);
	CU_ASSERT_EQUAL(web->refs, 3);
	handle = handle_new(row, O_RDONLY);
	CU_ASSERT_PTR_NOT_NULL_FATAL(handle);
	CU_ASSERT_EQUAL(web->refs, 4);
	CU_ASSERT_EQUAL(node_gone(row), 0);
	node_forget(row, 1);
	CU_ASSERT_EQUAL(web->refs, 4);
	node_forget(row, 1);
	CU_ASSERT_EQUAL(web->refs, 3);
	/* To forget what is not known changes nothing. */
	node_forget(row, 1);
	CU_ASSERT_EQUAL(web->refs, 3);
	/* Whatever the kernel remembers, and for how long, what has no name is kept by who has it open alone. */
	node_remember(row);
	directory_removed(web);
	CU_ASSERT_EQUAL(node_gone(row), ENODEV);
	CU_ASSERT_EQUAL(web->refs, 1);
	node_forget(row, 1);
	node_forget(&web->node, 1);
	CU_ASSERT_EQUAL(web->refs, 1);
	handle_free(handle);
	CU_ASSERT_EQUAL(bare.destroyed, 1);
}

static void test_node_ids(void)
{
	struct directory *web = &make(root, "web")->directory;
	struct node *row = directory_row(web, "state");

	CU_ASSERT_EQUAL(node_id(&root->node), FUSE_ROOT_ID);
	CU_ASSERT_PTR_EQUAL(node_from_id(&bare.tree, FUSE_ROOT_ID), &root->node);
	CU_ASSERT_NOT_EQUAL(node_id(row), FUSE_ROOT_ID);
	CU_ASSERT_PTR_EQUAL(node_from_id(&bare.tree, node_id(row)), row);
	CU_ASSERT_EQUAL(root->node.ino, 1);
}

/* A change wakes each poller once, and tells the kernel of what it knows. */
static void test_change(void)
{
	struct directory *web = &make(root, "web")->directory;
	struct node *row = directory_row(web, "state");
	struct handle *first = handle_new(row, O_RDONLY), *second = handle_new(row, O_RDONLY);
	struct fuse_pollhandle one = { 0 }, other = { 0 };

	first->poll = &one;
	second->poll = &other;
	row->mtime.tv_sec = 0;
	node_changed(row);
	CU_ASSERT_EQUAL(row->changes, 2);
	CU_ASSERT_NOT_EQUAL(row->mtime.tv_sec, 0);
	CU_ASSERT_EQUAL(one.notified + one.destroyed, 2);
	CU_ASSERT_EQUAL(other.notified + other.destroyed, 2);
	CU_ASSERT_PTR_NULL(first->poll);
	CU_ASSERT_EQUAL(bare.session.invalidated, 0);
	node_remember(row);
	node_changed(row);
	CU_ASSERT_EQUAL(one.notified, 1);
	CU_ASSERT_EQUAL(bare.session.invalidated, 1);
	CU_ASSERT_EQUAL(bare.session.last, node_id(row));
	/* Not mounted: there is nobody to tell. */
	bare.tree.session = NULL;
	node_changed(row);
	CU_ASSERT_EQUAL(bare.session.invalidated, 1);
	node_forget(row, 1);
	/* What is closed needs no poll handle. */
	first->poll = &one;
	handle_free(first);
	CU_ASSERT_EQUAL(one.destroyed, 2);
	node_close_handles(row);
	CU_ASSERT_TRUE(LIST_EMPTY(&row->handles));
}

/* A removed directory wakes those who wait on its files. */
static void test_removal_wakes(void)
{
	struct directory *web = &make(root, "web")->directory;
	struct handle *handle = handle_new(directory_row(web, "state"), O_RDONLY);
	struct fuse_pollhandle poll = { 0 };
	struct fuse_req req = bare_request(&bare);

	handle->poll = &poll;
	handle_park_read(&req, handle, 10, 0);
	CU_ASSERT_EQUAL(req.answers, 0);
	CU_ASSERT_EQUAL(web->ops->rmdir(web, NULL), 0);
	CU_ASSERT_EQUAL(req.answers, 1);
	CU_ASSERT_EQUAL(req.error, ENODEV);
	CU_ASSERT_EQUAL(poll.notified, 1);
	handle_free(handle);
	CU_ASSERT_EQUAL(bare.destroyed, 1);
}

/* The end of the mount, with all that can be known of it (tear_down checks that each goes once). */
static void test_release(void)
{
	struct bare_directory *web = make(root, "web");
	struct directory *lock = &make(&web->directory, "x.lock")->directory;
	struct directory *removed = &make(root, "old")->directory;
	struct node *row = directory_row(&web->directory, "state");
	struct fuse_req req = bare_request(&bare);
	struct staged *staged;

	node_remember(row);
	node_remember(&lock->node);
	node_remember(&web->directory.node);
	node_remember(directory_row(removed, "state"));
	handle_new(row, O_RDONLY);
	handle_new(directory_row(removed, "size"), O_RDWR);
	directory_removed(removed);
	CU_ASSERT_EQUAL(staged_create(&web->directory, "named", 0644, 0, 0, &staged, NULL), 0);
	node_remember(&staged->node);
	handle_new(&staged->node, O_RDWR);
	CU_ASSERT_EQUAL(staged_create(&web->directory, "unlinked", 0644, 0, 0, &staged, NULL), 0);
	handle_new(&staged->node, O_RDWR);
	staged_unlink(staged);
	handle_park_read(&req, LIST_FIRST(&row->handles), 10, 0);
	tree_drop_requests(&bare.tree);
	CU_ASSERT_EQUAL(req.error, ENODEV);
	CU_ASSERT_EQUAL(web->dropped, 1);
	CU_ASSERT_EQUAL(bare.destroyed, 0);
}

/* ---- no memory ---- */

static void test_no_memory(void)
{
	struct directory *web = &make(root, "web")->directory;
	unsigned int nth;
	int result;

	for (nth = 0; memory_fail(nth), result = directory_rename(root, &web->node, "other"),
	    memory_failed();
		nth++) {
		CU_ASSERT_EQUAL(result, -ENOMEM);
		CU_ASSERT_STRING_EQUAL(web->node.name, "web");
	}
	CU_ASSERT_TRUE(nth > 0);
	CU_ASSERT_EQUAL(result, 0);
	CU_ASSERT_PTR_EQUAL(directory_find(root, "other"), &web->node);
	/* Enough of them that the array has to grow, too. */
	for (int i = 0; i < 9; i++) {
		struct directory *made = &make(NULL, NULL)->directory;
		char name[16];

		snprintf(name, sizeof(name), "d%d", i);
		for (nth = 0; memory_fail(nth), result = directory_add(root, &made->node, name),
		    memory_failed();
			nth++) {
			CU_ASSERT_EQUAL(result, -ENOMEM);
			CU_ASSERT_PTR_NULL(made->node.name);
			CU_ASSERT_PTR_NULL(directory_find(root, name));
		}
		CU_ASSERT_TRUE(nth > 0);
		CU_ASSERT_PTR_EQUAL(directory_find(root, name), &made->node);
	}
	memory_fail(0);
	CU_ASSERT_PTR_NULL(handle_new(directory_row(web, "state"), O_RDONLY));
	CU_ASSERT_TRUE(memory_failed());
}

static void test_no_memory_for_rows(void)
{
	struct directory *web = &bare_directory_new(&bare, root, "web", NULL)->directory;

	memory_fail(0);
	CU_ASSERT_EQUAL(control_populate(web, rows), -ENOMEM);
	CU_ASSERT_TRUE(memory_failed());
	CU_ASSERT_EQUAL(web->control_count, 0);
	CU_ASSERT_PTR_NULL(directory_find(web, "state"));
}

static const CU_TestInfo tests[] = {
	{ "many entries, against a simple model", test_many_entries },
	{ "rows, hidden or not", test_rows },
	{ "a table's nodes and their handles", test_populate },
	{ "paths", test_paths },
	{ "paths that are too long", test_long_paths },
	{ "what keeps a directory", test_references },
	{ "node ids", test_node_ids },
	{ "a change wakes and tells", test_change },
	{ "a removal wakes who waits", test_removal_wakes },
	{ "the end of the mount frees all", test_release },
	{ "no memory for names and handles", test_no_memory },
	{ "no memory for rows", test_no_memory_for_rows },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("directory", tests, set_up, tear_down);
}
