/* SPDX-License-Identifier: GPL-2.0-or-later */
/* include/nefs/number.h: what is a number in nefs, and what is none. */
#include "cunit_main.h"
#include <errno.h>
#include <nefs/number.h>

/* Parsed with the limits and the base of each row; what is refused leaves this as it was. */
#define UNTOUCHED 77

static void test_parse(void)
{
	static const struct {
		const char *text;
		enum number_base base;
		uint64_t min, max;
		int result;
		uint64_t number;
	} rows[] = {
		{ "0", NUMBER_DECIMAL, 0, 9, 0, 0 },
		{ "5", NUMBER_DECIMAL, 5, 5, 0, 5 },
		{ "18446744073709551615", NUMBER_DECIMAL, 0, UINT64_MAX, 0, UINT64_MAX },
		{ "0x1f", NUMBER_HEX_TOO, 0, 100, 0, 31 },
		{ "0X1F", NUMBER_HEX_TOO, 0, 100, 0, 31 },
		{ "0x0010", NUMBER_HEX_TOO, 0, 100, 0, 16 },
		{ "0xffffffffffffffff", NUMBER_HEX_TOO, 0, UINT64_MAX, 0, UINT64_MAX },
		{ "31", NUMBER_HEX_TOO, 0, 100, 0, 31 },
		{ "4", NUMBER_DECIMAL, 5, 9, -ERANGE, UNTOUCHED },
		{ "10", NUMBER_DECIMAL, 5, 9, -ERANGE, UNTOUCHED },
		{ "18446744073709551616", NUMBER_DECIMAL, 0, UINT64_MAX, -ERANGE, UNTOUCHED },
		{ "99999999999999999999999", NUMBER_DECIMAL, 0, UINT64_MAX, -ERANGE, UNTOUCHED },
		{ "0x10000000000000000", NUMBER_HEX_TOO, 0, UINT64_MAX, -ERANGE, UNTOUCHED },
		{ "", NUMBER_DECIMAL, 0, 99, -EINVAL, UNTOUCHED },
		{ "010", NUMBER_DECIMAL, 0, 99, -EINVAL, UNTOUCHED },
		{ "00", NUMBER_DECIMAL, 0, 99, -EINVAL, UNTOUCHED },
		{ "+5", NUMBER_DECIMAL, 0, 99, -EINVAL, UNTOUCHED },
		{ "-5", NUMBER_DECIMAL, 0, 99, -EINVAL, UNTOUCHED },
		{ " 5", NUMBER_DECIMAL, 0, 99, -EINVAL, UNTOUCHED },
		{ "5 ", NUMBER_DECIMAL, 0, 99, -EINVAL, UNTOUCHED },
		{ "5\n", NUMBER_DECIMAL, 0, 99, -EINVAL, UNTOUCHED },
		{ "5.0", NUMBER_DECIMAL, 0, 99, -EINVAL, UNTOUCHED },
		{ "1e3", NUMBER_DECIMAL, 0, 9999, -EINVAL, UNTOUCHED },
		{ "0x5", NUMBER_DECIMAL, 0, 99, -EINVAL, UNTOUCHED },
		{ "0x", NUMBER_HEX_TOO, 0, 99, -EINVAL, UNTOUCHED },
		{ "x5", NUMBER_HEX_TOO, 0, 99, -EINVAL, UNTOUCHED },
		{ "0x+5", NUMBER_HEX_TOO, 0, 99, -EINVAL, UNTOUCHED },
		{ "0x 5", NUMBER_HEX_TOO, 0, 99, -EINVAL, UNTOUCHED },
		{ "0x0x5", NUMBER_HEX_TOO, 0, 99, -EINVAL, UNTOUCHED },
		{ "0xg", NUMBER_HEX_TOO, 0, 99, -EINVAL, UNTOUCHED },
		{ "1f", NUMBER_HEX_TOO, 0, 99, -EINVAL, UNTOUCHED },
		{ "\xd9\xa3", NUMBER_DECIMAL, 0, 99, -EINVAL, UNTOUCHED },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const size_t sizes[] = { strlen(rows[i].text), SIZE_MAX };

		for (size_t j = 0; j < 2; j++) {
			uint64_t number = UNTOUCHED;
			int result = nefs_number_parse(rows[i].text, sizes[j], rows[i].base,
				rows[i].min, rows[i].max, &number);

			if (result != rows[i].result || number != rows[i].number)
				fprintf(stderr, "\"%s\": %d, %llu\n", rows[i].text, result,
					(unsigned long long)number);
			CU_ASSERT_EQUAL(result, rows[i].result);
			CU_ASSERT_EQUAL(number, rows[i].number);
		}
	}
}

/* No byte behind size is looked at, and what follows is left to the caller. */
static void test_scan(void)
{
	uint64_t number = UNTOUCHED;
	bool overflow = false;
	char *exact = malloc(3);

	memcpy(exact, "123", 3);
	CU_ASSERT_EQUAL(nefs_number_scan(exact, 3, NUMBER_HEX_TOO, &number, &overflow), 3);
	CU_ASSERT_EQUAL(number, 123);
	CU_ASSERT_EQUAL(nefs_number_scan(exact, 2, NUMBER_HEX_TOO, &number, &overflow), 2);
	CU_ASSERT_EQUAL(number, 12);
	CU_ASSERT_EQUAL(nefs_number_scan(exact, 0, NUMBER_HEX_TOO, &number, &overflow), 0);
	memcpy(exact, "0x1", 3);
	CU_ASSERT_EQUAL(nefs_number_scan(exact, 1, NUMBER_HEX_TOO, &number, &overflow), 1);
	CU_ASSERT_EQUAL(number, 0);
	CU_ASSERT_EQUAL(nefs_number_scan(exact, 2, NUMBER_HEX_TOO, &number, &overflow), 0);
	CU_ASSERT_EQUAL(nefs_number_scan(exact, 3, NUMBER_HEX_TOO, &number, &overflow), 3);
	CU_ASSERT_EQUAL(number, 1);
	free(exact);
	CU_ASSERT_EQUAL(nefs_number_scan("512M", SIZE_MAX, NUMBER_HEX_TOO, &number, &overflow), 3);
	CU_ASSERT_EQUAL(number, 512);
	CU_ASSERT_EQUAL(nefs_number_scan("2-3", SIZE_MAX, NUMBER_HEX_TOO, &number, &overflow), 1);
	CU_ASSERT_FALSE(overflow);
	/* Too big is read to its end, too: 22 digits, and the rest is somebody else's. */
	CU_ASSERT_EQUAL(nefs_number_scan("9999999999999999999999K", SIZE_MAX, NUMBER_DECIMAL,
				&number, &overflow),
		22);
	CU_ASSERT_EQUAL(number, UINT64_MAX);
	CU_ASSERT_TRUE(overflow);
}

static const CU_TestInfo tests[] = {
	{ "a number is digits, or 0x where that is allowed, and nothing else", test_parse },
	{ "a number at the beginning of a text", test_scan },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("number", tests, NULL, NULL);
}
