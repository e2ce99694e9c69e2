/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a record says: nefs/journal.h. */
#include "cunit_main.h"
#include "failing_memory.h"
#include "journal.h"
#include <errno.h>
#include <jansson.h>

static struct journal journal;

static void set_up(void)
{
	memset(&journal, 0, sizeof(journal));
}

/* The line as an object, to be given back. */
static json_t *record(const struct journal_event *event)
{
	size_t size;
	const char *line = journal_line(&journal, event, &size);
	json_t *object = json_loadb(line, size, 0, NULL);

	CU_ASSERT_EQUAL(line[size - 1], '\n');
	CU_ASSERT_PTR_NULL(memchr(line, '\n', size - 1));
	CU_ASSERT_PTR_NOT_NULL_FATAL(object);
	return object;
}

static const char *text_of(const json_t *object, const char *member)
{
	const char *text = json_string_value(json_object_get(object, member));

	return text ? text : "";
}

static void test_event(void)
{
	const struct journal_event event = { .event = "failed",
		.enclave = "a",
		.cid = 16,
		.slot = 0xfffffffffffffff1,
		.has_slot = true,
		.error = "say \"no\"\n" };
	json_t *object = record(&event);

	CU_ASSERT_STRING_EQUAL(text_of(object, "slot"), "0xfffffffffffffff1");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(object, "cid")), 16);
	CU_ASSERT_STRING_EQUAL(text_of(object, "error"), "say \"no\"\n");
	CU_ASSERT_EQUAL(json_object_size(object), 7);
	json_decref(object);
}

/* Each byte that a name can have, at each place: one printable line, and an object. */
static void test_any_bytes(void)
{
	unsigned int state = 1;
	bool printable = true;
	char name[64], error[64];

	for (int round = 0; round < 20000; round++) {
		const struct journal_event event = {
			.event = "refused", .file = name, .error = error, .errno_code = 22
		};
		size_t size, length = 1 + (size_t)round % (sizeof(name) - 1);
		const char *line;
		json_t *object;

		for (size_t i = 0; i < length; i++) {
			state = state * 1103515245 + 12345;
			name[i] = (char)(1 + (state >> 16) % 255);
			error[length - 1 - i] = name[i];
		}
		name[length] = error[length] = '\0';
		line = journal_line(&journal, &event, &size);
		for (size_t i = 0; i < size - 1; i++)
			printable = printable && line[i] >= ' ' && line[i] <= '~';
		object = json_loadb(line, size, 0, NULL);
		CU_ASSERT_PTR_NOT_NULL_FATAL(object);
		CU_ASSERT_PTR_NOT_NULL(json_object_get(object, "file"));
		CU_ASSERT_PTR_NOT_NULL(json_object_get(object, "error"));
		json_decref(object);
	}
	CU_ASSERT_TRUE(printable);
}

static void test_text_that_is_text(void)
{
	const struct journal_event event = { .event = "refused",
		.file = "\xc3\xa4\xc2\x9b\xe2\x82\xac" };
	json_t *object = record(&event);

	CU_ASSERT_STRING_EQUAL(text_of(object, "file"), event.file);
	json_decref(object);
}

static void test_no_memory(void)
{
	const struct journal_event event = { .event = "failed",
		.file = "caf\xc3\xa9",
		.error = "out of memory",
		.errno_code = ENOMEM };
	size_t size;

	memory_fail(0);
	CU_ASSERT_PTR_NOT_NULL(strstr(journal_line(&journal, &event, &size), "out of memory"));
	CU_ASSERT_FALSE(memory_failed());
}

static void test_seq(void)
{
	const struct journal_event event = { .event = "created", .enclave = "a" };

	for (int i = 1; i <= 3; i++) {
		json_t *object = record(&event);

		CU_ASSERT_EQUAL(json_integer_value(json_object_get(object, "seq")), i);
		CU_ASSERT_EQUAL(json_object_size(object), 4);
		json_decref(object);
	}
}

static void test_refusal(void)
{
	const struct journal_event event = { .event = "refused",
		.file = "caf\xc3\xa9",
		.errno_code = EINVAL,
		.has_uid = true,
		.count = 7,
		.error = "b\xff\xc3 is no number" };
	json_t *object = record(&event);

	CU_ASSERT_STRING_EQUAL(text_of(object, "file"), "caf\xc3\xa9");
	CU_ASSERT_STRING_EQUAL(text_of(object, "errno"), "EINVAL");
	CU_ASSERT_STRING_EQUAL(text_of(object, "error"), "b?? is no number");
	CU_ASSERT_TRUE(json_is_integer(json_object_get(object, "uid")));
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(object, "count")), 7);
	CU_ASSERT_TRUE(json_is_null(json_object_get(object, "enclave")));
	json_decref(object);
}

/* The longest sentence there is, each byte of which takes six. */
static void test_longest(void)
{
	char sentence[NEFS_ERROR_TEXT_MAX];
	const struct journal_event event = {
		.event = "refused", .enclave = "a", .file = "memory", .error = sentence
	};
	json_t *object;

	memset(sentence, '\x01', sizeof(sentence) - 1);
	sentence[sizeof(sentence) - 1] = '\0';
	object = record(&event);
	CU_ASSERT_STRING_EQUAL(text_of(object, "error"), sentence);
	json_decref(object);
}

static const CU_TestInfo tests[] = {
	{ "a record is JSON whatever it says", test_event },
	{ "and one line of ASCII", test_any_bytes },
	{ "that loses nothing of what is text", test_text_that_is_text },
	{ "it needs no memory", test_no_memory },
	{ "records are counted", test_seq },
	{ "a refusal names its file, whatever that is", test_refusal },
	{ "the longest sentence fits", test_longest },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("journal", tests, set_up, NULL);
}
