/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cunit_main.h"
#include <errno.h>
#include <nefs/error.h>

static void test_set(void)
{
	struct nefs_error err = { 0 };

	CU_ASSERT_EQUAL(nefs_error_set(&err, ENOMEM, "%d of %d pages", 3, 4), -ENOMEM);
	CU_ASSERT_EQUAL(err.code, ENOMEM);
	CU_ASSERT_EQUAL(err.ne, 0);
	CU_ASSERT_STRING_EQUAL(err.text, "3 of 4 pages");
	CU_ASSERT_EQUAL(nefs_error_set_ne(&err, EIO, 257, "no"), -EIO);
	CU_ASSERT_EQUAL(err.ne, 257);
	nefs_error_clear(&err);
	CU_ASSERT_EQUAL(err.code, 0);
	CU_ASSERT_EQUAL(err.ne, 0);
	CU_ASSERT_STRING_EQUAL(err.text, "");
}

static void test_null(void)
{
	CU_ASSERT_EQUAL(nefs_error_set(NULL, EINVAL, "nobody reads this"), -EINVAL);
	nefs_error_prefix(NULL, "nor this");
}

static void test_prefix(void)
{
	struct nefs_error err = { 0 };

	nefs_error_prefix(&err, "web");
	CU_ASSERT_STRING_EQUAL(err.text, "");
	nefs_error_set(&err, EBUSY, "CPU 2 is taken");
	nefs_error_prefix(&err, "%s", "web");
	CU_ASSERT_EQUAL(err.code, EBUSY);
	CU_ASSERT_STRING_EQUAL(err.text, "web: CPU 2 is taken");
	/* The old sentence may be an argument of the new one. */
	nefs_error_set(&err, EIO, "again: %s", err.text);
	CU_ASSERT_STRING_EQUAL(err.text, "again: web: CPU 2 is taken");
}

static void test_cut(void)
{
	struct nefs_error err = { 0 };
	char *text = malloc(2 * NEFS_ERROR_TEXT_MAX);

	memset(text, 'x', 2 * NEFS_ERROR_TEXT_MAX);
	text[2 * NEFS_ERROR_TEXT_MAX - 1] = '\0';
	nefs_error_set(&err, EIO, "%s", text);
	CU_ASSERT_EQUAL(strlen(err.text), NEFS_ERROR_TEXT_MAX - 1);
	nefs_error_prefix(&err, "%s", "web");
	CU_ASSERT_EQUAL(strlen(err.text), NEFS_ERROR_TEXT_MAX - 1);
	CU_ASSERT_NSTRING_EQUAL(err.text, "web: xx", 7);
	/* A prefix that leaves no room changes nothing. */
	nefs_error_prefix(&err, "%s", text);
	CU_ASSERT_NSTRING_EQUAL(err.text, "web: xx", 7);
	free(text);
}

static const CU_TestInfo tests[] = {
	{ "code and sentence are set and cleared", test_set },
	{ "NULL swallows the sentence", test_null },
	{ "a prefix names the object", test_prefix },
	{ "a long sentence is cut", test_cut },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("error", tests, NULL, NULL);
}
