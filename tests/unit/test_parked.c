/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests whose answer waits (nefs/parked.h). */
#include "bare_tree.h"
#include "cunit_main.h"
#include "failing_memory.h"
#include "parked.h"
#include <errno.h>
#include <fcntl.h>

#define REQUESTS 5

static struct parked_list list;
static struct fuse_req requests[REQUESTS];

/* What `read` was called with, in order; it parks anew whatever is not `ready`. */
static struct {
	fuse_req_t req;
	size_t size;
	off_t offset;
} reads[REQUESTS * 2];
static unsigned int read_count;
static const struct handle *ready;

static void set_up(void)
{
	LIST_INIT(&list);
	memset(requests, 0, sizeof(requests));
	read_count = 0;
	ready = NULL;
}

static struct parked *park(unsigned int nth, struct handle *handle)
{
	struct parked *parked = parked_add(&list, &requests[nth]);

	CU_ASSERT_PTR_NOT_NULL_FATAL(parked);
	parked->handle = handle;
	parked->size = 10 + nth;
	parked->offset = nth;
	return parked;
}

static void read_again(const struct parked *waiting)
{
	fuse_req_t req = waiting->req;
	struct parked *parked;

	CU_ASSERT_TRUE_FATAL(read_count < sizeof(reads) / sizeof(reads[0]));
	reads[read_count].req = req;
	reads[read_count].size = waiting->size;
	reads[read_count++].offset = waiting->offset;
	if (waiting->handle == ready) {
		fuse_reply_buf(req, "x", 1);
		return;
	}
	parked = parked_add(&list, req);
	if (!parked)
		return;
	parked->handle = waiting->handle;
	parked->size = waiting->size;
	parked->offset = waiting->offset;
}

/* Each was answered once, with this error. */
static void check_errors(const int expected[REQUESTS])
{
	for (int i = 0; i < REQUESTS; i++) {
		CU_ASSERT_EQUAL(requests[i].answers, expected[i] ? 1 : 0);
		CU_ASSERT_EQUAL(requests[i].error, expected[i]);
	}
}

static void test_retry(void)
{
	struct handle one = { 0 }, other = { 0 };

	park(0, &one);
	park(1, &other);
	park(2, &one);
	ready = &other;
	parked_retry(&list, read_again);
	/* Each once, the oldest first, with what it asked for; what parks itself anew waits again. */
	CU_ASSERT_EQUAL(read_count, 3);
	for (unsigned int i = 0; i < 3; i++) {
		CU_ASSERT_PTR_EQUAL(reads[i].req, &requests[i]);
		CU_ASSERT_EQUAL(reads[i].size, 10 + i);
		CU_ASSERT_EQUAL(reads[i].offset, i);
	}
	CU_ASSERT_EQUAL(requests[0].answers, 0);
	CU_ASSERT_EQUAL(requests[1].answers, 1);
	CU_ASSERT_EQUAL(requests[2].answers, 0);
	/* They have kept their places. */
	ready = &one;
	parked_retry(&list, read_again);
	CU_ASSERT_EQUAL(read_count, 5);
	CU_ASSERT_PTR_EQUAL(reads[3].req, &requests[0]);
	CU_ASSERT_PTR_EQUAL(reads[4].req, &requests[2]);
	CU_ASSERT_TRUE(LIST_EMPTY(&list));
	parked_retry(&list, read_again);
	CU_ASSERT_EQUAL(read_count, 5);
}

static void test_drop(void)
{
	struct handle one = { 0 }, other = { 0 };

	park(0, &one);
	park(1, &other);
	park(2, &one);
	park(3, NULL);
	parked_drop(&list, &one, EINTR);
	check_errors((int[REQUESTS]){ EINTR, 0, EINTR, 0 });
	parked_drop(&list, NULL, ENODEV);
	check_errors((int[REQUESTS]){ EINTR, ENODEV, EINTR, ENODEV });
	CU_ASSERT_TRUE(LIST_EMPTY(&list));
}

static void answer(struct parked *parked, int result)
{
	CU_ASSERT_PTR_EQUAL(parked->context, &list);
	fuse_reply_err(parked->req, result ? -result : 999);
}

static void test_answer(void)
{
	for (unsigned int i = 0; i < REQUESTS; i++) {
		struct parked *parked = park(i, NULL);

		parked->kind = i % 2;
		parked->context = &list;
		parked->answer = answer;
	}
	parked_answer(&list, 1, -ENOMEM);
	check_errors((int[REQUESTS]){ 0, ENOMEM, 0, ENOMEM, 0 });
	parked_answer(&list, 1, 0);
	check_errors((int[REQUESTS]){ 0, ENOMEM, 0, ENOMEM, 0 });
	parked_answer(&list, 0, 0);
	check_errors((int[REQUESTS]){ 999, ENOMEM, 999, ENOMEM, 999 });
	CU_ASSERT_TRUE(LIST_EMPTY(&list));
}

static void test_interrupt(void)
{
	struct handle one = { 0 };
	struct parked *parked;

	park(0, &one);
	parked = park(1, &one);
	parked->context = &list;
	parked->answer = answer;
	park(2, &one);
	fake_interrupt(&requests[1]);
	fake_interrupt(&requests[0]);
	/* A read fails by it; the end of another's wait is no failure. */
	check_errors((int[REQUESTS]){ EINTR, 999, 0 });
	/* The one that is left is still tried again, and can be interrupted after that, too. */
	parked_retry(&list, read_again);
	CU_ASSERT_EQUAL(read_count, 1);
	fake_interrupt(&requests[2]);
	check_errors((int[REQUESTS]){ EINTR, 999, EINTR });
	CU_ASSERT_TRUE(LIST_EMPTY(&list));
}

/* Its caller was interrupted before: it is answered at once, and has no function to be called. */
static void test_interrupted_before(void)
{
	requests[0].interrupted = true;
	CU_ASSERT_PTR_NULL(parked_add(&list, &requests[0]));
	check_errors((int[REQUESTS]){ EINTR });
	CU_ASSERT_PTR_NULL(requests[0].on_interrupt);
	/* As one that finds out when it is to be parked anew. */
	park(1, NULL);
	requests[1].interrupted = true;
	ready = (const struct handle *)(const void *)&list;
	parked_retry(&list, read_again);
	check_errors((int[REQUESTS]){ EINTR, EINTR });
	CU_ASSERT_TRUE(LIST_EMPTY(&list));
}

static void test_no_memory(void)
{
	struct parked *parked;

	memory_fail(0);
	parked = parked_add(&list, &requests[0]);
	CU_ASSERT_TRUE(memory_failed());
	CU_ASSERT_PTR_NULL(parked);
	check_errors((int[REQUESTS]){ ENOMEM });
	CU_ASSERT_PTR_NULL(requests[0].on_interrupt);
}

/* Reads of a handle: not with O_NONBLOCK, and not beyond its close. */
static void test_handles(void)
{
	static const struct control rows[] = { { .name = "wait", .mode = 0444 }, { .name = NULL } };
	struct bare_tree bare;
	struct handle *handle, *impatient;

	bare_tree_set_up(&bare, rows);
	handle = handle_new(directory_row(bare.tree.root, "wait"), O_RDONLY);
	impatient = handle_new(handle->node, O_RDONLY | O_NONBLOCK);
	handle_park_read(&requests[0], impatient, 10, 0);
	check_errors((int[REQUESTS]){ EAGAIN });
	handle_park_read(&requests[1], handle, 10, 0);
	handle_free(impatient);
	check_errors((int[REQUESTS]){ EAGAIN });
	requests[2].interrupted = true;
	handle_park_read(&requests[2], handle, 10, 0);
	handle_free(handle);
	check_errors((int[REQUESTS]){ EAGAIN, EINTR, EINTR });
	bare_tree_tear_down(&bare);
}

static const CU_TestInfo tests[] = {
	{ "a retry takes each once, the oldest first", test_retry },
	{ "what waits with a handle is dropped, or all", test_drop },
	{ "answers go to their kind", test_answer },
	{ "a signal ends a wait", test_interrupt },
	{ "a signal came before the wait", test_interrupted_before },
	{ "no memory to wait", test_no_memory },
	{ "reads of a handle", test_handles },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("parked", tests, set_up, NULL);
}
