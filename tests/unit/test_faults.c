/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The fault plan: what is understood, what is refused and how, what strikes when. */
#include "cunit_main.h"
#include "faults.h"
#include <errno.h>
#include <nefs/ne_pci.h>

static struct fault_plan plan;
static unsigned int spurious;
static struct nefs_error err;

static int parse(const char *text)
{
	nefs_error_clear(&err);
	return fault_plan_parse(text, strlen(text), &plan, &spurious, &err);
}

static void test_rules(void)
{
	CU_ASSERT_EQUAL(parse("SLOT_ADD_MEM fail 12\nENCLAVE_START delay 250 3\n"
			      "  SLOT_INFO\tdrop   1 \nSLOT_FREE drop"),
		0);
	CU_ASSERT_EQUAL_FATAL(plan.count, 4);
	CU_ASSERT_EQUAL(spurious, 0);
	CU_ASSERT_EQUAL(plan.rules[0].command, NE_CMD_SLOT_ADD_MEM);
	CU_ASSERT_EQUAL(plan.rules[0].kind, FAULT_FAIL);
	CU_ASSERT_EQUAL(plan.rules[0].value, 12);
	CU_ASSERT_TRUE(plan.rules[0].forever);
	CU_ASSERT_EQUAL(plan.rules[1].command, NE_CMD_ENCLAVE_START);
	CU_ASSERT_EQUAL(plan.rules[1].kind, FAULT_DELAY);
	CU_ASSERT_EQUAL(plan.rules[1].value, 250);
	CU_ASSERT_FALSE(plan.rules[1].forever);
	CU_ASSERT_EQUAL(plan.rules[1].left, 3);
	CU_ASSERT_EQUAL(plan.rules[2].kind, FAULT_DROP);
	CU_ASSERT_EQUAL(plan.rules[2].left, 1);
	CU_ASSERT_TRUE(plan.rules[3].forever);
}

static void test_every_command(void)
{
	static const char *const names[] = { "ENCLAVE_START", "ENCLAVE_GET_SLOT", "ENCLAVE_STOP",
		"SLOT_ALLOC", "SLOT_FREE", "SLOT_ADD_MEM", "SLOT_ADD_VCPU", "SLOT_COUNT",
		"NEXT_SLOT", "SLOT_INFO", "SLOT_ADD_BULK_VCPUS" };
	char text[64];

	for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(text, sizeof(text), "%s drop\n", names[i]);
		CU_ASSERT_EQUAL(parse(text), 0);
		CU_ASSERT_EQUAL(plan.count, 1);
		CU_ASSERT_EQUAL(plan.rules[0].command, i + 1);
	}
}

static void test_clear(void)
{
	static const char *const empty[] = { "", "\n", " \n\n\t\n" };

	for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
		CU_ASSERT_EQUAL(parse("SLOT_FREE drop"), 0);
		CU_ASSERT_EQUAL(plan.count, 1);
		CU_ASSERT_EQUAL(parse(empty[i]), 0);
		CU_ASSERT_EQUAL(plan.count, 0);
	}
}

static void test_spurious(void)
{
	CU_ASSERT_EQUAL(parse("event spurious\nSLOT_FREE drop\n event  spurious \n"), 0);
	CU_ASSERT_EQUAL(spurious, 2);
	CU_ASSERT_EQUAL(plan.count, 1);
}

/* Each bad text is refused with this code, names its line, and leaves the old plan alone. */
static void refuse(const char *text, int code, const char *sentence)
{
	CU_ASSERT_EQUAL(parse("SLOT_COUNT fail 7\nevent spurious"), 0);
	if (parse(text) != -code || err.code != code)
		fprintf(stderr, "%s: %d %s\n", text, err.code, err.text);
	CU_ASSERT_EQUAL(err.code, code);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, sentence));
	CU_ASSERT_EQUAL(plan.count, 1);
	CU_ASSERT_EQUAL(plan.rules[0].value, 7);
	CU_ASSERT_EQUAL(spurious, 1);
}

static void test_refusals(void)
{
	refuse("SLOT_FOO fail 5", EINVAL, "line 1: SLOT_FOO is no command");
	refuse("SLOT_FOO fail 5", EINVAL, "SLOT_ADD_BULK_VCPUS, or event");
	refuse("slot_free fail 5", EINVAL, "line 1");
	refuse("SLOT_FREE drop\nSLOT_FREE", EINVAL, "line 2: a command must be followed by fail");
	refuse("SLOT_FREE drop\n\nSLOT_FREE break", EINVAL, "line 3");
	refuse("SLOT_FREE fail", EINVAL, "lacks its ERRNO, a number from 1 to 4095");
	refuse("SLOT_FREE delay", EINVAL, "lacks its MS");
	refuse("SLOT_FREE fail EIO", EINVAL, "ERRNO is EIO; it must be a decimal number");
	refuse("SLOT_FREE fail 0x5", EINVAL, "0x5");
	refuse("SLOT_FREE fail 05", EINVAL, "05");
	refuse("SLOT_FREE fail -5", EINVAL, "-5");
	refuse("SLOT_FREE fail 5 x", EINVAL, "the count is x");
	refuse("SLOT_FREE fail 5 1 1", EINVAL, "behind the count");
	refuse("SLOT_FREE drop 1 1", EINVAL, "behind the count");
	refuse("event", EINVAL, "write event spurious");
	refuse("event crash", EINVAL, "write event spurious");
	refuse("event spurious 2", EINVAL, "write event spurious");
	refuse("SLOT_FREE fail 0", ERANGE, "from 1 to 4095");
	refuse("SLOT_FREE fail 4096", ERANGE, "from 1 to 4095");
	refuse("SLOT_FREE fail 18446744073709551621", ERANGE, "from 1 to 4095");
	refuse("SLOT_FREE delay 600001", ERANGE, "from 0 to 600000");
	refuse("SLOT_FREE drop 0", ERANGE, "from 1 to 1000000");
	refuse("SLOT_FREE drop 1000001", ERANGE, "from 1 to 1000000");
}

static void test_not_terminated(void)
{
	CU_ASSERT_EQUAL(fault_plan_parse("SLOT_FREE fail 55", 16, &plan, &spurious, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(plan.count, 1);
	CU_ASSERT_EQUAL(plan.rules[0].value, 5);
	/* A NUL is a byte like any other that is no command. */
	CU_ASSERT_EQUAL(fault_plan_parse("SLOT_FREE\0fail 5", 16, &plan, &spurious, NULL), -EINVAL);
}

static void test_bounds(void)
{
	char *text = malloc(FAULT_TEXT_MAX + 2);
	size_t used = 0;

	for (int i = 0; i < FAULT_RULES_MAX; i++)
		used += (size_t)sprintf(text + used, "SLOT_FREE drop\n");
	CU_ASSERT_EQUAL(parse(text), 0);
	CU_ASSERT_EQUAL(plan.count, FAULT_RULES_MAX);
	sprintf(text + used, "SLOT_FREE drop\n");
	CU_ASSERT_EQUAL(parse(text), -E2BIG);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "line 65: a fault plan has at most 64 rules"));
	memset(text, '\n', FAULT_TEXT_MAX + 1);
	text[FAULT_TEXT_MAX + 1] = '\0';
	CU_ASSERT_EQUAL(parse(text), -E2BIG);
	text[FAULT_TEXT_MAX] = '\0';
	CU_ASSERT_EQUAL(parse(text), 0);
	free(text);
}

static void test_strikes(void)
{
	struct fault_effect effect;

	CU_ASSERT_EQUAL(parse("SLOT_FREE fail 5 1\nSLOT_FREE fail 6 1\nSLOT_FREE delay 10 2\n"
			      "SLOT_FREE drop 1\nSLOT_INFO drop"),
		0);
	/* The first of each kind; a rule that is used up lets the next one in. */
	effect = fault_plan_strike(&plan, NE_CMD_SLOT_FREE);
	CU_ASSERT_EQUAL(effect.fail, 5);
	CU_ASSERT_EQUAL(effect.delay_ms, 10);
	CU_ASSERT_TRUE(effect.drop);
	effect = fault_plan_strike(&plan, NE_CMD_SLOT_FREE);
	CU_ASSERT_EQUAL(effect.fail, 6);
	CU_ASSERT_EQUAL(effect.delay_ms, 10);
	CU_ASSERT_FALSE(effect.drop);
	effect = fault_plan_strike(&plan, NE_CMD_SLOT_FREE);
	CU_ASSERT_EQUAL(effect.fail, 0);
	CU_ASSERT_EQUAL(effect.delay_ms, 0);
	for (int i = 0; i < 100; i++)
		CU_ASSERT_TRUE(fault_plan_strike(&plan, NE_CMD_SLOT_INFO).drop);
	effect = fault_plan_strike(&plan, 0xffffffff);
	CU_ASSERT_TRUE(!effect.fail && !effect.delay_ms && !effect.drop);
}

static const CU_TestInfo tests[] = {
	{ "rules are read, with and without a count", test_rules },
	{ "every command of the device can be struck", test_every_command },
	{ "an empty text clears the plan", test_clear },
	{ "spurious events are counted apart", test_spurious },
	{ "what is wrong is named with its line, and the old plan stays", test_refusals },
	{ "the text need not be terminated", test_not_terminated },
	{ "a plan is bounded", test_bounds },
	{ "rules strike in order until they are used up", test_strikes },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("faults", tests, NULL, NULL);
}
