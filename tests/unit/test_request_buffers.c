/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The buffers that requests are received in (nefs/request_buffers.h). */
#include "cunit_main.h"
#include "failing_memory.h"
#include "request_buffers.h"
#include <stdlib.h>
#include <string.h>

/* A large write, and how much of it is taken where much is kept already: bytes. */
#define LARGE	512000U
#define PIECE	4096U
#define MEBI	(1U << 20)
#define TOO_BIG (33U * MEBI)

static struct request_buffers buffers;

static void set_up(void)
{
	buffers = (struct request_buffers){ 0 };
}

static void tear_down(void)
{
	CU_ASSERT_EQUAL(buffers.bytes, 0);
	CU_ASSERT_TRUE(LIST_EMPTY(&buffers.kept));
	request_buffers_release(&buffers);
	CU_ASSERT_EQUAL(buffers.spares, 0);
	CU_ASSERT_PTR_NULL(buffers.current.mem);
}

/* As libfuse does: a buffer if there is none, and a request of so many bytes in it. */
static char *receive(size_t size)
{
	request_buffers_prepare(&buffers);
	if (!buffers.current.mem)
		buffers.current.mem = malloc(TOO_BIG);
	CU_ASSERT_PTR_NOT_NULL_FATAL(buffers.current.mem);
	buffers.current.size = size;
	return buffers.current.mem;
}

/* What is large is not copied, and its buffer is used again. */
static void test_taken(void)
{
	char *first = receive(LARGE + 80), *second;
	struct kept_data *kept = request_buffers_keep(&buffers, 1, first + 80, LARGE);

	CU_ASSERT_PTR_NOT_NULL_FATAL(kept);
	CU_ASSERT_PTR_EQUAL(kept->data, first + 80);
	CU_ASSERT_EQUAL(kept->size, LARGE);
	CU_ASSERT_EQUAL(buffers.bytes, LARGE);
	CU_ASSERT_PTR_NULL(buffers.current.mem);
	second = receive(100);
	CU_ASSERT_PTR_NOT_EQUAL(second, first);
	request_buffers_give_back(&buffers, kept);
	CU_ASSERT_EQUAL(buffers.spares, 1);
	/* Only when it is needed. */
	CU_ASSERT_PTR_EQUAL(receive(100), second);
	kept = request_buffers_keep(&buffers, 1, receive(LARGE), LARGE);
	CU_ASSERT_PTR_EQUAL(receive(100), first);
	CU_ASSERT_EQUAL(buffers.spares, 0);
	request_buffers_give_back(&buffers, kept);
	request_buffers_give_back(&buffers, NULL);
}

/* What is small, or is not of the request, is copied, and the buffer stays. */
static void test_copied(void)
{
	char elsewhere[3 * PIECE], *data = receive(LARGE);
	struct kept_data *small, *other;

	memset(data, 'a', LARGE);
	memset(elsewhere, 'b', sizeof(elsewhere));
	small = request_buffers_keep(&buffers, 1, data + 10, 100);
	other = request_buffers_keep(&buffers, 1, elsewhere, sizeof(elsewhere));
	CU_ASSERT_PTR_NOT_NULL_FATAL(small);
	CU_ASSERT_PTR_NOT_NULL_FATAL(other);
	CU_ASSERT_PTR_EQUAL(buffers.current.mem, data);
	memset(data, 'x', LARGE);
	memset(elsewhere, 'x', sizeof(elsewhere));
	CU_ASSERT_EQUAL(small->size, 100);
	CU_ASSERT_EQUAL(small->data[99], 'a');
	CU_ASSERT_EQUAL(other->size, sizeof(elsewhere));
	CU_ASSERT_EQUAL(other->data[sizeof(elsewhere) - 1], 'b');
	/* It ends where the request does, and not where the buffer does. */
	buffers.current.size = 2 * PIECE + 1;
	request_buffers_give_back(&buffers, small);
	small = request_buffers_keep(&buffers, 1, data + 1, 2 * PIECE + 1);
	CU_ASSERT_PTR_EQUAL(buffers.current.mem, data);
	request_buffers_give_back(&buffers, small);
	request_buffers_give_back(&buffers, other);
	CU_ASSERT_EQUAL(buffers.spares, 0);
}

/* Who has much under way is served in small pieces; he leaves to others as much as he has. */
static void test_bounded(void)
{
	struct kept_data *kept[200];
	size_t count = 0, whole = 0;

	for (; count < 40; count++) {
		kept[count] = request_buffers_keep(&buffers, 1, receive(MEBI), MEBI);
		CU_ASSERT_PTR_NOT_NULL_FATAL(kept[count]);
		whole += kept[count]->size == MEBI;
		CU_ASSERT_TRUE(kept[count]->size == MEBI || kept[count]->size == PIECE);
	}
	CU_ASSERT_EQUAL(whole, 16);
	for (; count < 80; count++) {
		kept[count] = request_buffers_keep(&buffers, 2, receive(MEBI), MEBI);
		CU_ASSERT_PTR_NOT_NULL_FATAL(kept[count]);
		whole += kept[count]->size == MEBI;
	}
	CU_ASSERT_EQUAL(whole, 16 + 8);
	kept[count++] = request_buffers_keep(&buffers, 3, receive(TOO_BIG), TOO_BIG);
	CU_ASSERT_EQUAL(kept[count - 1]->size, PIECE);
	CU_ASSERT_TRUE(buffers.bytes < 32 * MEBI);
	while (count--)
		request_buffers_give_back(&buffers, kept[count]);
	CU_ASSERT_EQUAL(buffers.spares, 8);
}

static void test_no_memory(void)
{
	char *data = receive(LARGE);

	memory_fail(0);
	CU_ASSERT_PTR_NULL(request_buffers_keep(&buffers, 1, data, LARGE));
	CU_ASSERT_TRUE(memory_failed());
	CU_ASSERT_PTR_EQUAL(buffers.current.mem, data);
}

static const CU_TestInfo tests[] = {
	{ "what is large is taken", test_taken },
	{ "what is small is copied", test_copied },
	{ "no more than a bound", test_bounded },
	{ "out of memory", test_no_memory },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("request buffers", tests, set_up, tear_down);
}
