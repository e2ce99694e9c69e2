/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What one writer may put into a text of many: nefs/flood.h. */
#include "cunit_main.h"
#include "flood.h"
#include <nefs/clock.h>

static const struct flood_limits limits = { .burst = 10, .reserve = 4 };
static sd_event *event_loop;
static struct flood flood;
static unsigned int told, told_count; /* how often, and how many in all */

static void tell(struct flood *of, unsigned int count)
{
	CU_ASSERT_PTR_EQUAL(of, &flood);
	CU_ASSERT_TRUE(count > 0);
	told++;
	told_count += count;
}

static void set_up(void)
{
	CU_ASSERT_FATAL(sd_event_new(&event_loop) >= 0);
	flood = (struct flood){ .event = event_loop, .limits = &limits, .tell = tell };
	told = told_count = 0;
}

static void tear_down(void)
{
	flood_release(&flood);
	sd_event_unref(event_loop);
}

/* So much time goes by, as far as this writer's share goes. */
static void pass(uint64_t usec)
{
	flood.spent_until -= usec < flood.spent_until ? usec : flood.spent_until;
}

static void end_silence(void)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(flood.timer);
	sd_event_source_set_time(flood.timer, 1);
	CU_ASSERT_TRUE(sd_event_run(event_loop, UINT64_MAX) > 0);
}

/* How many of so many are taken. */
static unsigned int admit(unsigned int count, size_t size, bool asked)
{
	unsigned int taken = 0;

	for (unsigned int i = 0; i < count; i++)
		taken += flood_admit(&flood, size, asked);
	return taken;
}

static void test_a_burst(void)
{
	CU_ASSERT_EQUAL(flood_spent(&flood), 0);
	CU_ASSERT_EQUAL(admit(6, 100, true), 6);
	CU_ASSERT_PTR_NULL(flood.timer);
	CU_ASSERT_TRUE(flood_spent(&flood) > 5 * FLOOD_USEC);
	CU_ASSERT_TRUE(flood_spent(&flood) <= 6 * FLOOD_USEC);
	CU_ASSERT_EQUAL(admit(100, 100, true), 0);
	CU_ASSERT_EQUAL(flood.left_out, 100);
	/* It is told later, as there may be more. */
	CU_ASSERT_EQUAL(told, 0);
}

static void test_what_nobody_asked_for_has_a_reserve(void)
{
	CU_ASSERT_EQUAL(admit(100, 100, true), 6);
	CU_ASSERT_EQUAL(admit(100, 100, false), 4);
	CU_ASSERT_EQUAL(told, 0);
	CU_ASSERT_EQUAL(flood.left_out, 94 + 96);
}

static void test_long_ones_count_more(void)
{
	CU_ASSERT_EQUAL(admit(10, FLOOD_RECORD_SIZE + 1, true), 3);
	pass(1000 * FLOOD_USEC);
	end_silence();
	pass(1000 * FLOOD_USEC);
	CU_ASSERT_EQUAL(admit(10, FLOOD_RECORD_SIZE, true), 6);
}

static void test_silence(void)
{
	CU_ASSERT_EQUAL(admit(7, 100, true), 6);
	pass(3 * FLOOD_USEC);
	/* There would be room, but not for what somebody does on and on. */
	CU_ASSERT_EQUAL(admit(5, 100, true), 0);
	CU_ASSERT_EQUAL(admit(1, 100, false), 1);
	CU_ASSERT_EQUAL(told, 0);
	end_silence();
	CU_ASSERT_EQUAL(told, 1);
	CU_ASSERT_EQUAL(told_count, 6);
	/* Of the three one was taken, and one told this. */
	CU_ASSERT_EQUAL(admit(5, 100, true), 1);
	end_silence();
	CU_ASSERT_EQUAL(told, 2);
	CU_ASSERT_EQUAL(told_count, 6 + 4);
}

static void test_nothing_more_is_nothing_told(void)
{
	CU_ASSERT_EQUAL(admit(7, 100, true), 6);
	flood_flush(&flood);
	CU_ASSERT_EQUAL(told_count, 1);
	flood_flush(&flood);
	CU_ASSERT_EQUAL(told, 1);
	pass(1000 * FLOOD_USEC);
	CU_ASSERT_EQUAL(admit(7, 100, true), 6);
	flood_release(&flood);
	CU_ASSERT_EQUAL(told, 1);
}

/* A flood is worth no more in the end than what time gives. */
static void test_on_and_on(void)
{
	unsigned int taken = admit(1000, 100, true);

	CU_ASSERT_EQUAL(taken, 6);
	for (int i = 0; i < 100; i++) {
		pass(FLOOD_SILENCE_USEC);
		end_silence();
		taken += admit(1000, 100, true);
	}
	CU_ASSERT_EQUAL(told, 100);
	CU_ASSERT_TRUE(taken + told <= 6 + 100 * FLOOD_SILENCE_USEC / FLOOD_USEC);
	CU_ASSERT_TRUE(taken >= 100);
	CU_ASSERT_EQUAL(taken + told_count + flood.left_out, 101 * 1000);
}

static const CU_TestInfo tests[] = {
	{ "so many at once", test_a_burst },
	{ "what nobody asked for has a reserve", test_what_nobody_asked_for_has_a_reserve },
	{ "a long one counts as several", test_long_ones_count_more },
	{ "silence, and then a count", test_silence },
	{ "no count of nothing", test_nothing_more_is_nothing_told },
	{ "on and on", test_on_and_on },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("flood", tests, set_up, tear_down);
}
