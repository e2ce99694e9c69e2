/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The requests of the kernel about names, open files, attributes and listings (nefs/operations.h), but for
 * renames (test_staging.c).
 */
#include "bare_tree.h"
#include "cunit_main.h"
#include "failing_memory.h"
#include "operations.h"
#include "staging_directory.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>

static unsigned int resets;

static void show(struct node *node, FILE *out)
{
	fputs("5\n", out);
}

static int store(struct node *node, const char *text, size_t size, struct nefs_error *err)
{
	return *text == '!' ? nefs_error_set(err, EINVAL, "that is none") : 0;
}

static void reset(struct node *node)
{
	resets++;
}

static bool readable(struct handle *handle)
{
	return false;
}

static int open_refused(struct handle *handle, struct nefs_error *err)
{
	return nefs_error_set(err, EMFILE, "no more of them");
}

static const struct control_ops stream_ops = { .readable = readable };
static const struct control_ops closed_ops = { .open = open_refused };
static const struct control rows[] = {
	{ .name = "value",
		.mode = 0644,
		.flags = CONTROL_SETTABLE,
		.show = show,
		.store = store,
		.reset = reset },
	{ .name = "state", .mode = 0444, .flags = CONTROL_POLL, .show = show },
	{ .name = "load", .mode = 0444, .flags = CONTROL_VOLATILE, .show = show },
	{ .name = "stream", .mode = 0400, .ops = &stream_ops },
	{ .name = "closed",
		.mode = 0400,
		.ops = &closed_ops,
		.flags = CONTROL_SETTABLE,
		.reset = reset },
	CONTROL_ERROR_ROW,
	{ .name = NULL },
};
#define ROWS 6

static struct bare_tree bare;
static struct bare_directory *web;
static struct directory *directory;
static fuse_ino_t ino;
static struct fuse_req req;

static void set_up(void)
{
	bare_tree_set_up(&bare, rows);
	web = bare_directory_new(&bare, bare.tree.root, "web", rows);
	directory = &web->directory;
	ino = node_id(&directory->node);
	resets = 0;
}

static void tear_down(void)
{
	bare_tree_tear_down(&bare);
}

/* The request that the next operation gets. */
static fuse_req_t next(void)
{
	req = bare_request(&bare);
	return &req;
}

static struct node *row(const char *name)
{
	return directory_row(directory, name);
}

/* ---- names ---- */

static void test_lookup(void)
{
	op_lookup(next(), FUSE_ROOT_ID, "web");
	CHECK_REPLY(REPLY_ENTRY);
	CU_ASSERT_EQUAL(req.entry.ino, ino);
	CU_ASSERT_EQUAL(req.entry.attr.st_mode, S_IFDIR | 0755);
	CU_ASSERT_EQUAL(directory->node.lookups, 1);
	op_lookup(next(), ino, "value");
	CU_ASSERT_EQUAL(req.entry.attr.st_size, 2);
	CU_ASSERT_EQUAL(req.entry.attr_timeout, TREE_CACHE_SECONDS);
	CU_ASSERT_EQUAL(req.entry.entry_timeout, TREE_CACHE_SECONDS);
	/* A row's name lasts, whatever its content does. */
	op_lookup(next(), ino, "load");
	CU_ASSERT_EQUAL(req.entry.attr_timeout, 0.0);
	CU_ASSERT_EQUAL(req.entry.entry_timeout, TREE_CACHE_SECONDS);
	op_lookup(next(), ino, "none");
	CHECK_ERROR(ENOENT);
	/* An answer that nobody took is not known to the kernel. */
	next()->gone = true;
	op_lookup(&req, ino, "state");
	CU_ASSERT_EQUAL(row("state")->lookups, 0);
	CU_ASSERT_EQUAL(row("value")->lookups, 1);
	op_lookup(next(), ino, "value");
	op_forget(next(), node_id(row("value")), 1);
	CHECK_REPLY(REPLY_NONE);
	CU_ASSERT_EQUAL(row("value")->lookups, 1);
	op_forget_multi(next(), 3,
		(struct fuse_forget_data[]){ { node_id(row("value")), 1 },
			{ node_id(row("load")), 1 }, { FUSE_ROOT_ID, 1 } });
	CHECK_REPLY(REPLY_NONE);
	CU_ASSERT_EQUAL(row("value")->lookups, 0);
	op_forget(next(), FUSE_ROOT_ID, 1);
	CU_ASSERT_EQUAL(bare.tree.root->node.lookups, 1);
	CU_ASSERT_EQUAL(web->directory.ops->rmdir(directory, NULL), 0);
	op_lookup(next(), ino, "value");
	CHECK_ERROR(ENOENT);
}

static void test_directories(void)
{
	op_mkdir(next(), ino, "x.lock", 0700);
	CHECK_REPLY(REPLY_ENTRY);
	op_mkdir(next(), req.entry.ino, "below", 0700);
	CHECK_ERROR(EPERM);
	CU_ASSERT_PTR_NOT_NULL(strstr(directory->error, "below: "));
	op_forget(next(), node_id(directory_find(directory, "x.lock")), 1);
	op_rmdir(next(), ino, "x.lock");
	op_mkdir(next(), ino, "x.lock", 0700);
	CHECK_REPLY(REPLY_ENTRY);
	CU_ASSERT_EQUAL(req.entry.attr.st_uid, 1000);
	CU_ASSERT_EQUAL(req.entry.attr.st_gid, 100);
	CU_ASSERT_EQUAL(req.entry.attr.st_mode, S_IFDIR | 0700);
	CU_ASSERT_EQUAL(req.entry.entry_timeout, 0.0);
	op_mkdir(next(), node_id(directory_find(directory, "x.lock")), "y.lock", 0700);
	CHECK_ERROR(EPERM);
	CU_ASSERT_PTR_NOT_NULL(strstr(directory->error, "y.lock: cannot make a directory here"));
	op_rmdir(next(), ino, "none");
	CHECK_ERROR(ENOENT);
	op_rmdir(next(), ino, "value");
	CHECK_ERROR(ENOTDIR);
	op_forget(next(), node_id(directory_find(directory, "x.lock")), 1);
	op_rmdir(next(), ino, "x.lock");
	CHECK_ERROR(0);
	CU_ASSERT_EQUAL(web->staging.count, 0);
	/* The root's `error` is that of its directories; theirs is of what is in them. */
	control_set_error(bare.tree.root, NULL, "before");
	web->busy = true;
	op_rmdir(next(), FUSE_ROOT_ID, "web");
	CHECK_ERROR(EBUSY);
	CU_ASSERT_STRING_EQUAL(directory->error, "web is in use");
	CU_ASSERT_STRING_EQUAL(bare.tree.root->error, "before");
	web->busy = false;
	op_rmdir(next(), FUSE_ROOT_ID, "web");
	CHECK_ERROR(0);
	CU_ASSERT_STRING_EQUAL(bare.tree.root->error, "before");
	CU_ASSERT_EQUAL(bare.destroyed, 1);
}

static void test_unlink(void)
{
	op_unlink(next(), ino, "none");
	CHECK_ERROR(ENOENT);
	op_unlink(next(), FUSE_ROOT_ID, "web");
	CHECK_ERROR(EISDIR);
	web->busy = true;
	op_unlink(next(), ino, "value");
	CHECK_ERROR(EBUSY);
	CU_ASSERT_FALSE(row("value")->hidden);
	CU_ASSERT_PTR_NOT_NULL(directory->error);
	web->busy = false;
	op_unlink(next(), ino, "value");
	CHECK_ERROR(0);
	CU_ASSERT_TRUE(row("value")->hidden);
	CU_ASSERT_EQUAL(resets, 1);
	CU_ASSERT_PTR_NULL(directory->error);
	op_unlink(next(), ino, "value");
	CHECK_ERROR(ENOENT);
	/* What cannot be set is gone as well, and nobody makes it. */
	op_unlink(next(), ino, "state");
	CHECK_ERROR(0);
	CU_ASSERT_TRUE(row("state")->hidden);
	CU_ASSERT_EQUAL(resets, 1);
	op_mknod(next(), ino, "state", S_IFREG | 0600, 0);
	CHECK_ERROR(EACCES);
	op_lookup(next(), ino, "state");
	CHECK_ERROR(ENOENT);
	control_show_read_only(directory);
	op_lookup(next(), ino, "state");
	CHECK_REPLY(REPLY_ENTRY);
	CU_ASSERT_TRUE(row("value")->hidden);
	node_forget(row("state"), 1);
}

/* Who looks at a directory's times and links sees that names came and went. */
static void test_directory_attributes(void)
{
	struct node *root = &bare.tree.root->node;
	struct stat attributes;

	node_stat(root, &attributes);
	CU_ASSERT_EQUAL(attributes.st_nlink, 3);
	root->mtime = root->ctime = (struct timespec){ 0 };
	CU_ASSERT_EQUAL(directory->ops->rename(directory, "www", NULL), 0);
	CU_ASSERT_NOT_EQUAL(root->mtime.tv_sec, 0);
	directory->node.mtime = (struct timespec){ 0 };
	op_mkdir(next(), ino, "sub", 0700);
	CU_ASSERT_NOT_EQUAL(directory->node.mtime.tv_sec, 0);
	node_forget(directory_find(directory, "sub"), 1);
	node_stat(&directory->node, &attributes);
	CU_ASSERT_EQUAL(attributes.st_nlink, 3);
	directory->node.mtime = (struct timespec){ 0 };
	op_rmdir(next(), ino, "sub");
	CU_ASSERT_NOT_EQUAL(directory->node.mtime.tv_sec, 0);
	node_stat(&directory->node, &attributes);
	CU_ASSERT_EQUAL(attributes.st_nlink, 2);
	directory->node.mtime = (struct timespec){ 0 };
	op_unlink(next(), ino, "value");
	CU_ASSERT_NOT_EQUAL(directory->node.mtime.tv_sec, 0);
	directory->node.mtime = (struct timespec){ 0 };
	op_mknod(next(), ino, "value", S_IFREG | 0600, 0);
	CU_ASSERT_NOT_EQUAL(directory->node.mtime.tv_sec, 0);
	node_forget(row("value"), 1);
	root->mtime = (struct timespec){ 0 };
	op_rmdir(next(), FUSE_ROOT_ID, "www");
	CU_ASSERT_NOT_EQUAL(root->mtime.tv_sec, 0);
	node_stat(root, &attributes);
	CU_ASSERT_EQUAL(attributes.st_nlink, 2);
}

static void test_create(void)
{
	struct fuse_file_info info = { .flags = O_RDWR | O_CREAT };

	op_create(next(), ino, "x", S_IFREG | 0640, &info);
	CHECK_REPLY(REPLY_CREATE);
	CU_ASSERT_EQUAL(req.entry.attr.st_mode, S_IFREG | 0640);
	CU_ASSERT_EQUAL(req.entry.attr.st_uid, 1000);
	CU_ASSERT_TRUE(req.info.direct_io);
	op_unlink(next(), ino, "x");
	CHECK_ERROR(0);
	op_release(next(), 0, &info);
	CHECK_ERROR(0);
	op_create(next(), ino, "value", 0600, &info);
	CHECK_ERROR(EEXIST);
	op_create(next(), FUSE_ROOT_ID, "y", 0600, &info);
	CHECK_REPLY(REPLY_CREATE);
	/* A caller that was interrupted has neither file nor handle; the name is there. */
	next()->gone = true;
	op_create(&req, ino, "z", 0600, &info);
	CU_ASSERT_PTR_NOT_NULL_FATAL(directory_find(directory, "z"));
	CU_ASSERT_TRUE(LIST_EMPTY(&directory_find(directory, "z")->handles));
	CU_ASSERT_EQUAL(directory_find(directory, "z")->lookups, 0);
	/* What was unlinked is there again, and its maker's. */
	op_unlink(next(), ino, "value");
	op_create(next(), ino, "value", S_IFREG | 01604, &info);
	CHECK_REPLY(REPLY_CREATE);
	CU_ASSERT_EQUAL(req.entry.ino, node_id(row("value")));
	CU_ASSERT_FALSE(row("value")->hidden);
	CU_ASSERT_EQUAL(row("value")->mode, S_IFREG | 0604);
	op_mknod(next(), ino, "n", S_IFREG | 0600, 0);
	CHECK_REPLY(REPLY_ENTRY);
	op_mknod(next(), ino, "p", S_IFIFO | 0600, 0);
	CHECK_ERROR(EPERM);
	op_mknod(next(), ino, "n", S_IFREG | 0600, 0);
	CHECK_ERROR(EEXIST);
	op_symlink(next(), "x", ino, "s");
	CHECK_ERROR(EPERM);
	op_link(next(), node_id(row("value")), ino, "l");
	CHECK_ERROR(EPERM);
	CU_ASSERT_EQUAL(web->staging.count, 2);
	CU_ASSERT_EQUAL(directory->ops->rmdir(directory, NULL), 0);
	op_create(next(), ino, "late", 0600, &info);
	CHECK_ERROR(ENOENT);
}

/* A file that cannot be opened is not made either. */
static void test_create_fails(void)
{
	struct fuse_file_info info = { .flags = O_RDWR | O_CREAT };
	unsigned int nth;

	for (nth = 0; memory_fail(nth), op_create(next(), ino, "x1", 0600, &info), memory_failed();
		nth++) {
		CHECK_ERROR(ENOMEM);
		CU_ASSERT_PTR_NULL(directory_find(directory, "x1"));
		CU_ASSERT_EQUAL(web->staging.count, 0);
	}
	CHECK_REPLY(REPLY_CREATE);
	CU_ASSERT_TRUE(nth > 4);
	op_unlink(next(), ino, "closed");
	CHECK_ERROR(0);
	info.flags = O_RDONLY | O_CREAT;
	op_create(next(), ino, "closed", 0600, &info);
	CHECK_ERROR(EMFILE);
	CU_ASSERT_TRUE(row("closed")->hidden);
}

/* ---- open files ---- */

static void test_open_files(void)
{
	struct fuse_file_info info = { .flags = O_RDWR }, stream = { .flags = O_RDONLY };
	struct fuse_pollhandle first = { 0 }, second = { 0 };
	fuse_ino_t value = node_id(row("value"));

	op_open(next(), value, &info);
	CHECK_REPLY(REPLY_OPEN);
	CU_ASSERT_TRUE(req.info.direct_io);
	CU_ASSERT_FALSE(req.info.nonseekable);
	op_open(next(), node_id(row("stream")), &stream);
	CU_ASSERT_TRUE(req.info.nonseekable);
	op_read(next(), value, 100, 0, &info);
	CU_ASSERT_EQUAL(req.size, 2);
	op_write(next(), value, "6", 1, 0, &info);
	CHECK_REPLY(REPLY_WRITE);
	op_write(next(), value, "!", 1, 0, &info);
	CHECK_ERROR(EINVAL);
	op_fsync(next(), value, 0, &info);
	CHECK_ERROR(0);
	/* Only the newest poll handle is kept; without one the events are asked for alone. */
	op_poll(next(), node_id(row("stream")), &stream, &first);
	CHECK_REPLY(REPLY_POLL);
	CU_ASSERT_EQUAL(req.events, 0);
	op_poll(next(), node_id(row("stream")), &stream, &second);
	CU_ASSERT_EQUAL(first.destroyed, 1);
	CU_ASSERT_EQUAL(second.destroyed, 0);
	op_poll(next(), value, &info, NULL);
	CU_ASSERT_EQUAL(req.events, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM);
	op_release(next(), node_id(row("stream")), &stream);
	CHECK_ERROR(0);
	CU_ASSERT_EQUAL(second.destroyed, 1);
	op_release(next(), value, &info);
	CU_ASSERT_TRUE(LIST_EMPTY(&row("value")->handles));
	/* Refused, interrupted, without memory, removed: no handle is left. */
	op_open(next(), node_id(row("closed")), &stream);
	CHECK_ERROR(EMFILE);
	op_open(next(), node_id(row("state")), &info);
	CHECK_ERROR(EACCES);
	next()->gone = true;
	op_open(&req, value, &info);
	CU_ASSERT_TRUE(LIST_EMPTY(&row("value")->handles));
	memory_fail(0);
	op_open(next(), value, &info);
	CU_ASSERT_TRUE(memory_failed());
	CHECK_ERROR(ENOMEM);
	op_open(next(), node_id(row("stream")), &stream);
	CU_ASSERT_EQUAL(directory->ops->rmdir(directory, NULL), 0);
	op_open(next(), value, &info);
	CHECK_ERROR(ENODEV);
	op_release(next(), 0, &stream);
	op_open(next(), value, &info);
	CHECK_ERROR(ESTALE);
}

static void park(fuse_req_t request, struct handle *handle, size_t size, off_t offset)
{
	handle_park_read(request, handle, size, offset);
}

static const struct control_ops slow_ops = { .read = park };
static const struct control slow_rows[] = {
	{ .name = "grows", .mode = 0444, .ops = &slow_ops },
	{ .name = "wait", .mode = 0444, .flags = CONTROL_STEADY, .ops = &slow_ops },
	{ .name = NULL },
};

/* A direct read says whose it is; one for the page cache doesn't, and holds the page's lock as it waits. */
static void test_pages(void)
{
	struct bare_directory *slow = bare_directory_new(&bare, bare.tree.root, "slow", slow_rows);
	struct fuse_file_info stream = { .flags = O_RDONLY }, direct = { .flags = O_RDONLY },
			      page = { .flags = O_RDONLY }, other = { .flags = O_RDONLY },
			      value = { .flags = O_RDWR };
	struct node *grows = directory_row(&slow->directory, "grows");
	struct node *waits = directory_row(&slow->directory, "wait");
	struct fuse_req waiting;

	op_open(next(), node_id(row("stream")), &stream);
	op_read(next(), node_id(row("stream")), 100, 0, &stream);
	CHECK_ERROR(EINVAL);
	op_release(next(), node_id(row("stream")), &stream);
	/* Where a stat(2) could wait for the page, no read for it waits. */
	op_open(next(), node_id(grows), &direct);
	op_read(next(), node_id(grows), 100, 0, &direct);
	CHECK_ERROR(EINVAL);
	op_release(next(), node_id(grows), &direct);
	/* Nor do an open and a mapping that find one waiting: they must not drop the page. */
	direct.lock_owner = 1;
	op_open(next(), node_id(waits), &direct);
	op_open(next(), node_id(waits), &page);
	waiting = bare_request(&bare);
	op_read(&waiting, node_id(waits), 100, 0, &direct);
	CU_ASSERT_FALSE(waits->paged);
	CU_ASSERT_FALSE(node_page_locked(waits));
	op_read(next(), node_id(waits), 100, 0, &page);
	CU_ASSERT_EQUAL(req.answers, 0);
	CU_ASSERT_TRUE(waits->paged);
	CU_ASSERT_TRUE(node_page_locked(waits));
	op_open(&waiting, node_id(waits), &other);
	CU_ASSERT_TRUE(waiting.info.keep_cache);
	CU_ASSERT_FALSE(waiting.info.direct_io);
	op_release(&waiting, node_id(waits), &other);
	other.flags = O_RDONLY | O_NONBLOCK;
	op_open(&waiting, node_id(waits), &other);
	CU_ASSERT_TRUE(waiting.info.direct_io);
	op_release(&waiting, node_id(waits), &other);
	/* It is one still when it parks itself anew. */
	node_changed(waits);
	CU_ASSERT_TRUE(node_page_locked(waits));
	op_release(&waiting, node_id(waits), &page);
	CHECK_ERROR(EINTR);
	CU_ASSERT_FALSE(node_page_locked(waits));
	op_open(&waiting, node_id(waits), &page);
	CU_ASSERT_FALSE(waiting.info.keep_cache);
	CU_ASSERT_TRUE(waiting.info.direct_io);
	op_release(&waiting, node_id(waits), &page);
	op_release(&waiting, node_id(waits), &direct);
	/* A page that was changed in a mapping is no value. */
	op_open(next(), node_id(row("value")), &value);
	value.writepage = 1;
	op_write(next(), node_id(row("value")), "6", 1, 0, &value);
	CHECK_ERROR(EACCES);
	value.writepage = 0;
	op_write(next(), node_id(row("value")), "6", 1, 0, &value);
	CHECK_REPLY(REPLY_WRITE);
	op_release(next(), node_id(row("value")), &value);
}

/* ---- attributes ---- */

static void test_attributes(void)
{
	struct stat wanted = { .st_mode = S_IFDIR | 0600,
		.st_uid = 5,
		.st_gid = 6,
		.st_atim = { 7, 8 },
		.st_mtim = { 9, 10 } };
	struct node *value = row("value");

	op_setattr(next(), node_id(value), &wanted,
		FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_ATIME |
			FUSE_SET_ATTR_MTIME,
		NULL);
	CHECK_REPLY(REPLY_ATTRIBUTES);
	op_getattr(next(), node_id(value), NULL);
	CHECK_REPLY(REPLY_ATTRIBUTES);
	CU_ASSERT_EQUAL(req.attributes.st_mode, S_IFREG | 0600);
	CU_ASSERT_EQUAL(req.attributes.st_uid, 5);
	CU_ASSERT_EQUAL(req.attributes.st_gid, 6);
	CU_ASSERT_EQUAL(req.attributes.st_atim.tv_nsec, 8);
	CU_ASSERT_EQUAL(req.attributes.st_mtim.tv_sec, 9);
	CU_ASSERT_TRUE(req.attributes.st_ctim.tv_sec > 9);
	op_setattr(next(), node_id(value), &wanted,
		FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME |
			FUSE_SET_ATTR_MTIME_NOW,
		NULL);
	CU_ASSERT_TRUE(req.attributes.st_atim.tv_sec > 9);
	CU_ASSERT_TRUE(req.attributes.st_mtim.tv_sec > 9);
	CU_ASSERT_EQUAL(req.attributes.st_uid, 5);
	/* truncate(2) of a value changes nothing; a directory has no size. */
	op_setattr(next(), node_id(value), &wanted, FUSE_SET_ATTR_SIZE, NULL);
	CHECK_REPLY(REPLY_ATTRIBUTES);
	CU_ASSERT_EQUAL(req.attributes.st_size, 2);
	op_setattr(next(), ino, &wanted, FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_UID, NULL);
	CHECK_ERROR(EISDIR);
	CU_ASSERT_EQUAL(directory->node.uid, 1000);
	op_getattr(next(), node_id(row("load")), NULL);
	CU_ASSERT_EQUAL(req.timeout, 0.0);
	op_statfs(next(), ino);
	CHECK_REPLY(REPLY_STATFS);
	CU_ASSERT_EQUAL(req.statfs.f_namemax, NAME_MAX);
	CU_ASSERT_TRUE(req.statfs.f_blocks > 0);
	spool_close(&bare.spool);
	op_statfs(next(), ino);
	CHECK_ERROR(EBADF);
}

/* ---- listings ---- */

#define LISTED_MAX 200

/* The names of a listing that is read in pieces of this size, with a space behind each. */
static unsigned int list(fuse_ino_t of, size_t size, char names[LISTED_MAX * 8])
{
	unsigned int count = 0;
	off_t offset = 0;

	*names = '\0';
	do {
		size_t at = 0;

		op_readdir(next(), of, size, offset, NULL);
		CHECK_REPLY(REPLY_BUFFER);
		/* As in the kernel's struct fuse_dirent: ino, off, namelen, type, name, padding. */
		while (at < req.size) {
			uint64_t numbers[2];
			uint32_t length;

			memcpy(numbers, req.data + at, sizeof(numbers));
			memcpy(&length, req.data + at + 16, sizeof(length));
			CU_ASSERT_TRUE((off_t)numbers[1] > offset);
			offset = (off_t)numbers[1];
			strncat(names, req.data + at + 24, length);
			strcat(names, " ");
			at += (24 + length + 7) / 8 * 8;
			CU_ASSERT_TRUE_FATAL(++count < LISTED_MAX);
		}
	} while (req.size);
	return count;
}

static void test_listing(void)
{
	static const size_t sizes[] = { 32, 64, 100, 1000, 4096 };
	char whole[LISTED_MAX * 8], pieces[LISTED_MAX * 8];
	struct fuse_file_info info = { .flags = O_RDONLY };
	struct node *made = NULL;

	for (int i = 0; i < 20; i++) {
		char name[16];

		snprintf(name, sizeof(name), "t%d.lock", i);
		CU_ASSERT_EQUAL(staging_mkdir(directory, name, 0700, 0, 0, &made, NULL), 0);
	}
	row("load")->hidden = true;
	CU_ASSERT_EQUAL(list(ino, sizeof(req.data), whole), 2 + ROWS - 1 + 20);
	CU_ASSERT_PTR_EQUAL(strstr(whole, ". .. value state stream closed error t0.lock "), whole);
	CU_ASSERT_PTR_NULL(strstr(whole, "load"));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		list(ino, sizes[i], pieces);
		CU_ASSERT_STRING_EQUAL(pieces, whole);
	}
	CU_ASSERT_EQUAL(list(FUSE_ROOT_ID, 1000, pieces), 2 + ROWS + 1);
	memory_fail(0);
	op_readdir(next(), ino, 4096, 0, NULL);
	CU_ASSERT_TRUE(memory_failed());
	CHECK_ERROR(ENOMEM);
	op_open(next(), node_id(row("value")), &info);
	CU_ASSERT_EQUAL(directory->ops->rmdir(directory, NULL), 0);
	CU_ASSERT_EQUAL(list(ino, 4096, pieces), 0);
	op_release(next(), 0, &info);
}

static const CU_TestInfo tests[] = {
	{ "lookup and forget", test_lookup },
	{ "mkdir and rmdir", test_directories },
	{ "unlink", test_unlink },
	{ "times and links of directories", test_directory_attributes },
	{ "create, mknod, and what can't be made", test_create },
	{ "create of what can't be opened", test_create_fails },
	{ "open files", test_open_files },
	{ "pages of the kernel's cache", test_pages },
	{ "attributes", test_attributes },
	{ "listings, in pieces of any size", test_listing },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("requests", tests, set_up, tear_down);
}
