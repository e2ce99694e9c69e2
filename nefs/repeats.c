/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "repeats.h"
#include <nefs/clock.h>
#include <stdlib.h>
#include <string.h>

static bool same_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool equal(const struct journal_event *a, const struct journal_event *b)
{
	return same_text(a->event, b->event) && same_text(a->file, b->file) &&
	       same_text(a->error, b->error) && a->errno_code == b->errno_code &&
	       a->has_uid == b->has_uid && a->uid == b->uid && a->has_slot == b->has_slot &&
	       a->slot == b->slot && a->cid == b->cid;
}

static void forget(struct repeats *repeats)
{
	free((char *)repeats->last.file);
	free((char *)repeats->last.error);
	repeats->last = (struct journal_event){ 0 };
}

/* Without memory for it there is none, and the next is written. */
static void keep(struct repeats *repeats, const struct journal_event *event)
{
	char *file = event->file ? strdup(event->file) : NULL, *error = strdup(event->error);

	forget(repeats);
	if (!error || (event->file && !file)) {
		free(file);
		free(error);
		return;
	}
	repeats->last = *event;
	repeats->last.file = file;
	repeats->last.error = error;
	/* It may have another by the time it is told. */
	repeats->last.enclave = NULL;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	repeats_flush(userdata);
	return 0;
}

/* Has them told in a while, if that is not so already. Without a timer it is the next record that does. */
static void set_timer(struct repeats *repeats)
{
	uint64_t until = nefs_now_usec() + REPEATS_USEC;

	if (repeats->more != 1)
		return;
	if (repeats->timer) {
		sd_event_source_set_time(repeats->timer, until);
		sd_event_source_set_enabled(repeats->timer, SD_EVENT_ONESHOT);
		return;
	}
	sd_event_add_time(
		repeats->event, &repeats->timer, CLOCK_MONOTONIC, until, 0, on_timer, repeats);
	if (repeats->timer)
		sd_event_source_set_description(repeats->timer, "equal records of a journal");
}

void repeats_add(struct repeats *repeats, const struct journal_event *event)
{
	bool counted = event->error && *event->error;

	if (counted && repeats->last.event && equal(&repeats->last, event)) {
		repeats->more++;
		set_timer(repeats);
		return;
	}
	repeats_flush(repeats);
	repeats->write(repeats->owner, event);
	if (counted)
		keep(repeats, event);
	else
		forget(repeats);
}

void repeats_add_refusal(
	struct repeats *repeats, const char *file, uid_t uid, const struct nefs_error *err)
{
	const struct journal_event event = {
		.event = "refused",
		.file = file,
		.uid = uid,
		.has_uid = uid != (uid_t)-1,
		.error = err->text,
		.errno_code = err->code,
	};

	repeats_add(repeats, &event);
}

void repeats_flush(struct repeats *repeats)
{
	struct journal_event event = repeats->last;

	if (repeats->timer)
		sd_event_source_set_enabled(repeats->timer, SD_EVENT_OFF);
	if (!repeats->more)
		return;
	event.count = repeats->more;
	repeats->more = 0;
	repeats->write(repeats->owner, &event);
}

void repeats_release(struct repeats *repeats)
{
	forget(repeats);
	repeats->more = 0;
	repeats->timer = sd_event_source_disable_unref(repeats->timer);
}
