/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of a table as files (nefs/control.h). */
#include "bare_tree.h"
#include "cunit_main.h"
#include "failing_memory.h"
#include "values.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#define ALWAYS (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM)

/* ---- rows ---- */

static char shown[64];	    /* what the text rows show */
static int outcome;	    /* what store and the ops return */
static char stored[64];	    /* what store was given */
static bool is_readable;    /* the stream is */
static unsigned int closed; /* calls of close */
static struct parked_list waiting;

static void show(struct node *node, FILE *out)
{
	fputs(shown, out);
}

static int refuse(struct nefs_error *err)
{
	return outcome < 0 ? nefs_error_set(err, -outcome, "it is told %d", -outcome) : outcome;
}

static int store(struct node *node, const char *text, size_t size, struct nefs_error *err)
{
	snprintf(stored, sizeof(stored), "%.*s", (int)size, text);
	return refuse(err);
}

static struct parked *park(struct node *node, fuse_req_t req)
{
	return parked_keep(&waiting, req);
}

static int open_special(struct handle *handle, struct nefs_error *err)
{
	return refuse(err);
}

static void read_special(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	if (is_readable)
		fuse_reply_buf(req, "special", 7);
	else
		handle_park_read(req, handle, size, offset);
}

static void write_special(
	fuse_req_t req, struct handle *handle, const char *data, size_t size, off_t offset)
{
	struct nefs_error err = { 0 };
	int failed = refuse(&err);

	control_end_write(req, handle, failed ? failed : (ssize_t)size - 1, &err);
}

static int truncate_special(
	struct node *node, uint64_t size, struct node_end *end, struct nefs_error *err)
{
	return refuse(err);
}

static bool readable(struct handle *handle)
{
	return is_readable;
}

static uint64_t size_special(struct node *node)
{
	return 12345;
}

static void close_special(struct handle *handle)
{
	closed++;
}

static const struct control_ops parking_ops = { .park = park };
static const struct control_ops stream_ops = { .read = read_special, .readable = readable };
static const struct control_ops special_ops = {
	.open = open_special,
	.read = read_special,
	.write = write_special,
	.truncate = truncate_special,
	.size = size_special,
	.close = close_special,
};

/* In this order. */
enum row { VALUE, STATE, LOAD, START, STREAM, SPECIAL, QUIET, COMMAND, ERROR };

static const struct control rows[] = {
	[VALUE] = { .name = "value", .mode = 0644, .show = show, .store = store },
	[STATE] = { .name = "state",
		.mode = 0444,
		.flags = CONTROL_POLL,
		.handle = BARE_HANDLE(0),
		.show = show },
	[LOAD] = { .name = "load", .mode = 0444, .flags = CONTROL_VOLATILE, .show = show },
	[START] = { .name = "start",
		.mode = 0644,
		.show = show,
		.store = store,
		.ops = &parking_ops },
	[STREAM] = { .name = "stream", .mode = 0400, .ops = &stream_ops },
	[SPECIAL] = { .name = "special", .mode = 0600, .ops = &special_ops },
	[QUIET] = { .name = "quiet", .mode = 0600, .flags = CONTROL_REPORTS, .store = store },
	[COMMAND] = { .name = "command", .mode = 0200, .store = store },
	[ERROR] = CONTROL_ERROR_ROW,
	{ .name = NULL },
};

/* The same without `error`. */
static const struct control nested_rows[] = {
	{ .name = "value", .mode = 0644, .show = show, .store = store },
	{ .name = NULL },
};

static struct bare_tree bare;
static struct directory *web;
static struct handle *handles[ERROR + 1];

static void set_up(void)
{
	bare_tree_set_up(&bare, rows);
	web = &bare_directory_new(&bare, bare.tree.root, "web", rows)->directory;
	for (int i = 0; i <= ERROR; i++)
		handles[i] = handle_new(&web->controls[i], O_RDWR);
	strcpy(shown, "one\n");
	*stored = '\0';
	outcome = 0;
	is_readable = false;
	closed = 0;
	LIST_INIT(&waiting);
}

static void tear_down(void)
{
	bare_tree_tear_down(&bare);
}

static struct fuse_req read_row(enum row row, size_t size, off_t offset)
{
	struct fuse_req req = bare_request(&bare);

	handles[row]->node->ops->read(&req, handles[row], size, offset);
	return req;
}

static struct fuse_req write_row(enum row row, const char *text)
{
	struct fuse_req req = bare_request(&bare);

	handles[row]->node->ops->write(&req, handles[row], text, strlen(text), 7);
	return req;
}

static unsigned int poll_row(enum row row)
{
	return handles[row]->node->ops->poll(handles[row]);
}

static void check_read(enum row row, size_t size, off_t offset, const char *expected)
{
	struct fuse_req req = read_row(row, size, offset);

	CU_ASSERT_EQUAL(req.reply, REPLY_BUFFER);
	CU_ASSERT_EQUAL(req.answers, 1);
	CU_ASSERT_EQUAL(req.size, strlen(expected));
	CU_ASSERT_EQUAL(memcmp(req.data, expected, strlen(expected)), 0);
}

static void check_errno(const struct fuse_req *req, int expected)
{
	CU_ASSERT_EQUAL(req->reply, REPLY_ERROR);
	CU_ASSERT_EQUAL(req->answers, 1);
	CU_ASSERT_EQUAL(req->error, expected);
}

static void check_error(const struct directory *directory, const char *expected)
{
	CU_ASSERT_STRING_EQUAL(directory->error ? directory->error : "", expected);
}

/* ---- reads ---- */

/* A read from the start sees what is there now; one behind it goes on with what that saw. */
static void test_reads(void)
{
	check_read(VALUE, 2, 0, "on");
	strcpy(shown, "changed\n");
	check_read(VALUE, 100, 2, "e\n");
	check_read(VALUE, 100, 4, "");
	check_read(VALUE, 100, 1000, "");
	check_read(VALUE, 100, -1, "");
	check_read(VALUE, 0, 0, "");
	check_read(VALUE, 100, 0, "changed\n");
	/* One that begins in the middle has nothing to go on with. */
	check_read(STATE, 100, 3, "nged\n");
	*shown = '\0';
	check_read(VALUE, 100, 0, "");
	check_read(COMMAND, 100, 0, "");
}

static void test_sizes(void)
{
	struct stat attributes;

	node_stat(&web->controls[VALUE], &attributes);
	CU_ASSERT_EQUAL(attributes.st_size, 4);
	CU_ASSERT_EQUAL(attributes.st_blocks, 1);
	CU_ASSERT_EQUAL(attributes.st_mode, S_IFREG | 0644);
	CU_ASSERT_EQUAL(attributes.st_nlink, 1);
	/* At 0 sendfile(2) would not ask. */
	node_stat(&web->controls[STREAM], &attributes);
	CU_ASSERT_EQUAL(attributes.st_size, 1);
	node_stat(&web->controls[SPECIAL], &attributes);
	CU_ASSERT_EQUAL(attributes.st_size, 12345);
	CU_ASSERT_EQUAL(attributes.st_blocks, 25);
	/* What moves by itself is asked for at each look. */
	CU_ASSERT_EQUAL(node_cache_seconds(&web->controls[LOAD]), 0.0);
	CU_ASSERT_EQUAL(node_cache_seconds(&web->controls[VALUE]), TREE_CACHE_SECONDS);
}

static void test_special(void)
{
	struct fuse_req req;

	handles[SPECIAL]->flags |= O_NONBLOCK;
	req = read_row(SPECIAL, 100, 0);
	check_errno(&req, EAGAIN);
	/* Its own ops decide what opens, how much is taken, and what a truncation is. */
	CU_ASSERT_EQUAL(handles[SPECIAL]->node->ops->open(handles[SPECIAL]), 0);
	req = write_row(SPECIAL, "12345");
	CU_ASSERT_EQUAL(req.reply, REPLY_WRITE);
	CU_ASSERT_EQUAL(req.size, 4);
	CU_ASSERT_EQUAL(handles[SPECIAL]->node->ops->resize(handles[SPECIAL]->node, 0, NULL), 0);
	outcome = -EMFILE;
	CU_ASSERT_EQUAL(handles[SPECIAL]->node->ops->open(handles[SPECIAL]), -EMFILE);
	check_error(web, "special: it is told 24");
	outcome = -ENOSPC;
	req = write_row(SPECIAL, "12345");
	check_errno(&req, ENOSPC);
	check_error(web, "special: it is told 28");
	outcome = -EFBIG;
	CU_ASSERT_EQUAL(
		handles[SPECIAL]->node->ops->resize(handles[SPECIAL]->node, 5, NULL), -EFBIG);
	check_error(web, "special: it is told 27");
	handles[SPECIAL]->node->ops->close(handles[SPECIAL]);
	CU_ASSERT_EQUAL(closed, 1);
	handles[VALUE]->node->ops->close(handles[VALUE]);
}

/* ---- poll ---- */

static void test_poll(void)
{
	/* Before the first read it fires; after it, from a change until it is read from its start. */
	CU_ASSERT_EQUAL(poll_row(STATE), ALWAYS | POLLERR | POLLPRI);
	check_read(STATE, 2, 0, "on");
	CU_ASSERT_EQUAL(poll_row(STATE), ALWAYS);
	node_changed(&web->controls[STATE]);
	CU_ASSERT_EQUAL(poll_row(STATE), ALWAYS | POLLERR | POLLPRI);
	check_read(STATE, 100, 2, "e\n");
	CU_ASSERT_EQUAL(poll_row(STATE), ALWAYS | POLLERR | POLLPRI);
	check_read(STATE, 100, 0, "one\n");
	CU_ASSERT_EQUAL(poll_row(STATE), ALWAYS);
	/* The others have no news. */
	CU_ASSERT_EQUAL(poll_row(VALUE), ALWAYS);
	/* A stream is ready when there is something to read. */
	CU_ASSERT_EQUAL(poll_row(STREAM), 0);
	is_readable = true;
	CU_ASSERT_EQUAL(poll_row(STREAM), POLLIN | POLLRDNORM);
	bare.tree.session = NULL;
	CU_ASSERT_EQUAL(web->ops->rmdir(web, NULL), 0);
	for (int i = 0; i <= ERROR; i++)
		CU_ASSERT_EQUAL(poll_row((enum row)i), ALWAYS | POLLERR | POLLPRI | POLLHUP);
}

/* ---- writes ---- */

static void test_writes(void)
{
	struct fuse_req req;

	web->controls[VALUE].mtime.tv_sec = 0;
	req = write_row(VALUE, "two\n");
	CU_ASSERT_EQUAL(req.reply, REPLY_WRITE);
	CU_ASSERT_EQUAL(req.size, 4);
	CU_ASSERT_STRING_EQUAL(stored, "two\n");
	CU_ASSERT_NOT_EQUAL(web->controls[VALUE].mtime.tv_sec, 0);
	/* A refused one has changed nothing. */
	web->controls[VALUE].mtime.tv_sec = 0;
	outcome = -ERANGE;
	req = write_row(VALUE, "three");
	check_errno(&req, ERANGE);
	CU_ASSERT_EQUAL(web->controls[VALUE].mtime.tv_sec, 0);
	/* An empty one is none. */
	req = write_row(VALUE, "");
	CU_ASSERT_EQUAL(req.reply, REPLY_WRITE);
	CU_ASSERT_STRING_EQUAL(stored, "three");
	req = write_row(STATE, "x");
	check_errno(&req, EACCES);
	/* Truncation changes nothing. */
	CU_ASSERT_EQUAL(web->controls[VALUE].ops->resize(&web->controls[VALUE], 0, NULL), 0);
}

static void test_too_long(void)
{
	char text[VALUE_MAX + 1];

	memset(text, '1', sizeof(text));
	CU_ASSERT_EQUAL(control_store(&web->controls[VALUE], text, VALUE_MAX), 0);
	*stored = '\0';
	CU_ASSERT_EQUAL(control_store(&web->controls[VALUE], text, VALUE_MAX + 1), -E2BIG);
	CU_ASSERT_PTR_NOT_NULL_FATAL(web->error);
	CU_ASSERT_PTR_NOT_NULL(strstr(web->error, "value: 4097 bytes"));
	/* Also of a row that tells its outcomes itself, as it is not asked. */
	control_set_error(web, NULL, "");
	CU_ASSERT_EQUAL(control_store(&web->controls[QUIET], text, VALUE_MAX + 1), -E2BIG);
	CU_ASSERT_PTR_NOT_NULL(web->error);
	CU_ASSERT_STRING_EQUAL(stored, "");
}

static void test_removed(void)
{
	struct fuse_req req;

	CU_ASSERT_EQUAL(web->ops->rmdir(web, NULL), 0);
	req = read_row(VALUE, 10, 0);
	check_errno(&req, ENODEV);
	req = write_row(VALUE, "x");
	check_errno(&req, ENODEV);
	req = write_row(SPECIAL, "x");
	check_errno(&req, ENODEV);
	CU_ASSERT_EQUAL(control_store(&web->controls[VALUE], "x", 1), -ENODEV);
	CU_ASSERT_EQUAL(web->controls[VALUE].ops->resize(&web->controls[VALUE], 0, NULL), -ENODEV);
	CU_ASSERT_EQUAL(web->controls[SPECIAL].ops->size(&web->controls[SPECIAL]), 0);
	CU_ASSERT_STRING_EQUAL(stored, "");
}

/* ---- what waits ---- */

static void test_parked_write(void)
{
	struct fuse_req req = bare_request(&bare), impatient;
	struct node *start = &web->controls[START];

	outcome = STORE_PARKED;
	start->ops->write(&req, handles[START], "1\n", 2, 0);
	CU_ASSERT_EQUAL(req.answers, 0);
	parked_answer(&waiting, 0, 0);
	CU_ASSERT_EQUAL(req.reply, REPLY_WRITE);
	CU_ASSERT_EQUAL(req.size, 2);
	CU_ASSERT_EQUAL(req.answers, 1);
	req = bare_request(&bare);
	start->ops->write(&req, handles[START], "1\n", 2, 0);
	parked_answer(&waiting, 0, -ENOMEM);
	check_errno(&req, ENOMEM);
	/* With O_NONBLOCK nobody waits: it is accepted. */
	handles[START]->asked |= O_NONBLOCK;
	impatient = write_row(START, "1\n");
	CU_ASSERT_EQUAL(impatient.reply, REPLY_WRITE);
	CU_ASSERT_EQUAL(impatient.size, 2);
	CU_ASSERT_TRUE(LIST_EMPTY(&waiting));
	/* Not with one that was set after the open: runtimes do that to each of their files. */
	handles[START]->asked &= ~O_NONBLOCK;
	handles[START]->flags |= O_NONBLOCK;
	req = bare_request(&bare);
	start->ops->write(&req, handles[START], "1\n", 2, 0);
	CU_ASSERT_EQUAL(req.answers, 0);
	/* A signal ends the wait: what was begun is no failure. */
	fake_interrupt(&req);
	CU_ASSERT_EQUAL(req.reply, REPLY_WRITE);
	CU_ASSERT_EQUAL(req.size, 2);
	CU_ASSERT_TRUE(LIST_EMPTY(&waiting));
	/* Who has a signal already does not begin to wait, and is answered once. */
	req = bare_request(&bare);
	req.interrupted = true;
	start->ops->write(&req, handles[START], "1\n", 2, 0);
	CU_ASSERT_EQUAL(req.reply, REPLY_WRITE);
	CU_ASSERT_EQUAL(req.answers, 1);
}

/* A read that waits is tried again at each change. */
static void test_parked_read(void)
{
	struct fuse_req req = bare_request(&bare);
	struct node *stream = &web->controls[STREAM];

	stream->ops->read(&req, handles[STREAM], 100, 0);
	node_changed(stream);
	CU_ASSERT_EQUAL(req.answers, 0);
	is_readable = true;
	node_changed(stream);
	CU_ASSERT_EQUAL(req.answers, 1);
	CU_ASSERT_EQUAL(req.size, 7);
}

/* ---- `error` ---- */

static void test_error(void)
{
	uint64_t changes = web->error_node->changes;

	outcome = -EINVAL;
	write_row(VALUE, "x");
	check_error(web, "value: it is told 22");
	CU_ASSERT_EQUAL(web->error_node->changes, changes + 1);
	check_read(ERROR, 100, 0, "value: it is told 22\n");
	/* The same again is no news; another is, and so is the end of it. */
	write_row(VALUE, "x");
	CU_ASSERT_EQUAL(web->error_node->changes, changes + 1);
	CU_ASSERT_EQUAL(poll_row(ERROR), ALWAYS);
	write_row(COMMAND, "x");
	check_error(web, "command: it is told 22");
	CU_ASSERT_EQUAL(web->error_node->changes, changes + 2);
	CU_ASSERT_EQUAL(poll_row(ERROR), ALWAYS | POLLERR | POLLPRI);
	/* It stays until that file accepts something. */
	outcome = 0;
	write_row(VALUE, "x");
	check_error(web, "command: it is told 22");
	CU_ASSERT_EQUAL(web->error_node->changes, changes + 2);
	write_row(COMMAND, "x");
	check_error(web, "");
	CU_ASSERT_EQUAL(web->error_node->changes, changes + 3);
	/* What tells its outcome itself is not spoken for. */
	outcome = -EINVAL;
	write_row(QUIET, "x");
	check_error(web, "");
	/* None of that is the root's. */
	check_error(bare.tree.root, "");
}

/* Each refusal is told to the directory, with the user whose request it was. */
static void test_who_is_refused(void)
{
	struct bare_directory *told = (struct bare_directory *)web;

	outcome = -EINVAL;
	bare.tree.caller = 1234;
	write_row(VALUE, "x");
	write_row(VALUE, "x");
	CU_ASSERT_EQUAL(told->refusals, 2);
	CU_ASSERT_EQUAL(told->refused_to, 1234);
	bare.tree.caller = TREE_NO_CALLER;
	write_row(VALUE, "x");
	CU_ASSERT_EQUAL(told->refused_to, TREE_NO_CALLER);
	/* What is accepted is no refusal. */
	outcome = 0;
	write_row(VALUE, "x");
	CU_ASSERT_EQUAL(told->refusals, 3);
}

/* A directory without `error` tells the one that it is in; without any, nobody. */
static void test_error_of_parent(void)
{
	struct directory *nested =
		&bare_directory_new(&bare, web, "nested", nested_rows)->directory;
	struct directory *below =
		&bare_directory_new(&bare, nested, "below", nested_rows)->directory;
	struct directory *alone = &bare_directory_new(&bare, NULL, NULL, nested_rows)->directory;

	outcome = -EPERM;
	CU_ASSERT_EQUAL(control_store(directory_row(nested, "value"), "x", 1), -EPERM);
	check_error(nested, "");
	check_error(web, "value: it is told 1");
	check_error(bare.tree.root, "");
	outcome = -EBUSY;
	CU_ASSERT_EQUAL(control_store(directory_row(below, "value"), "x", 1), -EBUSY);
	check_error(web, "value: it is told 16");
	CU_ASSERT_EQUAL(control_store(directory_row(alone, "value"), "x", 1), -EBUSY);
	outcome = 0;
	CU_ASSERT_EQUAL(control_store(directory_row(below, "value"), "x", 1), 0);
	check_error(web, "");
	/* What has been removed has nobody left to tell. */
	directory_ref(nested);
	directory_removed(below);
	directory_removed(nested);
	control_set_error(nested, NULL, "too late");
	check_error(web, "");
	directory_unref(nested);
	directory_ref(web);
	directory_removed(web);
	control_set_error(web, NULL, "too late");
	check_error(web, "");
	directory_unref(web);
	directory_unref(alone);
}

/* Each refusal is told to the directory whose `error` tells it, though it may be gone by then. */
static void test_who_is_told(void)
{
	struct bare_directory *told = (struct bare_directory *)web;
	struct bare_directory *root = (struct bare_directory *)bare.tree.root;
	struct directory *nested =
		&bare_directory_new(&bare, web, "x.lock", nested_rows)->directory;
	struct directory *special =
		&bare_directory_new(&bare, bare.tree.root, "sim", nested_rows)->directory;
	struct nefs_error err = { 0 };

	outcome = -ERANGE;
	write_row(VALUE, "x");
	CU_ASSERT_EQUAL(told->refusals, 1);
	control_store(directory_row(nested, "value"), "x", 1);
	CU_ASSERT_EQUAL(told->refusals, 2);
	control_store(directory_row(special, "value"), "x", 1);
	CU_ASSERT_EQUAL(told->refusals, 2);
	CU_ASSERT_EQUAL(root->refusals, 1);
	directory_ref(web);
	directory_removed(nested);
	directory_removed(web);
	nefs_error_set(&err, EIO, "too late");
	control_refused(web, "value", &err);
	CU_ASSERT_EQUAL(told->refusals, 3);
	directory_unref(web);
}

/* ---- no memory ---- */

static void test_no_memory(void)
{
	struct fuse_req req = bare_request(&bare);

	check_read(VALUE, 100, 0, "one\n");
	memory_fail(0);
	handles[VALUE]->node->ops->read(&req, handles[VALUE], 100, 0);
	CU_ASSERT_TRUE(memory_failed());
	check_errno(&req, ENOMEM);
	/* What the one before saw is still there. */
	check_read(VALUE, 100, 1, "ne\n");
	/* Its size takes none. */
	memory_fail(0);
	CU_ASSERT_EQUAL(web->controls[VALUE].ops->size(&web->controls[VALUE]), 4);
	CU_ASSERT_FALSE(memory_failed());
	control_set_error(web, NULL, "before");
	memory_fail(0);
	control_set_error(web, NULL, "after");
	CU_ASSERT_TRUE(memory_failed());
	/* Rather none than the sentence of something else. */
	check_error(web, "");
}

static const CU_TestInfo tests[] = {
	{ "a read goes on with what its first saw", test_reads },
	{ "sizes, and how long they hold", test_sizes },
	{ "a row's own ops", test_special },
	{ "poll", test_poll },
	{ "a write is one value", test_writes },
	{ "a value has an end", test_too_long },
	{ "files of a removed directory", test_removed },
	{ "a write that waits", test_parked_write },
	{ "a read that waits", test_parked_read },
	{ "error: what was refused last", test_error },
	{ "error: a directory without one", test_error_of_parent },
	{ "who was refused", test_who_is_refused },
	{ "who is told of a refusal", test_who_is_told },
	{ "no memory", test_no_memory },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("control", tests, set_up, tear_down);
}
