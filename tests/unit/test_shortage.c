/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is common to all who go on without memory: text_stream.h, shortage.h. */
#include "cunit_main.h"
#include "failing_memory.h"
#include <errno.h>
#include <nefs/shortage.h>
#include <nefs/text_stream.h>
#include <stdlib.h>
#include <string.h>

static void test_text(void)
{
	struct text_stream stream;
	char *text;

	CU_ASSERT_EQUAL_FATAL(text_stream_open(&stream), 0);
	CU_ASSERT_EQUAL(text_stream_end(&stream), 0);
	CU_ASSERT_STRING_EQUAL(stream.text, "");
	for (int length = 1; length < 3000; length++) {
		text_stream_begin(&stream);
		fprintf(stream.out, "%*d", length, 7);
		CU_ASSERT_EQUAL_FATAL(text_stream_end(&stream), 0);
		CU_ASSERT_EQUAL_FATAL(stream.size, (size_t)length);
		CU_ASSERT_EQUAL_FATAL(strlen(stream.text), (size_t)length);
	}
	text = text_stream_take(&stream);
	CU_ASSERT_EQUAL(strlen(text), 2999);
	CU_ASSERT_PTR_NULL(stream.out);
	text_stream_close(&stream);
	free(text);
}

/* Half a text is never all of it, and the next one is whole again. */
static void test_text_without_memory(void)
{
	struct text_stream stream;
	unsigned int nth;
	int failed;

	for (nth = 0; memory_fail(nth), failed = text_stream_open(&stream), memory_failed(); nth++)
		CU_ASSERT_EQUAL(failed, -ENOMEM);
	CU_ASSERT_EQUAL(nth, 2);
	CU_ASSERT_EQUAL_FATAL(failed, 0);
	for (int length = 10; length < 5000; length *= 2) {
		for (nth = 0;; nth++) {
			memory_fail(nth);
			text_stream_begin(&stream);
			for (int i = 0; i < length; i++)
				fputc('a' + i % 26, stream.out);
			failed = text_stream_end(&stream);
			if (!memory_failed())
				break;
			CU_ASSERT_EQUAL(failed, -ENOMEM);
		}
		CU_ASSERT_EQUAL_FATAL(failed, 0);
		CU_ASSERT_EQUAL_FATAL(stream.size, (size_t)length);
		for (int i = 0; i < length; i++)
			CU_ASSERT_EQUAL_FATAL(stream.text[i], 'a' + i % 26);
	}
	text_stream_begin(&stream);
	for (int i = 0; i < 100000; i++) {
		memory_fail(0);
		fputc('x', stream.out);
		memory_failed();
	}
	CU_ASSERT_PTR_NULL(text_stream_take(&stream));
}

/* sd-event's own memory is not ours to fail: the linker puts this in front of it. */
int __real_sd_event_run(sd_event *event, uint64_t usec);
int __wrap_sd_event_run(sd_event *event, uint64_t usec);

static int short_turns, turns, other_failure;

int __wrap_sd_event_run(sd_event *event, uint64_t usec)
{
	turns++;
	if (short_turns > 0) {
		short_turns--;
		return -ENOMEM;
	}
	return other_failure ? other_failure : __real_sd_event_run(event, usec);
}

static int on_event(sd_event_source *source, uint64_t usec, void *userdata)
{
	return sd_event_exit(sd_event_source_get_event(source), 7);
}

static void test_loop_without_memory(void)
{
	struct nefs_shortage shortage = { 0 };
	sd_event_source *timer = NULL;
	sd_event *event = NULL;

	CU_ASSERT_TRUE_FATAL(sd_event_new(&event) >= 0);
	CU_ASSERT_TRUE_FATAL(
		sd_event_add_time(event, &timer, CLOCK_MONOTONIC, 0, 0, on_event, NULL) >= 0);
	short_turns = 1;
	CU_ASSERT_EQUAL(nefs_event_run(event, UINT64_MAX, &shortage), 0);
	CU_ASSERT_NOT_EQUAL(shortage.told_usec, 0);
	short_turns = 3;
	turns = 0;
	CU_ASSERT_EQUAL(nefs_event_loop(event, &shortage), 7);
	CU_ASSERT_TRUE(turns > 3);
	CU_ASSERT_EQUAL(shortage.untold, 3);
	/* Any other failure is one. */
	other_failure = -EBADF;
	CU_ASSERT_EQUAL(nefs_event_run(event, 0, &shortage), -EBADF);
	other_failure = 0;
	sd_event_source_unref(timer);
	sd_event_unref(event);
}

static void test_told_seldom(void)
{
	struct nefs_shortage shortage = { 0 };

	nefs_shortage_met(&shortage, "a test");
	CU_ASSERT_EQUAL(shortage.untold, 0);
	CU_ASSERT_NOT_EQUAL(shortage.told_usec, 0);
	nefs_shortage_met(&shortage, "a test");
	nefs_shortage_met(&shortage, "a test");
	CU_ASSERT_EQUAL(shortage.untold, 2);
	/* 11 s later. */
	shortage.told_usec -= 11000000;
	nefs_shortage_met(&shortage, "a test");
	CU_ASSERT_EQUAL(shortage.untold, 0);
}

static const CU_TestInfo tests[] = {
	{ "a stream has all that was written", test_text },
	{ "without memory it tells", test_text_without_memory },
	{ "a loop without memory goes on", test_loop_without_memory },
	{ "the log is not flooded", test_told_seldom },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("shortage", tests, NULL, NULL);
}
