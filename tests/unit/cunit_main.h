/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The runner of every CUnit executable: one suite, its table of tests, its exit status.
 *
 *	static const CU_TestInfo tests[] = {
 *		{ "refuses a lone newline", test_newline },
 *		CU_TEST_INFO_NULL,
 *	};
 *
 *	int main(void)
 *	{
 *		return cunit_run("values", tests, NULL, NULL);
 *	}
 */
#ifndef NEFS_CUNIT_MAIN_H
#define NEFS_CUNIT_MAIN_H

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Most tests that one suite's table can list. */
#define CUNIT_TESTS_MAX 512

/*
 * Runs the tests of a table that ends with CU_TEST_INFO_NULL, between set_up and tear_down (called
 * around each test; may be NULL). Prints CUnit's verbose report. Returns the exit status for main:
 * 0 only if every listed test ran, at least one assertion was made, and all held.
 */
static inline int cunit_run(
	const char *suite, const CU_TestInfo *tests, CU_SetUpFunc set_up, CU_TearDownFunc tear_down)
{
	CU_TestInfo table[CUNIT_TESTS_MAX + 1];
	size_t count = 0;
	int status = EXIT_FAILURE;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (count < CUNIT_TESTS_MAX && tests[count].pName) {
		table[count] = tests[count];
		count++;
	}
	if (tests[count].pName) {
		fprintf(stderr, "%s: more than %d tests\n", suite, CUNIT_TESTS_MAX);
		return EXIT_FAILURE;
	}
	memset(&table[count], 0, sizeof(table[count]));

	CU_SuiteInfo suites[] = {
		{ .pName = suite,
			.pSetUpFunc = set_up,
			.pTearDownFunc = tear_down,
			.pTests = table },
		CU_SUITE_INFO_NULL,
	};

	if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS) {
		fprintf(stderr, "%s: %s\n", suite, CU_get_error_msg());
		goto out;
	}
	CU_basic_set_mode(CU_BRM_VERBOSE);
	if (CU_basic_run_tests() != CUE_SUCCESS) {
		fprintf(stderr, "%s: %s\n", suite, CU_get_error_msg());
		goto out;
	}
	if (count == 0 || CU_get_number_of_tests_run() != count) {
		fprintf(stderr, "%s: %u of %zu tests ran\n", suite, CU_get_number_of_tests_run(),
			count);
		goto out;
	}
	if (CU_get_number_of_asserts() == 0) {
		fprintf(stderr, "%s: the tests assert nothing\n", suite);
		goto out;
	}
	if (CU_get_number_of_failure_records() == 0 && CU_get_number_of_tests_failed() == 0)
		status = EXIT_SUCCESS;
out:
	CU_cleanup_registry();
	return status;
}

#endif
