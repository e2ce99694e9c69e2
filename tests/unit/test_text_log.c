/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text that grows, and its stream: nefs/text_log.h and nefs/follow.h. */
#include "bare_tree.h"
#include "cunit_main.h"
#include "failing_memory.h"
#include "follow.h"
#include "operations.h"
#include "text_log.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#define BYTES 1024

static const struct text_log_limits limits = { .bytes = BYTES };
static const struct text_log_limits few = { .bytes = BYTES, .records = 3 };
static const struct text_log_limits reserved = { .bytes = BYTES, .reserved = true };

static struct bare_tree bare;
static struct directory *directory;
static struct text_log text_log;
static bool at_end;

/* ---- the stream's row ---- */

static struct text_log *log_of(struct node *node)
{
	return &text_log;
}

static bool ended(struct node *node)
{
	return at_end;
}

static const struct follow_kind kind = { .log = log_of, .ended = ended, .lines = true };

static int open_stream(struct handle *handle, struct nefs_error *err)
{
	return follow_open(&kind, handle);
}

static void read_stream(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	follow_read(&kind, req, handle, size, offset);
}

static bool stream_readable(struct handle *handle)
{
	return follow_readable(&kind, handle);
}

static const struct control_ops stream_ops = {
	.open = open_stream, .read = read_stream, .readable = stream_readable
};
static const struct control rows[] = {
	{ .name = "log.follow",
		.mode = 0444,
		.flags = CONTROL_UNLISTED,
		.handle = BARE_HANDLE(0),
		.ops = &stream_ops },
	{ .name = NULL },
};

static void set_up(void)
{
	struct bare_directory *web;

	bare_tree_set_up(&bare, NULL);
	web = bare_directory_new(&bare, bare.tree.root, "web", rows);
	directory = &web->directory;
	memset(&text_log, 0, sizeof(text_log));
	at_end = false;
	CU_ASSERT_EQUAL_FATAL(
		text_log_init(&text_log, directory, &limits, "log", "log.1", 0440, web->kept[0]),
		0);
}

static void tear_down(void)
{
	bare_tree_tear_down(&bare);
}

static struct handle *open_file(const char *name)
{
	struct node *node = directory_find(directory, name);
	struct fuse_file_info info = { .flags = O_RDONLY };

	CU_ASSERT_PTR_NOT_NULL_FATAL(node);
	CU_ASSERT_EQUAL_FATAL(file_open(node, &info), 0);
	CU_ASSERT_EQUAL(info.direct_io, 1);
	return (struct handle *)(uintptr_t)info.fh;
}

static void close_file(struct handle *handle)
{
	struct fuse_req req = bare_request(&bare);
	struct fuse_file_info info = { .fh = (uintptr_t)handle };

	op_release(&req, 0, &info);
	CU_ASSERT_EQUAL(req.answers, 1);
}

/* What a read gives; its answer is in *req. */
static const char *read_at(struct fuse_req *req, struct handle *handle, size_t size, off_t offset)
{
	*req = bare_request(&bare);
	handle->node->ops->read(req, handle, size, offset);
	CU_ASSERT_EQUAL(req->answers, 1);
	req->data[req->size] = '\0';
	return req->reply == REPLY_BUFFER ? req->data : "(refused)";
}

static const char *content(const char *name)
{
	static struct fuse_req req;
	struct handle *handle = open_file(name);
	const char *text = read_at(&req, handle, FAKE_REPLY_MAX - 1, 0);

	CU_ASSERT_EQUAL(req.size, handle->node->ops->size(handle->node));
	close_file(handle);
	return text;
}

/* A record of 100 bytes that begins with a letter. */
static bool append(char letter)
{
	char record[101];

	snprintf(record, sizeof(record), "%c%98d\n", letter, 0);
	return text_log_append(&text_log, record, 100);
}

/* ---- files ---- */

static void test_grows(void)
{
	CU_ASSERT_STRING_EQUAL(content("log"), "");
	CU_ASSERT_PTR_NULL(directory_find(directory, "log.1"));
	CU_ASSERT_TRUE(text_log_append(&text_log, "one\n", 4));
	CU_ASSERT_TRUE(text_log_append(&text_log, "two\n", 4));
	CU_ASSERT_STRING_EQUAL(content("log"), "one\ntwo\n");
	CU_ASSERT_EQUAL(text_log_end(&text_log), 8);
	CU_ASSERT_EQUAL(text_log_oldest(&text_log), 0);
}

static void test_reads_anywhere(void)
{
	struct handle *handle = open_file("log");
	struct fuse_req req;

	text_log_append(&text_log, "0123456789\n", 11);
	CU_ASSERT_STRING_EQUAL(read_at(&req, handle, 3, 2), "234");
	CU_ASSERT_STRING_EQUAL(read_at(&req, handle, 100, 9), "9\n");
	CU_ASSERT_STRING_EQUAL(read_at(&req, handle, 100, 11), "");
	CU_ASSERT_STRING_EQUAL(read_at(&req, handle, 100, 1000), "");
	close_file(handle);
}

/* A full file keeps its inode under its new name, and who has it open reads what it held. */
static void test_rotates(void)
{
	struct handle *open = open_file("log");
	uint64_t first = open->node->ino;
	struct fuse_req req;

	for (int i = 0; i < 10; i++)
		CU_ASSERT_TRUE(append('a'));
	CU_ASSERT_PTR_NULL(directory_find(directory, "log.1"));
	CU_ASSERT_TRUE(append('b'));
	CU_ASSERT_EQUAL(directory_find(directory, "log.1")->ino, first);
	CU_ASSERT_NOT_EQUAL(directory_find(directory, "log")->ino, first);
	CU_ASSERT_EQUAL(strlen(content("log.1")), 1000);
	CU_ASSERT_EQUAL(content("log")[0], 'b');
	read_at(&req, open, FAKE_REPLY_MAX - 1, 0);
	CU_ASSERT_EQUAL(req.size, 1000);
	for (int i = 0; i < 10; i++)
		append('c');
	CU_ASSERT_EQUAL(content("log.1")[0], 'b');
	CU_ASSERT_PTR_NULL(open->node->name);
	read_at(&req, open, FAKE_REPLY_MAX - 1, 0);
	CU_ASSERT_EQUAL(req.size, 1000);
	CU_ASSERT_EQUAL(req.data[0], 'a');
	close_file(open);
}

/* What the notifier is shown while it repeats a rotation, step by step. */
static void test_rotation_is_repeated(void)
{
	struct node *older, *current;

	append('a');
	CU_ASSERT_FALSE(text_log_moved(directory, "log", "log.1"));
	text_log_rotate(&text_log);
	older = directory_find(directory, "log.1");
	current = directory_find(directory, "log");
	CU_ASSERT_PTR_EQUAL(text_log_before(directory, "log", current), older);
	CU_ASSERT_PTR_NULL(text_log_before(directory, "log.1", older));
	CU_ASSERT_PTR_EQUAL(text_log_before(directory, "other", current), current);
	CU_ASSERT_FALSE(text_log_moved(directory, "log.1", "log"));
	CU_ASSERT_FALSE(text_log_moved(directory, "log", "other"));
	CU_ASSERT_PTR_NULL(text_log_made(directory, "log.1"));
	CU_ASSERT_TRUE(text_log_moved(directory, "log", "log.1"));
	CU_ASSERT_PTR_NULL(text_log_before(directory, "log", current));
	CU_ASSERT_PTR_EQUAL(text_log_before(directory, "log.1", older), older);
	CU_ASSERT_PTR_EQUAL(text_log_made(directory, "log"), current);
	CU_ASSERT_PTR_EQUAL(text_log_before(directory, "log", current), older);
}

static void test_records_are_counted(void)
{
	text_log.limits = &few;
	for (int i = 0; i < 7; i++)
		CU_ASSERT_TRUE(text_log_append(&text_log, "x\n", 2));
	CU_ASSERT_STRING_EQUAL(content("log.1"), "x\nx\nx\n");
	CU_ASSERT_STRING_EQUAL(content("log"), "x\n");
}

static void test_too_large_a_record(void)
{
	static const char record[BYTES + 1] = "x";

	CU_ASSERT_FALSE(text_log_append(&text_log, record, sizeof(record)));
	CU_ASSERT_TRUE(text_log_append(&text_log, record, BYTES));
	CU_ASSERT_PTR_NULL(directory_find(directory, "log.1"));
}

static void test_new_file_inherits(void)
{
	struct node *node = directory_find(directory, "log"), *stream = text_log.stream;
	struct stat wanted = { .st_mode = 0640, .st_uid = 7, .st_gid = 8 };
	struct fuse_req req = bare_request(&bare);

	op_setattr(&req, node_id(node), &wanted,
		FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID, NULL);
	CU_ASSERT_EQUAL(stream->mode, S_IFREG | 0640);
	CU_ASSERT_EQUAL(stream->uid, 7);
	append('a');
	text_log_rotate(&text_log);
	CU_ASSERT_PTR_NOT_EQUAL(directory_find(directory, "log"), node);
	node = directory_find(directory, "log");
	CU_ASSERT_EQUAL(node->mode, S_IFREG | 0640);
	CU_ASSERT_EQUAL(node->uid, 7);
	CU_ASSERT_EQUAL(node->gid, 8);
}

static void test_nothing_to_rotate(void)
{
	text_log_rotate(&text_log);
	CU_ASSERT_PTR_NULL(directory_find(directory, "log.1"));
	append('a');
	text_log_rotate(&text_log);
	text_log_rotate(&text_log);
	CU_ASSERT_EQUAL(content("log.1")[0], 'a');
}

/* What is no record is cut behind a line, if there is one in the last part of a file. */
static void test_lines(void)
{
	char line[101];

	snprintf(line, sizeof(line), "%99d\n", 0);
	for (int i = 0; i < 25; i++)
		text_log_write(&text_log, line, 100);
	CU_ASSERT_EQUAL(strlen(content("log.1")), 1000);
	CU_ASSERT_EQUAL(strlen(content("log")), 500);
	CU_ASSERT_EQUAL(text_log_end(&text_log), 2500);
}

static void test_no_lines(void)
{
	static const char bytes[3 * BYTES] = "x";

	text_log_write(&text_log, bytes, sizeof(bytes));
	CU_ASSERT_EQUAL(text_log.older->size, BYTES);
	CU_ASSERT_EQUAL(text_log.current->size, BYTES);
	CU_ASSERT_EQUAL(text_log_end(&text_log), 3 * BYTES);
}

static void test_one_long_write_of_lines(void)
{
	char lines[3 * BYTES];

	for (size_t i = 0; i < sizeof(lines); i++)
		lines[i] = i % 10 == 9 ? '\n' : 'x';
	text_log_write(&text_log, lines, sizeof(lines));
	CU_ASSERT_EQUAL(text_log_end(&text_log), sizeof(lines));
	CU_ASSERT_TRUE(text_log.older->size > BYTES - BYTES / 16);
	CU_ASSERT_EQUAL(text_log.older->text[text_log.older->size - 1], '\n');
}

static void test_poll(void)
{
	struct handle *handle = open_file("log");
	struct fuse_req req;

	CU_ASSERT_TRUE(handle->node->ops->poll(handle) & POLLPRI);
	read_at(&req, handle, 100, 0);
	CU_ASSERT_FALSE(handle->node->ops->poll(handle) & (POLLPRI | POLLERR));
	append('a');
	CU_ASSERT_TRUE(handle->node->ops->poll(handle) & POLLPRI);
	read_at(&req, handle, 50, 0);
	CU_ASSERT_TRUE(handle->node->ops->poll(handle) & POLLERR);
	read_at(&req, handle, 50, 50);
	CU_ASSERT_FALSE(handle->node->ops->poll(handle) & (POLLPRI | POLLERR));
	CU_ASSERT_TRUE(handle->node->ops->poll(handle) & POLLIN);
	close_file(handle);
}

static void test_names_are_taken(void)
{
	struct fuse_req req = bare_request(&bare);
	struct node *node = directory_find(directory, "log");

	op_mknod(&req, node_id(&directory->node), "log.1", S_IFREG | 0644, 0);
	CU_ASSERT_EQUAL(req.error, EACCES);
	req = bare_request(&bare);
	op_rename(&req, node_id(&directory->node), "log", node_id(&directory->node), "other", 0);
	CU_ASSERT_EQUAL(req.error, EPERM);
	req = bare_request(&bare);
	op_unlink(&req, node_id(&directory->node), "log");
	CU_ASSERT_EQUAL(req.error, 0);
	CU_ASSERT_TRUE(node->hidden);
	CU_ASSERT_PTR_NULL(directory_find(directory, "log"));
	node->hidden = false;
}

/* Open files without a name cost what eight of them do, however many there are. */
static void test_collector(void)
{
	struct handle *handles[20];
	struct fuse_req req;
	unsigned int kept = 0;

	for (int i = 0; i < 20; i++) {
		handles[i] = open_file("log");
		append('a');
		text_log_rotate(&text_log);
	}
	for (int i = 0; i < 20; i++) {
		read_at(&req, handles[i], 100, 0);
		if (req.reply == REPLY_BUFFER)
			kept++;
		else
			CU_ASSERT_EQUAL(req.error, ESTALE);
		close_file(handles[i]);
	}
	CU_ASSERT_EQUAL(kept, TEXT_LOG_OPEN_MAX + 1); /* and log.1 */
	CU_ASSERT_EQUAL(content("log.1")[0], 'a');
}

static void test_reserved(void)
{
	struct handle *handle;

	text_log_release(&text_log);
	CU_ASSERT_EQUAL_FATAL(
		text_log_init(&text_log, directory, &reserved, "log", "log.1", 0440, NULL), 0);
	for (int i = 0; i < 50; i++)
		append('a');
	/* The third file has the memory of the first. */
	CU_ASSERT_PTR_NULL(text_log.spare);
	handle = open_file("log.1");
	for (int i = 0; i < 20; i++)
		append('b');
	close_file(handle);
	CU_ASSERT_PTR_NOT_NULL(text_log.spare);
	CU_ASSERT_EQUAL(content("log")[0], 'b');
}

/* Whatever is told there is told when memory is short, too. */
static void test_reserved_needs_no_memory(void)
{
	text_log_release(&text_log);
	CU_ASSERT_EQUAL_FATAL(
		text_log_init(&text_log, directory, &reserved, "log", "log.1", 0440, NULL), 0);
	for (int i = 0; i < 200; i++) {
		memory_fail(0);
		CU_ASSERT_TRUE(append('a'));
		memory_failed();
	}
	CU_ASSERT_EQUAL(content("log.1")[0], 'a');
}

static void test_no_memory(void)
{
	bool written;

	for (int i = 0; i < 10; i++)
		append('a');
	for (unsigned int nth = 0; memory_fail(nth), written = append('b'), memory_failed();
		nth++) {
		CU_ASSERT_FALSE(written);
		CU_ASSERT_EQUAL(content("log")[0], 'a');
		CU_ASSERT_EQUAL(strlen(content("log")), 1000);
	}
	CU_ASSERT_TRUE(written);
	CU_ASSERT_EQUAL(content("log")[0], 'b');
	CU_ASSERT_EQUAL(content("log.1")[0], 'a');
}

static void test_directory_goes(void)
{
	struct handle *handle = open_file("log");
	struct fuse_req req;

	append('a');
	text_log_unlink(&text_log);
	directory_removed(directory);
	text_log_drop_requests(&text_log);
	read_at(&req, handle, 100, 0);
	CU_ASSERT_EQUAL(req.error, ENODEV);
	CU_ASSERT_TRUE(handle->node->ops->poll(handle) & POLLHUP);
	close_file(handle);
}

/* ---- the stream ---- */

static void test_follows(void)
{
	struct handle *handle;
	struct fuse_req req, asleep = bare_request(&bare);

	text_log_append(&text_log, "one\n", 4);
	handle = open_file("log.follow");
	CU_ASSERT_TRUE(handle->node->ops->poll(handle) & POLLIN);
	CU_ASSERT_STRING_EQUAL(read_at(&req, handle, 100, 0), "one\n");
	CU_ASSERT_FALSE(handle->node->ops->poll(handle) & POLLIN);
	handle->node->ops->read(&asleep, handle, 100, 0);
	CU_ASSERT_EQUAL(asleep.answers, 0);
	text_log_append(&text_log, "two\n", 4);
	CU_ASSERT_EQUAL(asleep.answers, 1);
	CU_ASSERT_NSTRING_EQUAL(asleep.data, "two\n", 4);
	text_log_append(&text_log, "three\n", 6);
	text_log_append(&text_log, "four\n", 5);
	CU_ASSERT_STRING_EQUAL(read_at(&req, handle, 8, 0), "three\n");
	CU_ASSERT_STRING_EQUAL(read_at(&req, handle, 2, 0), "fo");
	CU_ASSERT_STRING_EQUAL(read_at(&req, handle, 8, 0), "ur\n");
	at_end = true;
	CU_ASSERT_STRING_EQUAL(read_at(&req, handle, 8, 0), "");
	CU_ASSERT_TRUE(handle->node->ops->poll(handle) & POLLIN);
	close_file(handle);
}

static void test_follows_over_rotations(void)
{
	struct handle *handle = open_file("log.follow");
	struct fuse_req req;

	for (int i = 0; i < 15; i++)
		append((char)('a' + i));
	for (int i = 0; i < 15; i++)
		CU_ASSERT_EQUAL(read_at(&req, handle, 100, 0)[0], 'a' + i);
	close_file(handle);
}

static void test_overtaken(void)
{
	struct handle *handle = open_file("log.follow");
	struct fuse_req req;

	for (int i = 0; i < 21; i++)
		append((char)('a' + i));
	CU_ASSERT_TRUE(handle->node->ops->poll(handle) & POLLIN);
	read_at(&req, handle, 100, 0);
	CU_ASSERT_EQUAL(req.error, EPIPE);
	for (int i = 10; i < 21; i++)
		CU_ASSERT_EQUAL(read_at(&req, handle, 100, 0)[0], 'a' + i);
	close_file(handle);
	handle = open_file("log.follow");
	CU_ASSERT_EQUAL(read_at(&req, handle, 100, 0)[0], 'k');
	close_file(handle);
}

static const CU_TestInfo tests[] = {
	{ "it grows", test_grows },
	{ "it can be read from anywhere", test_reads_anywhere },
	{ "a full one becomes the one before, with its inode", test_rotates },
	{ "a rotation is repeated step by step", test_rotation_is_repeated },
	{ "records are counted", test_records_are_counted },
	{ "a record that no file holds is refused", test_too_large_a_record },
	{ "mode and owner go on to the next, and to the stream", test_new_file_inherits },
	{ "an empty one is not rotated", test_nothing_to_rotate },
	{ "lines are not cut", test_lines },
	{ "what has no lines is", test_no_lines },
	{ "much at once is cut behind lines, too", test_one_long_write_of_lines },
	{ "poll tells of growth until the end was read", test_poll },
	{ "its names are nobody else's", test_names_are_taken },
	{ "who collects open files gets a few", test_collector },
	{ "reserved memory is used again", test_reserved },
	{ "and of no memory later", test_reserved_needs_no_memory },
	{ "without memory the record is lost, and nothing else", test_no_memory },
	{ "its directory goes", test_directory_goes },
	{ "the stream sleeps for more", test_follows },
	{ "the stream goes on over rotations", test_follows_over_rotations },
	{ "who was overtaken is told once", test_overtaken },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("text_log", tests, set_up, tear_down);
}
