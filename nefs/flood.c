/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "flood.h"
#include <nefs/clock.h>

uint64_t flood_spent(const struct flood *flood)
{
	uint64_t now = nefs_now_usec();

	return flood->spent_until > now ? flood->spent_until - now : 0;
}

static void spend(struct flood *flood, uint64_t records)
{
	flood->spent_until = nefs_now_usec() + flood_spent(flood) + records * FLOOD_USEC;
}

static bool is_silent(const struct flood *flood)
{
	int armed = SD_EVENT_OFF;

	if (flood->timer)
		sd_event_source_get_enabled(flood->timer, &armed);
	return armed != SD_EVENT_OFF;
}

void flood_flush(struct flood *flood)
{
	unsigned int count = flood->left_out;

	if (flood->timer)
		sd_event_source_set_enabled(flood->timer, SD_EVENT_OFF);
	if (!count)
		return;
	flood->left_out = 0;
	/* It is the writer's, too, or a flood would be worth a record more than others have. */
	spend(flood, 1);
	flood->tell(flood, count);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	flood_flush(userdata);
	return 0;
}

/* Without a timer it is the next record that is taken which tells what was left out. */
static void fall_silent(struct flood *flood)
{
	uint64_t until = nefs_now_usec() + FLOOD_SILENCE_USEC;

	if (is_silent(flood))
		return;
	if (flood->timer) {
		sd_event_source_set_time(flood->timer, until);
		sd_event_source_set_enabled(flood->timer, SD_EVENT_ONESHOT);
		return;
	}
	sd_event_add_time(flood->event, &flood->timer, CLOCK_MONOTONIC, until, 0, on_timer, flood);
	if (flood->timer)
		sd_event_source_set_description(flood->timer, "records that were left out");
}

bool flood_admit(struct flood *flood, size_t size, bool asked)
{
	const struct flood_limits *limits = flood->limits;
	uint64_t records = size / FLOOD_RECORD_SIZE + (size % FLOOD_RECORD_SIZE != 0);
	uint64_t most = limits->burst - (asked ? limits->reserve : 0);
	bool silent = is_silent(flood);

	if ((asked && silent) || flood_spent(flood) + records * FLOOD_USEC > most * FLOOD_USEC) {
		flood->left_out++;
		fall_silent(flood);
		return false;
	}
	if (!silent)
		flood_flush(flood);
	spend(flood, records);
	return true;
}

void flood_release(struct flood *flood)
{
	flood->left_out = 0;
	flood->timer = sd_event_source_disable_unref(flood->timer);
}
