/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Staged files and lock directories (nefs/staging.h), and their renames (nefs/rename.c). */
#include "bare_tree.h"
#include "cunit_main.h"
#include "failing_memory.h"
#include "operations.h"
#include "spool_now.h"
#include "staging_directory.h"
#include "values.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>

/* ---- rows that a staged file can be committed to ---- */

static int outcome;		   /* what store returns */
static char stored[VALUE_MAX + 2]; /* what it was given */
static size_t stored_size;
static struct spool_file *adopted;
static struct parked_list waiting;

static int store(struct node *node, const char *text, size_t size, struct nefs_error *err)
{
	memcpy(stored, text, size);
	stored[size] = '\0';
	stored_size = size;
	return outcome < 0 ? nefs_error_set(err, -outcome, "it is told %d", -outcome) : outcome;
}

static void reset(struct node *node)
{
	strcpy(stored, "(reset)");
}

static void show(struct node *node, FILE *out)
{
	fputs(stored, out);
}

static struct parked *park(struct node *node, fuse_req_t req)
{
	return parked_keep(&waiting, req);
}

static int adopt(struct node *node, struct node *staged, struct nefs_error *err)
{
	if (outcome < 0)
		return nefs_error_set(err, -outcome, "it is told %d", -outcome);
	adopted = staged_of(staged)->file;
	spool_file_ref(adopted);
	return 0;
}

static const struct control_ops start_ops = { .park = park };
static const struct control_ops image_ops = { .adopt = adopt };
static const struct control rows[] = {
	{ .name = "value",
		.mode = 0644,
		.flags = CONTROL_SETTABLE,
		.show = show,
		.store = store,
		.reset = reset },
	{ .name = "start",
		.mode = 0644,
		.flags = CONTROL_SETTABLE | CONTROL_COMMAND,
		.store = store,
		.reset = reset,
		.ops = &start_ops },
	{ .name = "image", .mode = 0600, .ops = &image_ops },
	{ .name = "state", .mode = 0444 },
	CONTROL_ERROR_ROW,
	{ .name = NULL },
};

static struct bare_tree bare;
static struct bare_directory *web;
static struct directory *directory;

static void set_up(void)
{
	bare_tree_set_up(&bare, NULL);
	web = bare_directory_new(&bare, bare.tree.root, "web", rows);
	directory = &web->directory;
	outcome = 0;
	*stored = '\0';
	stored_size = 0;
	adopted = NULL;
	LIST_INIT(&waiting);
}

static void tear_down(void)
{
	spool_file_unref(adopted);
	bare_tree_tear_down(&bare);
}

static struct staged *stage(const char *name, const char *content)
{
	struct nefs_error err = { 0 };
	struct staged *staged = NULL;
	size_t size = strlen(content);

	CU_ASSERT_EQUAL_FATAL(staged_create(directory, name, 0100640, 1, 2, &staged, &err), 0);
	CU_ASSERT_EQUAL(spool_write_now(staged->file, content, size, 0, &err), (ssize_t)size);
	return staged;
}

static struct directory *lock(const char *name)
{
	struct nefs_error err = { 0 };
	struct node *made = NULL;

	CU_ASSERT_EQUAL_FATAL(staging_mkdir(directory, name, 0700, 1, 2, &made, &err), 0);
	return made->directory;
}

static unsigned int files_known(void)
{
	const struct staged *staged;
	unsigned int count = 0;

	LIST_FOREACH(staged, &web->staging.known, known)
	count++;
	return count;
}

/* all: what counts as staged, of which so many are files. */
static void check_counts(unsigned int all, unsigned int files)
{
	CU_ASSERT_EQUAL(web->staging.count, all);
	CU_ASSERT_EQUAL(files_known(), files);
}

/* ---- files ---- */

static void test_create(void)
{
	struct staged *staged = stage("value.tmp", "5\n");
	struct node *node = &staged->node;

	CU_ASSERT_PTR_EQUAL(directory_find(directory, "value.tmp"), node);
	CU_ASSERT_PTR_EQUAL(staged_of(node), staged);
	CU_ASSERT_PTR_NULL(staged_of(directory_row(directory, "value")));
	CU_ASSERT_PTR_NULL(staged_of(&directory->node));
	CU_ASSERT_EQUAL(node->mode, S_IFREG | 0640);
	CU_ASSERT_EQUAL(node->uid, 1);
	CU_ASSERT_EQUAL(node->gid, 2);
	CU_ASSERT_EQUAL(node->ops->size(node), 2);
	CU_ASSERT_EQUAL(node_cache_seconds(node), 0.0);
	check_counts(1, 1);
	staged_unlink(staged);
	check_counts(0, 0);
	CU_ASSERT_PTR_NULL(directory_find(directory, "value.tmp"));
}

static void test_refused_names(void)
{
	char name[NAME_MAX + 2];
	struct nefs_error err = { 0 };
	struct staged *staged = NULL;
	struct node *made = NULL;
	struct directory *in_lock;

	stage("there", "");
	in_lock = lock("there.lock");
	CU_ASSERT_EQUAL(staged_create(directory, "there", 0600, 0, 0, &staged, &err), -EEXIST);
	CU_ASSERT_EQUAL(staged_create(directory, "there.lock", 0600, 0, 0, &staged, &err), -EEXIST);
	CU_ASSERT_EQUAL(staged_create(directory, "value", 0600, 0, 0, &staged, &err), -EEXIST);
	CU_ASSERT_EQUAL(staging_mkdir(directory, "there", 0700, 0, 0, &made, &err), -EEXIST);
	CU_ASSERT_EQUAL(staging_mkdir(directory, "there.lock", 0700, 0, 0, &made, &err), -EEXIST);
	/* One level deep. */
	CU_ASSERT_PTR_NULL(in_lock->ops->mkdir);
	memset(name, 'n', sizeof(name));
	name[NAME_MAX + 1] = '\0';
	CU_ASSERT_EQUAL(staged_create(directory, name, 0600, 0, 0, &staged, &err), -ENAMETOOLONG);
	check_counts(2, 1);
	name[NAME_MAX] = '\0';
	CU_ASSERT_EQUAL(staged_create(directory, name, 0600, 0, 0, &staged, &err), 0);
	check_counts(3, 2);
}

static void test_limit(void)
{
	struct nefs_error err = { 0 };
	struct staged *staged = NULL;
	struct node *made = NULL;
	char name[32];

	for (int i = 0; i < STAGED_COUNT_MAX / 2; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		stage(name, "");
		snprintf(name, sizeof(name), "d%d.lock", i);
		lock(name);
	}
	check_counts(STAGED_COUNT_MAX, STAGED_COUNT_MAX / 2);
	CU_ASSERT_EQUAL(staged_create(directory, "more", 0600, 0, 0, &staged, &err), -ENOSPC);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "more: 64 files"));
	CU_ASSERT_EQUAL(staging_mkdir(directory, "more.lock", 0700, 0, 0, &made, &err), -ENOSPC);
	/* Each name that goes makes room, whichever it is. */
	staged_unlink(staged_of(directory_find(directory, "f0")));
	lock("more.lock");
	made = directory_find(directory, "d0.lock");
	CU_ASSERT_EQUAL(made->directory->ops->rmdir(made->directory, &err), 0);
	stage("more", "");
	check_counts(STAGED_COUNT_MAX, STAGED_COUNT_MAX / 2);
	staging_unlink_all(directory);
	check_counts(0, 0);
	CU_ASSERT_PTR_NULL(directory_next(directory, 0));
}

/* An unlinked file lasts for as long as somebody has it open, whatever the kernel remembers. */
static void test_unlinked(void)
{
	struct staged *staged = stage("x", "text");
	struct handle *handle;
	struct fuse_req req = bare_request(&bare);

	node_remember(&staged->node);
	handle = handle_new(&staged->node, O_RDWR);
	staged_unlink(staged);
	check_counts(1, 1);
	staged->node.ops->read(&req, handle, 10, 1);
	CU_ASSERT_EQUAL(req.size, 3);
	node_forget(&staged->node, 1);
	check_counts(1, 1);
	handle_free(handle);
	check_counts(0, 0);
	/* The other way round. */
	staged = stage("x", "");
	node_remember(&staged->node);
	handle = handle_new(&staged->node, O_RDWR);
	staged_unlink(staged);
	handle_free(handle);
	check_counts(0, 0);
	/* A name alone keeps it, too. */
	staged = stage("x", "");
	node_remember(&staged->node);
	node_forget(&staged->node, 1);
	check_counts(1, 1);
}

/* truncate(2). */
static void on_resized(struct node_end *end, int result)
{
	outcome = result;
}

static int resize(struct staged *staged, uint64_t size)
{
	struct node_end end = { .done = on_resized };
	int result = staged->node.ops->resize(&staged->node, size, &end);

	return result == NODE_LATER ? outcome : result;
}

static void test_content(void)
{
	struct staged *staged = stage("x", "12345");
	const struct node_ops *ops = staged->node.ops;
	struct handle *handle = handle_new(&staged->node, O_RDWR);
	struct fuse_req req = bare_request(&bare);

	CU_ASSERT_EQUAL(ops->open(handle), 0);
	CU_ASSERT_EQUAL(staged->file->size, 5);
	ops->write(&req, handle, "ab", 2, 1);
	CU_ASSERT_EQUAL(req.reply, REPLY_WRITE);
	handle->flags |= O_APPEND;
	ops->write(&req, handle, "67", 2, 0);
	req = bare_request(&bare);
	ops->read(&req, handle, 100, 0);
	CU_ASSERT_EQUAL(req.size, 7);
	CU_ASSERT_EQUAL(memcmp(req.data, "1ab4567", 7), 0);
	CU_ASSERT_EQUAL(resize(staged, 3), 0);
	CU_ASSERT_EQUAL(staged->file->size, 3);
	CU_ASSERT_EQUAL(ops->poll(handle), POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM);
	handle->flags = O_RDWR;
	req = bare_request(&bare);
	ops->write(&req, handle, "x", 1, SPOOL_FILE_MAX);
	CU_ASSERT_EQUAL(req.error, EFBIG);
	/* What an image has taken over is not this file's to change any more. */
	spool_file_ref(staged->file);
	handle->flags = O_RDWR | O_TRUNC;
	CU_ASSERT_EQUAL(ops->open(handle), 0);
	CU_ASSERT_EQUAL(resize(staged, 0), -EBUSY);
	req = bare_request(&bare);
	ops->write(&req, handle, "x", 1, 0);
	CU_ASSERT_EQUAL(req.error, EBUSY);
	CU_ASSERT_EQUAL(staged->file->size, 3);
	spool_file_unref(staged->file);
	CU_ASSERT_EQUAL(ops->open(handle), 0);
	CU_ASSERT_EQUAL(staged->file->size, 0);
	handle_free(handle);
}

static void test_no_memory(void)
{
	struct nefs_error err = { 0 };
	struct staged *staged = NULL;
	struct node *made = NULL;
	unsigned int nth;
	int result;

	for (nth = 0; memory_fail(nth),
	    result = staged_create(directory, "x", 0600, 0, 0, &staged, &err), memory_failed();
		nth++) {
		CU_ASSERT_EQUAL(result, -ENOMEM);
		check_counts(0, 0);
		CU_ASSERT_PTR_NULL(directory_find(directory, "x"));
	}
	CU_ASSERT_TRUE(nth > 2);
	CU_ASSERT_EQUAL(result, 0);
	for (nth = 0; memory_fail(nth),
	    result = staging_mkdir(directory, "x.lock", 0700, 0, 0, &made, &err), memory_failed();
		nth++) {
		CU_ASSERT_EQUAL(result, -ENOMEM);
		check_counts(1, 1);
	}
	CU_ASSERT_EQUAL(result, 0);
	check_counts(2, 1);
}

/* ---- renames ---- */

static struct fuse_req rename_to(const char *name, const char *new_name, unsigned int flags)
{
	struct fuse_req req = bare_request(&bare);
	fuse_ino_t ino = node_id(&directory->node);

	op_rename(&req, ino, name, ino, new_name, flags);
	return req;
}

static void check_rename(const char *name, const char *new_name, unsigned int flags, int expected)
{
	struct fuse_req req = rename_to(name, new_name, flags);

	if (req.error != expected)
		printf("%s to %s: %d\n", name, new_name, req.error);
	CU_ASSERT_EQUAL(req.reply, REPLY_ERROR);
	CU_ASSERT_EQUAL(req.answers, 1);
	CU_ASSERT_EQUAL(req.error, expected);
}

static void test_commit(void)
{
	char longest[VALUE_MAX + 2];

	stage("t", "5\n");
	check_rename("t", "value", 0, 0);
	CU_ASSERT_STRING_EQUAL(stored, "5\n");
	check_counts(0, 0);
	/* Refused: the file keeps its name, and the sentence is told. */
	stage("t", "6");
	outcome = -ERANGE;
	check_rename("t", "value", 0, ERANGE);
	check_counts(1, 1);
	CU_ASSERT_STRING_EQUAL(directory->error, "value: it is told 34");
	outcome = 0;
	check_rename("t", "value", RENAME_NOREPLACE, EEXIST);
	check_rename("t", "state", 0, EPERM);
	CU_ASSERT_STRING_EQUAL(directory->error, "state: it can only be read");
	check_rename("t", "value", 0, 0);
	/* A sentence about another file stays. */
	CU_ASSERT_STRING_EQUAL(directory->error, "state: it can only be read");
	/* An empty one changes nothing, and is gone; one that is too long is refused. */
	strcpy(stored, "untouched");
	stage("t", "");
	check_rename("t", "value", 0, 0);
	CU_ASSERT_STRING_EQUAL(stored, "untouched");
	memset(longest, '1', sizeof(longest));
	longest[VALUE_MAX + 1] = '\0';
	stage("t", longest);
	check_rename("t", "value", 0, E2BIG);
	longest[VALUE_MAX] = '\0';
	stage("u", longest);
	check_rename("u", "value", 0, 0);
	CU_ASSERT_EQUAL(stored_size, VALUE_MAX);
	check_counts(1, 1);
}

/* As with any rename, all that the file is comes with it. */
static void test_commit_carries(void)
{
	struct node *row = directory_row(directory, "value"), *node = &stage("t", "5")->node;

	node->mode = S_IFREG | 0600;
	node->uid = 12;
	node->gid = 34;
	node->atime.tv_sec = 1000;
	node->mtime.tv_sec = 2000;
	row->ctime.tv_sec = 0;
	outcome = -EINVAL;
	check_rename("t", "value", 0, EINVAL);
	CU_ASSERT_NOT_EQUAL(row->uid, 12);
	outcome = 0;
	check_rename("t", "value", 0, 0);
	CU_ASSERT_EQUAL(row->mode, S_IFREG | 0600);
	CU_ASSERT_EQUAL(row->uid, 12);
	CU_ASSERT_EQUAL(row->gid, 34);
	CU_ASSERT_EQUAL(row->atime.tv_sec, 1000);
	CU_ASSERT_EQUAL(row->mtime.tv_sec, 2000);
	CU_ASSERT_NOT_EQUAL(row->ctime.tv_sec, 0);
}

/* A row that was unlinked is free, and there again after a commit. */
static void test_commit_to_hidden(void)
{
	struct node *row = directory_row(directory, "value");

	row->hidden = true;
	stage("t", "5");
	outcome = -EINVAL;
	check_rename("t", "value", RENAME_NOREPLACE, EINVAL);
	CU_ASSERT_TRUE(row->hidden);
	outcome = 0;
	check_rename("t", "value", RENAME_NOREPLACE, 0);
	CU_ASSERT_FALSE(row->hidden);
	CU_ASSERT_STRING_EQUAL(stored, "5");
}

static void test_adopt(void)
{
	struct staged *staged = stage("t", "an image");
	struct spool_file *file = staged->file;

	outcome = -EBUSY;
	check_rename("t", "image", 0, EBUSY);
	CU_ASSERT_STRING_EQUAL(directory->error, "image: it is told 16");
	check_counts(1, 1);
	outcome = 0;
	check_rename("t", "image", 0, 0);
	CU_ASSERT_PTR_EQUAL(adopted, file);
	CU_ASSERT_EQUAL(file->refs, 1);
	check_counts(0, 0);
}

/* The file waits, with its name, for what its content has begun. */
static void test_parked_commit(void)
{
	struct fuse_req req = bare_request(&bare);
	fuse_ino_t ino = node_id(&directory->node);

	outcome = STORE_PARKED;
	stage("t", "1");
	op_rename(&req, ino, "t", ino, "start", 0);
	CU_ASSERT_EQUAL(req.answers, 0);
	check_counts(1, 1);
	parked_answer(&waiting, 0, -ENOMEM);
	CU_ASSERT_EQUAL(req.error, ENOMEM);
	check_counts(1, 1);
	req = bare_request(&bare);
	op_rename(&req, ino, "t", ino, "start", 0);
	parked_answer(&waiting, 0, 0);
	CU_ASSERT_EQUAL(req.answers, 1);
	CU_ASSERT_EQUAL(req.error, 0);
	check_counts(0, 0);
	/* A signal, before or amid it, ends the wait: what was begun goes on, and the file is committed. */
	for (int before = 0; before < 2; before++) {
		stage("t", "1");
		req = bare_request(&bare);
		req.interrupted = before;
		op_rename(&req, ino, "t", ino, "start", 0);
		if (!before)
			fake_interrupt(&req);
		CU_ASSERT_EQUAL(req.answers, 1);
		CU_ASSERT_EQUAL(req.error, 0);
		check_counts(0, 0);
	}
}

static void test_rename_names(void)
{
	struct staged *staged = stage("a", "a");
	char name[NAME_MAX + 2];

	memset(name, 'n', sizeof(name));
	name[NAME_MAX + 1] = '\0';
	stage("b", "b");
	lock("a.lock");
	lock("b.lock");
	check_counts(4, 2);
	check_rename("none", "c", 0, ENOENT);
	check_rename("a", "c", RENAME_EXCHANGE, EINVAL);
	check_rename("a", "b", RENAME_NOREPLACE, EEXIST);
	check_rename("a", "a.lock", 0, EISDIR);
	check_rename("a.lock", "a", 0, ENOTDIR);
	check_rename("a.lock", "value", 0, EPERM);
	check_rename("a", name, 0, ENAMETOOLONG);
	check_rename("state", "c", 0, EPERM);
	check_counts(4, 2);
	check_rename("a", "a", 0, 0);
	check_rename("a", "c", 0, 0);
	check_counts(4, 2);
	check_rename("c", "b", 0, 0);
	CU_ASSERT_PTR_EQUAL(directory_find(directory, "b"), &staged->node);
	check_counts(3, 1);
	check_rename("a.lock", "b.lock", 0, 0);
	check_rename("b.lock", "c.lock", 0, 0);
	check_counts(2, 1);
}

static int rename_between(
	struct directory *from, const char *name, struct directory *to, const char *new_name)
{
	struct fuse_req req = bare_request(&bare);

	op_rename(&req, node_id(&from->node), name, node_id(&to->node), new_name, 0);
	CU_ASSERT_EQUAL(req.answers, 1);
	return req.error;
}

/* Files go in and out of a directory of theirs, with all that refers to them. */
static void test_directories(void)
{
	struct directory *sub = lock("sub"), *other = lock("other");
	struct staged *staged = stage("a", "5");
	struct handle *handle = handle_new(&staged->node, O_RDWR);
	struct nefs_error err = { 0 };
	fuse_ino_t id;

	node_remember(&staged->node);
	CU_ASSERT_EQUAL(rename_between(directory, "a", sub, "b"), 0);
	CU_ASSERT_PTR_EQUAL(directory_find(sub, "b"), &staged->node);
	CU_ASSERT_PTR_EQUAL(staged->node.directory, sub);
	CU_ASSERT_PTR_NULL(directory_find(directory, "a"));
	check_counts(3, 1);
	CU_ASSERT_EQUAL(sub->ops->rmdir(sub, &err), -ENOTEMPTY);
	CU_ASSERT_EQUAL(rename_between(directory, "other", sub, "x"), EPERM);
	CU_ASSERT_EQUAL(rename_between(directory, "other", directory, "sub"), ENOTEMPTY);
	CU_ASSERT_EQUAL(rename_between(sub, "b", other, "b"), 0);
	CU_ASSERT_EQUAL(rename_between(other, "b", directory, "value"), 0);
	CU_ASSERT_STRING_EQUAL(stored, "5");
	/* It lasts until it is closed. */
	check_counts(3, 1);
	handle_free(handle);
	check_counts(2, 0);
	/* A refusal in it is told a level up, and is about that file only. */
	CU_ASSERT_EQUAL(staged_create(sub, "value", 0600, 0, 0, &staged, &err), 0);
	err.code = EIO;
	strcpy(err.text, "a sentence");
	control_refused(directory, "value", &err);
	control_accepted(sub, "value");
	CU_ASSERT_PTR_NOT_NULL(directory->error);
	control_refused(sub, "value", &err);
	control_accepted(directory, "value");
	CU_ASSERT_PTR_NOT_NULL(directory->error);
	control_accepted(sub, "value");
	CU_ASSERT_PTR_NULL(directory->error);
	/* All go with the directory, whatever the kernel remembers. */
	node_remember(&sub->node);
	id = node_id(&sub->node);
	staging_unlink_all(directory);
	check_counts(0, 0);
	CU_ASSERT_PTR_NULL(directory_next(directory, 0));
	CU_ASSERT_PTR_NULL(node_from_id(&bare.tree, id));
}

/* A setting that is renamed away is a file, and unset; who has it open has the file. */
static void test_backup(void)
{
	struct node *row = directory_row(directory, "value"), *backup;
	struct handle *handle = handle_new(row, O_RDWR);
	fuse_ino_t before = node_id(row);
	struct fuse_req req = bare_request(&bare);

	strcpy(stored, "5\n");
	row->mode = S_IFREG | 0600;
	row->mtime.tv_sec = 1234;
	node_remember(row);
	check_rename("value", "value.bak", 0, 0);
	backup = directory_find(directory, "value.bak");
	CU_ASSERT_PTR_NOT_NULL_FATAL(backup);
	CU_ASSERT_EQUAL(backup->mode, S_IFREG | 0600);
	CU_ASSERT_EQUAL(backup->mtime.tv_sec, 1234);
	CU_ASSERT_EQUAL(backup->ops->size(backup), 2);
	CU_ASSERT_TRUE(row->hidden);
	CU_ASSERT_STRING_EQUAL(stored, "(reset)");
	CU_ASSERT_PTR_EQUAL(handle->node, backup);
	backup->ops->read(&req, handle, 10, 0);
	CU_ASSERT_EQUAL(req.size, 2);
	/* What the kernel knows of it is no file any more. */
	CU_ASSERT_NOT_EQUAL(node_id(row), before);
	CU_ASSERT_PTR_NULL(node_from_id(&bare.tree, before));
	CU_ASSERT_EQUAL(row->lookups, 0);
	/* It comes back, and goes again over the backup that is there. */
	check_rename("value.bak", "value", 0, 0);
	CU_ASSERT_STRING_EQUAL(stored, "5\n");
	CU_ASSERT_FALSE(row->hidden);
	stage("value~", "older");
	check_rename("value", "value~", 0, 0);
	/* The one before has no name, and is open. */
	check_counts(2, 2);
	CU_ASSERT_EQUAL(directory_find(directory, "value~")->ops->size(backup), 2);
	check_rename("value~", "value", 0, 0);
	/* What can only be read keeps its name, and no setting takes another's. */
	check_rename("state", "c", 0, EPERM);
	check_rename("value", "state", 0, EPERM);
	check_rename("value", "image", 0, EPERM);
	web->busy = true;
	check_rename("start", "c", 0, EBUSY);
	check_rename("value", "c", 0, 0);
	handle_free(handle);
}

/* A setting that is made anew is another file: what is open on the old one is open on nothing. */
static void test_made_anew(void)
{
	struct node *row = directory_row(directory, "value");
	fuse_ino_t before = node_id(row), ino = node_id(&directory->node);
	struct handle *handle = handle_new(row, O_RDWR);
	struct fuse_file_info info = { .fh = (uintptr_t)handle };
	struct fuse_req req = bare_request(&bare);

	node_remember(row);
	op_unlink(&req, ino, "value");
	CU_ASSERT_EQUAL(req.error, 0);
	req = bare_request(&bare);
	info.flags = O_RDWR;
	op_create(&req, ino, "value", 0600, &(struct fuse_file_info){ .flags = O_RDWR });
	CU_ASSERT_EQUAL(req.reply, REPLY_CREATE);
	CU_ASSERT_NOT_EQUAL(req.entry.ino, before);
	handle_free((struct handle *)(uintptr_t)req.info.fh);
	strcpy(stored, "5");
	req = bare_request(&bare);
	op_read(&req, before, 10, 0, &info);
	CU_ASSERT_EQUAL(req.error, ENODEV);
	req = bare_request(&bare);
	op_write(&req, before, "6", 1, 0, &info);
	CU_ASSERT_EQUAL(req.error, ENODEV);
	CU_ASSERT_STRING_EQUAL(stored, "5");
	req = bare_request(&bare);
	op_getattr(&req, before, NULL);
	CU_ASSERT_EQUAL(req.error, ESTALE);
	req = bare_request(&bare);
	op_open(&req, before, &(struct fuse_file_info){ .flags = O_RDWR });
	CU_ASSERT_EQUAL(req.error, ESTALE);
	req = bare_request(&bare);
	op_forget(&req, before, 1);
	CU_ASSERT_EQUAL(row->lookups, 1);
	req = bare_request(&bare);
	op_release(&req, before, &info);
	CU_ASSERT_EQUAL(req.error, 0);
}

static void test_rename_elsewhere(void)
{
	struct bare_directory *db = bare_directory_new(&bare, bare.tree.root, "db", rows);
	struct fuse_req req = bare_request(&bare);

	stage("t", "5");
	op_rename(&req, node_id(&directory->node), "t", node_id(&db->directory.node), "t", 0);
	CU_ASSERT_EQUAL(req.error, EXDEV);
	/* Directories with a rename of their own decide it, and the sentence is their parent's. */
	req = bare_request(&bare);
	op_rename(&req, FUSE_ROOT_ID, "web", FUSE_ROOT_ID, "www", 0);
	CU_ASSERT_EQUAL(req.error, 0);
	CU_ASSERT_STRING_EQUAL(directory->node.name, "www");
	web->busy = true;
	req = bare_request(&bare);
	op_rename(&req, FUSE_ROOT_ID, "www", FUSE_ROOT_ID, "web", 0);
	CU_ASSERT_EQUAL(req.error, EBUSY);
	CU_ASSERT_EQUAL(req.answers, 1);
	CU_ASSERT_STRING_EQUAL(directory->node.name, "www");
}

static const CU_TestInfo tests[] = {
	{ "a staged file", test_create },
	{ "names that are refused", test_refused_names },
	{ "names have a limit", test_limit },
	{ "unlinked while somebody has it", test_unlinked },
	{ "content", test_content },
	{ "no memory", test_no_memory },
	{ "a rename over a value is one write", test_commit },
	{ "a rename carries what the file is", test_commit_carries },
	{ "a rename to what was unlinked", test_commit_to_hidden },
	{ "directories of staged files", test_directories },
	{ "a setting is renamed away", test_backup },
	{ "a setting is made anew", test_made_anew },
	{ "a rename over an image hands it over", test_adopt },
	{ "a rename that waits", test_parked_commit },
	{ "names that change", test_rename_names },
	{ "renames elsewhere, and of directories", test_rename_elsewhere },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("staging", tests, set_up, tear_down);
}
