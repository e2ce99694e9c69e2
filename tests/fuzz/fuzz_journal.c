/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Records of journals: whatever a sentence or a file's name is made of, what comes out is a line of JSON in
 * printable ASCII, no longer than it may be, that says what went in.
 */
#include "fuzz.h"
#include "journal.h"
#include <jansson.h>

static const char *const events[] = { "created", "removed", "renamed", "starting", "running",
	"failed", "stopping", "stopped", "crashed", "refused", "suppressed" };

/* Names of enclaves have passed a check, and need no quotes. */
static const char *name(struct input *input)
{
	static const char *const names[] = { "a", "web-1.example",
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "_@:-." };
	const uint64_t which = number(input, 1);

	return which < sizeof(names) / sizeof(names[0]) ? names[which] : NULL;
}

/* Any text, NULL included, of at most so many bytes. */
static char *text(struct input *input, size_t most)
{
	const uint8_t *data;
	size_t size = number(input, 2) % (most + 2);

	if (size > most)
		return NULL;
	size = bytes(input, &data, size);
	return text_of(data, size);
}

/* A member that is text: the same, or what its bytes become where they are none. */
static void check_text(const json_t *object, const char *member, const char *wanted)
{
	const json_t *value = json_object_get(object, member);
	const char *got = json_string_value(value);

	/* Left out: there was none, or no room. */
	if (!value)
		return;
	must(got && wanted && *wanted && strlen(got) == strlen(wanted));
	for (size_t i = 0; got[i]; i++)
		must(got[i] == wanted[i] || (got[i] == '?' && (unsigned char)wanted[i] >= 0x7f));
}

static void check_line(
	const struct journal_event *event, const char *line, size_t size, uint64_t seq)
{
	json_t *object;

	must(size <= JOURNAL_LINE_MAX && size >= 2 && line[size - 1] == '\n');
	for (size_t i = 0; i < size - 1; i++)
		must(line[i] >= ' ' && line[i] <= '~');
	/* jansson takes nothing but UTF-8. */
	object = json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL);
	must(json_is_object(object));
	must((uint64_t)json_integer_value(json_object_get(object, "seq")) == seq);
	must(!strcmp(json_string_value(json_object_get(object, "event")), event->event));
	must(json_string_length(json_object_get(object, "time")) == 27);
	if (event->enclave)
		check_text(object, "enclave", event->enclave);
	else
		must(json_is_null(json_object_get(object, "enclave")));
	check_text(object, "old_name", event->old_name);
	check_text(object, "file", event->file);
	check_text(object, "error", event->error);
	/* As long as sentences can be, there is room for all of them. */
	if (event->error && *event->error && strlen(event->error) < NEFS_ERROR_TEXT_MAX)
		must(json_object_get(object, "error"));
	must(!json_object_get(object, "errno") ==
		!(event->errno_code && strcmp(event->event, "refused") == 0));
	must(!event->has_uid == !json_object_get(object, "uid"));
	if (event->has_uid)
		must(json_integer_value(json_object_get(object, "uid")) == event->uid);
	json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct journal journal;
	struct input input = { data, size };

	while (input.size) {
		const uint8_t what = (uint8_t)number(&input, 1);
		struct journal_event event = {
			.event = events[what % (sizeof(events) / sizeof(events[0]))],
			.enclave = name(&input),
			.old_name = name(&input),
			.has_slot = what & 0x40,
			.has_uid = what & 0x80,
			.cid = number(&input, 4),
			.slot = number(&input, 8),
			.errno_code = (int)number(&input, 1),
			.uid = (uid_t)number(&input, 4),
			.count = (unsigned int)number(&input, 4),
		};
		char *file = text(&input, 255), *error = text(&input, NEFS_ERROR_TEXT_MAX - 1);
		size_t length;
		const char *line;

		event.file = file;
		event.error = error;
		line = journal_line(&journal, &event, &length);
		check_line(&event, line, length, journal.seq);
		free(file);
		free(error);
	}
	return 0;
}
