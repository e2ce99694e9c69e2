/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What users may have in a tree (nefs/quota.h), and what is left of it once it has no name. */
#include "bare_tree.h"
#include "cunit_main.h"
#include "operations.h"
#include "text_log.h"
#include <errno.h>
#include <fcntl.h>

static size_t shown; /* bytes of the text of `value` */

static void show(struct node *node, FILE *out)
{
	for (size_t i = 0; i < shown; i++)
		fputc('5', out);
}

static int store(struct node *node, const char *text, size_t size, struct nefs_error *err)
{
	return 0;
}

static void park(fuse_req_t request, struct handle *handle, size_t size, off_t offset)
{
	handle_park_read(request, handle, size, offset);
}

static bool settled(struct node *node)
{
	return false;
}

static const struct control_ops slow_ops = { .read = park, .settled = settled };
static const struct control rows[] = {
	{ .name = "value", .mode = 0644, .show = show, .store = store },
	{ .name = "slow", .mode = 0444, .ops = &slow_ops },
	CONTROL_ERROR_ROW,
	{ .name = NULL },
};

static struct bare_tree bare;
static struct directory *directory;
static fuse_ino_t ino;
static struct fuse_req req;

static void set_up(void)
{
	bare_tree_set_up(&bare, rows);
	directory = &bare_directory_new(&bare, bare.tree.root, "web", rows)->directory;
	ino = node_id(&directory->node);
	shown = 2;
}

static void tear_down(void)
{
	bare_tree_tear_down(&bare);
	CU_ASSERT_EQUAL(bare.tree.quota.count, 0);
}

/* The request that the next operation gets: user 1000's, or another's. */
static fuse_req_t next(void)
{
	req = bare_request(&bare);
	return &req;
}

static fuse_req_t next_of(uid_t uid)
{
	req = bare_request(&bare);
	req.context.uid = uid;
	return &req;
}

static struct node *row(const char *name)
{
	return directory_row(directory, name);
}

/* The kernel may remember a directory for longer than there is one: nobody waits for its FORGET. */
static void test_gone(void)
{
	struct fuse_file_info info = { .flags = O_RDWR };
	struct stat wanted = { .st_mode = 0700 };
	fuse_ino_t value = node_id(row("value"));

	op_lookup(next(), FUSE_ROOT_ID, directory->node.name);
	op_lookup(next(), ino, "value");
	CU_ASSERT_EQUAL(directory->ops->rmdir(directory, NULL), 0);
	CU_ASSERT_EQUAL(bare.destroyed, 1);
	op_lookup(next(), ino, "value");
	CHECK_ERROR(ENOENT);
	op_mkdir(next(), ino, "x.lock", 0700);
	CHECK_ERROR(ENOENT);
	op_rmdir(next(), ino, "x.lock");
	CHECK_ERROR(ENOENT);
	op_create(next(), ino, "x", 0600, &info);
	CHECK_ERROR(ENOENT);
	op_mknod(next(), ino, "x", S_IFREG | 0600, 0);
	CHECK_ERROR(ENOENT);
	op_unlink(next(), ino, "value");
	CHECK_ERROR(ENOENT);
	op_symlink(next(), "value", ino, "x");
	CHECK_ERROR(ENOENT);
	op_link(next(), value, ino, "x");
	CHECK_ERROR(ENOENT);
	op_rename(next(), ino, "value", FUSE_ROOT_ID, "x", 0);
	CHECK_ERROR(ENOENT);
	op_rename(next(), FUSE_ROOT_ID, "value", ino, "x", 0);
	CHECK_ERROR(ENOENT);
	op_readdir(next(), ino, 4096, 0, &info);
	CHECK_ERROR(ENOENT);
	op_getattr(next(), ino, NULL);
	CHECK_ERROR(ESTALE);
	op_getattr(next(), value, NULL);
	CHECK_ERROR(ESTALE);
	op_setattr(next(), ino, &wanted, FUSE_SET_ATTR_MODE, NULL);
	CHECK_ERROR(ESTALE);
	op_open(next(), value, &info);
	CHECK_ERROR(ESTALE);
	op_forget(next(), value, 1);
	CHECK_REPLY(REPLY_NONE);
	op_forget(next(), ino, 1);
	CHECK_REPLY(REPLY_NONE);
}

/* Whoever has a file open has it counted, until it is closed. */
static void test_open_files(void)
{
	struct quota *quota = &bare.tree.quota;
	struct fuse_file_info first = { .flags = O_RDONLY }, second = first, more = first;
	fuse_ino_t value = node_id(row("value"));

	quota->limits.each[QUOTA_FILES] = 2;
	op_open(next(), value, &first);
	CHECK_REPLY(REPLY_OPEN);
	op_open(next(), value, &second);
	CHECK_REPLY(REPLY_OPEN);
	op_open(next(), value, &more);
	CHECK_ERROR(EDQUOT);
	/* Whose directory it is is told. */
	CU_ASSERT_PTR_NOT_NULL_FATAL(directory->error);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(directory->error, "value: user 1000 has 2 open and staged files"));
	/* What cannot be opened is not made. */
	more.flags = O_RDWR;
	op_create(next(), ino, "x", 0600, &more);
	CHECK_ERROR(EDQUOT);
	CU_ASSERT_PTR_NULL(directory_find(directory, "x"));
	op_mkdir(next(), ino, "x.lock", 0700);
	CHECK_ERROR(EDQUOT);
	CU_ASSERT_EQUAL(quota->used[QUOTA_FILES], 2);
	/* An open that fails otherwise is none. */
	op_release(next(), value, &first);
	op_open(next(), node_id(row("error")), &more);
	CHECK_ERROR(EACCES);
	CU_ASSERT_EQUAL(quota->used[QUOTA_FILES], 1);
	/* Root has no bound, and another has theirs. */
	quota->limits.each[QUOTA_FILES] = 1;
	op_open(next_of(0), value, &first);
	CHECK_REPLY(REPLY_OPEN);
	more.flags = O_RDONLY;
	op_open(next_of(1001), value, &more);
	CHECK_REPLY(REPLY_OPEN);
	op_release(next(), value, &first);
	op_release(next(), value, &second);
	op_release(next(), value, &more);
	CU_ASSERT_EQUAL(quota->used[QUOTA_FILES], 0);
}

/* A directory that is open counts, and is there until it is closed. */
static void test_open_directories(void)
{
	struct quota *quota = &bare.tree.quota;
	struct fuse_file_info first = { .flags = O_RDONLY }, more = first;

	quota->limits.each[QUOTA_FILES] = 1;
	op_opendir(next(), ino, &first);
	CHECK_REPLY(REPLY_OPEN);
	op_opendir(next(), ino, &more);
	CHECK_ERROR(EDQUOT);
	op_releasedir(next(), ino, &first);
	next()->gone = true;
	op_opendir(&req, ino, &first);
	CU_ASSERT_EQUAL(quota->used[QUOTA_FILES], 0);
	op_opendir(next(), ino, &first);
	CU_ASSERT_EQUAL(directory->ops->rmdir(directory, NULL), 0);
	op_getattr(next(), ino, NULL);
	CHECK_REPLY(REPLY_ATTRIBUTES);
	CU_ASSERT_EQUAL(req.attributes.st_nlink, 0);
	op_opendir(next_of(0), ino, &more);
	CHECK_ERROR(ENOENT);
	CU_ASSERT_EQUAL(bare.destroyed, 0);
	op_releasedir(next(), ino, &first);
	CU_ASSERT_EQUAL(bare.destroyed, 1);
	op_opendir(next(), ino, &more);
	CHECK_ERROR(ENOENT);
}

/* Who may only read puts nothing into another's `error`, however often they are refused. */
static void test_reader_is_not_told_there(void)
{
	struct quota *quota = &bare.tree.quota;
	struct fuse_file_info first = { .flags = O_RDONLY }, more = first;
	fuse_ino_t value = node_id(row("value"));

	quota->limits.each[QUOTA_FILES] = 1;
	op_open(next_of(1001), value, &first);
	CHECK_REPLY(REPLY_OPEN);
	op_open(next_of(1001), value, &more);
	CHECK_ERROR(EDQUOT);
	CU_ASSERT_PTR_NULL(directory->error);
	more.flags = O_RDWR;
	op_open(next_of(1001), value, &more);
	CHECK_ERROR(EDQUOT);
	CU_ASSERT_PTR_NOT_NULL(directory->error);
	op_release(next(), value, &first);
}

/* Reads that wait are counted for as long as they do, and who may not wait is told at once. */
static void test_parked(void)
{
	struct quota *quota = &bare.tree.quota;
	struct fuse_file_info info = { .flags = O_RDONLY };
	struct fuse_req first = bare_request(&bare), second = first;
	fuse_ino_t slow = node_id(row("slow"));

	quota->limits.each[QUOTA_PARKED] = 1;
	op_open(next(), slow, &info);
	info.lock_owner = 1;
	op_read(&first, slow, 10, 0, &info);
	CU_ASSERT_EQUAL(first.answers, 0);
	op_read(next(), slow, 10, 0, &info);
	CHECK_ERROR(EDQUOT);
	op_getattr(next(), slow, NULL);
	CHECK_REPLY(REPLY_ATTRIBUTES);
	/* Another's is another's. */
	second.context.uid = 1001;
	op_getattr(&second, slow, NULL);
	CU_ASSERT_EQUAL(second.answers, 0);
	CU_ASSERT_EQUAL(quota->used[QUOTA_PARKED], 2);
	node_settled(row("slow"));
	CU_ASSERT_EQUAL(second.answers, 1);
	CU_ASSERT_EQUAL(quota->used[QUOTA_PARKED], 1);
	/* Tried again it is one still. */
	node_changed(row("slow"));
	CU_ASSERT_EQUAL(first.answers, 0);
	CU_ASSERT_EQUAL(quota->used[QUOTA_PARKED], 1);
	fake_interrupt(&first);
	CU_ASSERT_EQUAL(first.error, EINTR);
	CU_ASSERT_EQUAL(quota->used[QUOTA_PARKED], 0);
	/* A caller that was interrupted already waits for nothing. */
	next()->interrupted = true;
	op_read(&req, slow, 10, 0, &info);
	CHECK_ERROR(EINTR);
	CU_ASSERT_EQUAL(quota->used[QUOTA_PARKED], 0);
	op_release(next(), slow, &info);
}

/* What is staged is its owner's, by its object, and by chown(2) another's, which is never refused. */
static void test_staged(void)
{
	struct quota *quota = &bare.tree.quota;
	struct fuse_file_info info = { .flags = O_RDWR };
	struct stat given = { .st_uid = 1001 };

	quota->limits.each[QUOTA_FILES] = 2;
	op_create(next(), ino, "x", 0600, &info);
	CHECK_REPLY(REPLY_CREATE);
	op_unlink(next(), ino, "x");
	CHECK_ERROR(0);
	op_mknod(next(), ino, "y", S_IFREG | 0600, 0);
	CHECK_ERROR(EDQUOT);
	CU_ASSERT_PTR_NOT_NULL(strstr(directory->error, "y: user 1000 has 2 open and staged"));
	op_release(next(), 0, &info);
	CU_ASSERT_EQUAL(quota->used[QUOTA_FILES], 0);
	op_mknod(next(), ino, "y", S_IFREG | 0600, 0);
	CHECK_REPLY(REPLY_ENTRY);
	op_mkdir(next(), ino, "y.lock", 0700);
	CHECK_REPLY(REPLY_ENTRY);
	op_setattr(
		next(), node_id(directory_find(directory, "y")), &given, FUSE_SET_ATTR_UID, NULL);
	CHECK_REPLY(REPLY_ATTRIBUTES);
	CU_ASSERT_EQUAL(quota->count, 2);
	op_setattr(next(), node_id(directory_find(directory, "y.lock")), &given, FUSE_SET_ATTR_UID,
		NULL);
	CU_ASSERT_EQUAL(quota->count, 1);
	op_mknod(next_of(1001), ino, "z", S_IFREG | 0600, 0);
	CHECK_ERROR(EDQUOT);
	op_mknod(next(), ino, "z", S_IFREG | 0600, 0);
	CHECK_REPLY(REPLY_ENTRY);
	op_setattr(
		next(), node_id(directory_find(directory, "z")), &given, FUSE_SET_ATTR_UID, NULL);
	CU_ASSERT_EQUAL(quota->used[QUOTA_FILES], 3);
	op_unlink(next(), ino, "y");
	op_rmdir(next(), ino, "y.lock");
	CU_ASSERT_EQUAL(quota->used[QUOTA_FILES], 1);
}

/* A text that nobody can have any more is kept for nobody; a short one for who reads it, and is read to its end. */
static void test_texts(void)
{
	struct fuse_file_info info = { .flags = O_RDONLY }, more = info;
	fuse_ino_t value = node_id(row("value"));
	struct handle *handle;

	info.lock_owner = more.lock_owner = 1;
	op_open(next(), value, &info);
	handle = (struct handle *)(uintptr_t)info.fh;
	op_read(next(), value, 1, 0, &info);
	control_lose_texts(row("value"));
	op_read(next(), value, 1, 1, &info);
	CHECK_REPLY(REPLY_BUFFER);
	CU_ASSERT_EQUAL(req.size, 1);
	shown = 5000;
	op_read(next(), value, 4096, 0, &info);
	CU_ASSERT_EQUAL(req.size, 4096);
	control_lose_texts(row("value"));
	CU_ASSERT_PTR_NULL(handle->text);
	/* In the middle, at the end, and anew. */
	op_read(next(), value, 4096, 4096, &info);
	CHECK_ERROR(ESTALE);
	op_read(next(), value, 4096, 5000, &info);
	CHECK_REPLY(REPLY_BUFFER);
	CU_ASSERT_EQUAL(req.size, 0);
	shown = 5001;
	op_read(next(), value, 4096, 0, &info);
	op_read(next(), value, 4096, 4096, &info);
	CHECK_REPLY(REPLY_BUFFER);
	CU_ASSERT_EQUAL(req.size, 5001 - 4096);
	/* Made anew, or removed: whoever has it open gets ENODEV. */
	op_open(next(), value, &more);
	op_read(next(), value, 10, 0, &more);
	node_renew(row("value"));
	CU_ASSERT_PTR_NULL(handle->text);
	op_release(next(), 0, &more);
	op_open(next(), node_id(row("value")), &more);
	op_read(next(), 0, 10, 0, &more);
	CHECK_REPLY(REPLY_BUFFER);
	CU_ASSERT_EQUAL(directory->ops->rmdir(directory, NULL), 0);
	CU_ASSERT_PTR_NULL(((struct handle *)(uintptr_t)more.fh)->text);
	op_read(next(), 0, 10, 1, &more);
	CHECK_ERROR(ENODEV);
	op_release(next(), 0, &more);
	op_release(next(), 0, &info);
}

/* ---- journals and consoles ---- */

#define TEXT_BOUND (32U << 10)

static const struct text_log_limits limits = { .bytes = 64 << 10 };

/* Do its files end with this record, and has their owner no more than he may? */
static void check_log(const struct text_log *log, const char *last)
{
	const char *data = NULL;
	uint64_t end = text_log_end(log);
	size_t got = text_log_peek(log, end - strlen(last), &data);

	CU_ASSERT_EQUAL_FATAL(got, strlen(last));
	CU_ASSERT_NSTRING_EQUAL(data, last, got);
	CU_ASSERT_TRUE(bare.tree.quota.used[QUOTA_TEXT] <= TEXT_BOUND + 4 * TEXT_LOG_FREE);
}

/* Whoever has much in memory already has their files rotated earlier: no record is lost, and others have theirs. */
static void test_text_logs(void)
{
	static struct text_log first, second;
	struct quota *quota = &bare.tree.quota;
	struct fuse_file_info open_one[20];
	static char block[20000];
	char record[64];

	quota->limits.each[QUOTA_TEXT] = TEXT_BOUND;
	CU_ASSERT_EQUAL_FATAL(text_log_init(&first, directory, &limits, "a", "a.1", 0444, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(
		text_log_init(&second, directory, &limits, "b", "b.1", 0444, NULL), 0);
	for (unsigned int i = 0; i < 20000; i++) {
		snprintf(record, sizeof(record), "record %u\n", i);
		CU_ASSERT_TRUE_FATAL(text_log_append(&first, record, strlen(record)));
		CU_ASSERT_TRUE_FATAL(text_log_append(&second, record, strlen(record)));
	}
	check_log(&first, record);
	check_log(&second, record);
	CU_ASSERT_TRUE(text_log_end(&first) - text_log_oldest(&first) >= TEXT_LOG_FREE / 2);
	/* What is open without a name gives way first. */
	for (unsigned int i = 0; i < 20; i++) {
		open_one[i] = (struct fuse_file_info){ .flags = O_RDONLY };
		op_open(next(), node_id(directory_find(directory, "a")), &open_one[i]);
		CHECK_REPLY(REPLY_OPEN);
		text_log_rotate(&first);
		CU_ASSERT_TRUE(text_log_append(&first, record, strlen(record)));
	}
	memset(block, '-', sizeof(block));
	text_log_write(&second, block, sizeof(block));
	text_log_write(&second, record, strlen(record));
	check_log(&first, record);
	check_log(&second, record);
	for (unsigned int i = 0; i < 20; i++)
		op_release(next(), 0, &open_one[i]);
	/* Another's, by chown(2): it is not refused. */
	CU_ASSERT_EQUAL(text_log_chown(&first, 1001), 0);
	CU_ASSERT_EQUAL(quota->count, 2);
	CU_ASSERT_EQUAL(text_log_chown(&first, 0), 0);
	CU_ASSERT_PTR_NULL(first.user);
	for (unsigned int i = 0; i < 20000; i++)
		CU_ASSERT_TRUE_FATAL(text_log_append(&first, record, strlen(record)));
	CU_ASSERT_TRUE(text_log_end(&first) - text_log_oldest(&first) > (64U << 10));
	text_log_release(&first);
	text_log_release(&second);
	CU_ASSERT_EQUAL(quota->used[QUOTA_TEXT], 0);
	CU_ASSERT_EQUAL(quota->count, 0);
}

static const CU_TestInfo tests[] = {
	{ "what is gone", test_gone },
	{ "open files", test_open_files },
	{ "open directories", test_open_directories },
	{ "who may only read", test_reader_is_not_told_there },
	{ "what waits", test_parked },
	{ "what is staged", test_staged },
	{ "texts of what is void", test_texts },
	{ "journals and consoles", test_text_logs },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("bounds", tests, set_up, tear_down);
}
