/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What control files accept (nefs/values.h). */
#include "cunit_main.h"
#include "values.h"
#include <errno.h>

static void test_numbers(void)
{
	static const struct {
		const char *text;
		int result;
		uint64_t value;
	} rows[] = { { "0", 0, 0 }, { "5", 0, 5 }, { "0x10", 0, 16 }, { "0XfF", 0, 255 },
		{ "100", 0, 100 }, { "101", -ERANGE, 0 }, { "18446744073709551616", -ERANGE, 0 },
		{ "0x10000000000000000", -ERANGE, 0 }, { "010", -EINVAL, 0 }, { "00", -EINVAL, 0 },
		{ "", -EINVAL, 0 }, { "0x", -EINVAL, 0 }, { "+5", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 }, { "5 5", -EINVAL, 0 }, { "5a", -EINVAL, 0 },
		{ "1.5", -EINVAL, 0 } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nefs_error err = { 0 };
		uint64_t value = 7777;
		int result = value_number(
			rows[i].text, 0, rows[i].value > 100 ? 255 : 100, &value, &err);

		CU_ASSERT_EQUAL(result, rows[i].result);
		CU_ASSERT_EQUAL(value, result ? 7777 : rows[i].value);
		CU_ASSERT_EQUAL(err.code, -result);
		CU_ASSERT_EQUAL(err.text[0] != '\0', result != 0);
	}
}

static void test_sizes(void)
{
	static const struct {
		const char *text;
		int result;
		uint64_t value;
	} rows[] = { { "512M", 0, 512ULL << 20 }, { "512m", 0, 512ULL << 20 },
		{ "1G", 0, 1ULL << 30 }, { "2t", 0, 2ULL << 40 }, { "4K", 0, 4096 },
		{ "4096", 0, 4096 }, { "0x1000", 0, 4096 }, { "512MB", -EINVAL, 0 },
		{ "512MiB", -EINVAL, 0 }, { "512 M", -EINVAL, 0 }, { "1.5G", -EINVAL, 0 },
		{ "+5", -EINVAL, 0 }, { "M", -EINVAL, 0 }, { "", -EINVAL, 0 }, { "5P", -EINVAL, 0 },
		{ "16777216T", -ERANGE, 0 }, { "18446744073709551615G", -ERANGE, 0 } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nefs_error err = { 0 };
		uint64_t value = 7777;
		int result = value_size(rows[i].text, 0, UINT64_MAX, &value, &err);

		CU_ASSERT_EQUAL(result, rows[i].result);
		CU_ASSERT_EQUAL(value, result ? 7777 : rows[i].value);
		CU_ASSERT_EQUAL(err.code, -result);
	}
}

static void test_cpu_lists(void)
{
	static const struct {
		const char *text;
		int result;
		size_t count;
		uint32_t first, last;
	} rows[] = { { "2-3", 0, 2, 2, 3 }, { "8,2-3", 0, 3, 2, 8 }, { "5", 0, 1, 5, 5 },
		{ "2,2,2-2", 0, 1, 2, 2 }, { "0-65535", 0, 65536, 0, 65535 },
		{ "65536", -ERANGE, 0, 0, 0 }, { "0-65536", -ERANGE, 0, 0, 0 },
		{ "3-2", -EINVAL, 0, 0, 0 }, { "2-", -EINVAL, 0, 0, 0 }, { "-2", -EINVAL, 0, 0, 0 },
		{ "2,,3", -EINVAL, 0, 0, 0 }, { "2,", -EINVAL, 0, 0, 0 },
		{ ",2", -EINVAL, 0, 0, 0 }, { "2 3", -EINVAL, 0, 0, 0 }, { "a", -EINVAL, 0, 0, 0 },
		{ "", -EINVAL, 0, 0, 0 } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nefs_error err = { 0 };
		uint32_t *cpus = NULL;
		size_t count = 0;
		int result = value_cpu_list(rows[i].text, &cpus, &count, &err);

		CU_ASSERT_EQUAL(result, rows[i].result);
		CU_ASSERT_EQUAL(count, rows[i].count);
		if (!result) {
			CU_ASSERT_EQUAL(cpus[0], rows[i].first);
			CU_ASSERT_EQUAL(cpus[count - 1], rows[i].last);
		}
		free(cpus);
	}
}

static void test_trim(void)
{
	char value[VALUE_MAX + 1], long_text[VALUE_MAX + 1];
	struct nefs_error err = { 0 };

	CU_ASSERT_EQUAL(value_trim(" \t5 \n", 5, value, &err), 0);
	CU_ASSERT_STRING_EQUAL(value, "5");
	CU_ASSERT_EQUAL(value_trim("\n", 1, value, &err), 0);
	CU_ASSERT_STRING_EQUAL(value, "");
	CU_ASSERT_EQUAL(value_trim("1\0", 2, value, &err), -EINVAL);
	memset(long_text, ' ', sizeof(long_text));
	CU_ASSERT_EQUAL(value_trim(long_text, VALUE_MAX, value, &err), 0);
	CU_ASSERT_EQUAL(value_trim(long_text, VALUE_MAX + 1, value, &err), -E2BIG);
}

static const CU_TestInfo tests[] = {
	{ "numbers", test_numbers },
	{ "sizes", test_sizes },
	{ "cpu-lists", test_cpu_lists },
	{ "white space, NUL bytes, length", test_trim },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("values", tests, NULL, NULL);
}
