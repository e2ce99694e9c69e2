/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "repeats.h"
#include <nefs/clock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A record that was written, and how often it came since. */
struct repeat {
	TAILQ_ENTRY(repeat) siblings;
	struct journal_event event; /* its file and error are in `text` */
	unsigned int more;	    /* not told yet */
	char text[];
};

static bool same_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool equal(const struct journal_event *a, const struct journal_event *b)
{
	return same_text(a->event, b->event) && same_text(a->file, b->file) &&
	       same_text(a->error, b->error) && a->errno_code == b->errno_code &&
	       a->has_uid == b->has_uid && a->uid == b->uid && a->has_slot == b->has_slot &&
	       a->slot == b->slot && a->cid == b->cid && a->writer == b->writer &&
	       a->asked == b->asked;
}

static struct repeat *find(struct repeats *repeats, const struct journal_event *event)
{
	struct repeat *repeat;

	TAILQ_FOREACH(repeat, &repeats->known, siblings)
	if (equal(&repeat->event, event))
		break;
	return repeat;
}

static void forget(struct repeats *repeats, struct repeat *repeat)
{
	TAILQ_REMOVE(&repeats->known, repeat, siblings);
	repeats->known_count--;
	free(repeat);
}

static void forget_all(struct repeats *repeats)
{
	struct repeat *repeat;

	while ((repeat = TAILQ_FIRST(&repeats->known)))
		forget(repeats, repeat);
}

/* Without memory for it it is not known, and the next is written. */
static void keep(struct repeats *repeats, const struct journal_event *event)
{
	const char *file = event->file ? event->file : "";
	size_t error_size = strlen(event->error) + 1, file_size = strlen(file) + 1;
	struct repeat *repeat = calloc(1, sizeof(*repeat) + error_size + file_size);

	if (!repeat)
		return;
	if (repeats->known_count == REPEATS_KEPT)
		forget(repeats, TAILQ_FIRST(&repeats->known));
	repeat->event = *event;
	repeat->event.error = memcpy(repeat->text, event->error, error_size);
	memcpy(repeat->text + error_size, file, file_size);
	repeat->event.file = event->file ? repeat->text + error_size : NULL;
	/* It may have another by the time it is told. */
	repeat->event.enclave = NULL;
	TAILQ_INSERT_TAIL(&repeats->known, repeat, siblings);
	repeats->known_count++;
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
	int armed = SD_EVENT_OFF;

	if (!repeats->timer) {
		sd_event_add_time(repeats->event, &repeats->timer, CLOCK_MONOTONIC, until, 0,
			on_timer, repeats);
		if (repeats->timer)
			sd_event_source_set_description(
				repeats->timer, "equal records of a journal");
		return;
	}
	sd_event_source_get_enabled(repeats->timer, &armed);
	if (armed != SD_EVENT_OFF)
		return;
	sd_event_source_set_time(repeats->timer, until);
	sd_event_source_set_enabled(repeats->timer, SD_EVENT_ONESHOT);
}

void repeats_init(struct repeats *repeats, sd_event *event, repeats_write *write, void *owner)
{
	repeats->event = event;
	repeats->write = write;
	repeats->owner = owner;
	TAILQ_INIT(&repeats->known);
}

static bool is_counted(const struct journal_event *event)
{
	return event->error && *event->error &&
	       (strcmp(event->event, "refused") == 0 || strcmp(event->event, "failed") == 0);
}

void repeats_add(struct repeats *repeats, const struct journal_event *event)
{
	bool counted = is_counted(event);
	struct repeat *repeat = counted ? find(repeats, event) : NULL;

	if (repeat) {
		repeat->more++;
		set_timer(repeats);
		return;
	}
	/* What was counted came before this. */
	repeats_flush(repeats);
	repeats->write(repeats->owner, event);
	if (counted)
		keep(repeats, event);
	else
		forget_all(repeats);
}

void repeats_add_refusal(struct repeats *repeats, const char *file, uid_t uid, uid_t writer,
	const struct nefs_error *err)
{
	const struct journal_event event = {
		.event = "refused",
		.file = file,
		.uid = uid,
		.has_uid = uid != (uid_t)-1,
		.error = err->text,
		.errno_code = err->code,
		.writer = writer,
		.asked = true,
	};

	repeats_add(repeats, &event);
}

void repeats_flush(struct repeats *repeats)
{
	struct repeat *repeat;

	if (repeats->timer)
		sd_event_source_set_enabled(repeats->timer, SD_EVENT_OFF);
	TAILQ_FOREACH(repeat, &repeats->known, siblings)
	{
		struct journal_event event = repeat->event;

		if (!repeat->more)
			continue;
		event.count = repeat->more;
		repeat->more = 0;
		repeats->write(repeats->owner, &event);
	}
}

void repeats_release(struct repeats *repeats)
{
	forget_all(repeats);
	repeats->timer = sd_event_source_disable_unref(repeats->timer);
}
