/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Equal records in a row: nefs/repeats.h. */
#include "cunit_main.h"
#include "failing_memory.h"
#include "repeats.h"
#include <errno.h>

static sd_event *event_loop;
static struct repeats repeats;
static char written[1024]; /* "refused memory; refused memory x2; " */

static void write_record(void *owner, const struct journal_event *event)
{
	size_t used = strlen(written);

	CU_ASSERT_PTR_EQUAL(owner, written);
	used += (size_t)snprintf(written + used, sizeof(written) - used, "%s", event->event);
	if (event->file)
		used += (size_t)snprintf(
			written + used, sizeof(written) - used, " %s", event->file);
	if (event->count)
		used += (size_t)snprintf(
			written + used, sizeof(written) - used, " x%u", event->count);
	snprintf(written + used, sizeof(written) - used, "; ");
}

static void set_up(void)
{
	CU_ASSERT_FATAL(sd_event_new(&event_loop) >= 0);
	repeats = (struct repeats){ 0 };
	repeats_init(&repeats, event_loop, write_record, written);
	*written = '\0';
}

static void tear_down(void)
{
	repeats_release(&repeats);
	sd_event_unref(event_loop);
}

static void refuse(const char *file, const char *error, uid_t uid)
{
	char own_file[16], own_error[16];
	const struct journal_event event = { .event = "refused",
		.file = strcpy(own_file, file),
		.error = strcpy(own_error, error),
		.errno_code = EINVAL,
		.uid = uid,
		.has_uid = true };

	repeats_add(&repeats, &event);
	memset(own_file, 'x', sizeof(own_file));
	memset(own_error, 'x', sizeof(own_error));
}

static void tell(const char *word)
{
	const struct journal_event event = { .event = word };

	repeats_add(&repeats, &event);
}

static void test_equal_ones_are_counted(void)
{
	for (int i = 0; i < 5; i++)
		refuse("memory", "odd", 0);
	CU_ASSERT_STRING_EQUAL(written, "refused memory; ");
	tell("starting");
	CU_ASSERT_STRING_EQUAL(written, "refused memory; refused memory x4; starting; ");
	refuse("memory", "odd", 0);
	CU_ASSERT_STRING_EQUAL(
		written, "refused memory; refused memory x4; starting; refused memory; ");
}

static void test_others_are_not(void)
{
	refuse("memory", "odd", 0);
	refuse("memory", "small", 0);
	refuse("vcpus", "small", 0);
	refuse("vcpus", "small", 1);
	CU_ASSERT_STRING_EQUAL(
		written, "refused memory; refused memory; refused vcpus; refused vcpus; ");
}

static void test_in_turn(void)
{
	for (int i = 0; i < 5; i++) {
		refuse("memory", "odd", 0);
		refuse("vcpus", "few", 0);
		refuse("memory", "odd", 1);
	}
	CU_ASSERT_STRING_EQUAL(written, "refused memory; refused vcpus; refused memory; ");
	/* What was counted comes before another, and the same are known after it, too. */
	refuse("cid", "odd", 0);
	CU_ASSERT_STRING_EQUAL(written,
		"refused memory; refused vcpus; refused memory; "
		"refused memory x4; refused vcpus x4; refused memory x4; refused cid; ");
	refuse("memory", "odd", 0);
	refuse("cid", "odd", 0);
	*written = '\0';
	tell("starting");
	CU_ASSERT_STRING_EQUAL(written, "refused memory x1; refused cid x1; starting; ");
}

/* Those that are known are the last ones: there is no more memory for them than that. */
static void test_too_many_in_turn(void)
{
	char error[16];

	for (int turn = 0; turn < 2; turn++)
		for (int i = 0; i < REPEATS_KEPT + 1; i++) {
			snprintf(error, sizeof(error), "%d", i);
			*written = '\0';
			refuse("memory", error, 0);
			CU_ASSERT_STRING_EQUAL(written, "refused memory; ");
		}
	CU_ASSERT_EQUAL(repeats.known_count, REPEATS_KEPT);
	*written = '\0';
	refuse("memory", "8", 0);
	refuse("memory", "1", 0);
	CU_ASSERT_STRING_EQUAL(written, "");
	refuse("memory", "0", 0);
	CU_ASSERT_STRING_EQUAL(written, "refused memory x1; refused memory x1; refused memory; ");
}

static void test_events_are_never_counted(void)
{
	const struct journal_event crash = { .event = "crashed", .error = "it is gone" };

	tell("starting");
	tell("starting");
	CU_ASSERT_STRING_EQUAL(written, "starting; starting; ");
	*written = '\0';
	refuse("memory", "odd", 0);
	repeats_add(&repeats, &crash);
	repeats_add(&repeats, &crash);
	refuse("memory", "odd", 0);
	CU_ASSERT_STRING_EQUAL(written, "refused memory; crashed; crashed; refused memory; ");
}

static void test_told_in_a_while(void)
{
	refuse("memory", "odd", 0);
	refuse("memory", "odd", 0);
	refuse("memory", "odd", 0);
	/* No time passes for the test: the timer is there, and is not late. */
	CU_ASSERT_PTR_NOT_NULL_FATAL(repeats.timer);
	sd_event_source_set_time(repeats.timer, 1);
	CU_ASSERT_TRUE(sd_event_run(event_loop, UINT64_MAX) > 0);
	CU_ASSERT_STRING_EQUAL(written, "refused memory; refused memory x2; ");
	/* They go on being the same. */
	refuse("memory", "odd", 0);
	CU_ASSERT_STRING_EQUAL(written, "refused memory; refused memory x2; ");
	repeats_flush(&repeats);
	CU_ASSERT_STRING_EQUAL(written, "refused memory; refused memory x2; refused memory x1; ");
	repeats_flush(&repeats);
	CU_ASSERT_STRING_EQUAL(written, "refused memory; refused memory x2; refused memory x1; ");
}

static void test_no_memory(void)
{
	memory_fail(0);
	refuse("memory", "odd", 0);
	CU_ASSERT_TRUE(memory_failed());
	refuse("memory", "odd", 0);
	CU_ASSERT_STRING_EQUAL(written, "refused memory; refused memory; ");
}

static const CU_TestInfo tests[] = {
	{ "equal ones in a row are counted", test_equal_ones_are_counted },
	{ "others are not", test_others_are_not },
	{ "some in turn are counted each", test_in_turn },
	{ "of too many in turn the last are", test_too_many_in_turn },
	{ "what simply happens is never counted", test_events_are_never_counted },
	{ "the count is told in a while", test_told_in_a_while },
	{ "without memory each is told", test_no_memory },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("repeats", tests, set_up, tear_down);
}
