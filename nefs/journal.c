/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "journal.h"
#include <inttypes.h>
#include <jansson.h>
#include <nefs/cleanup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* RFC 3339, UTC, without what is below a second: made once a second. */
static const char *date_of(struct journal *journal, time_t second)
{
	struct tm tm;

	if (second != journal->second) {
		gmtime_r(&second, &tm);
		strftime(journal->date, sizeof(journal->date), "%Y-%m-%dT%H:%M:%S", &tm);
		journal->second = second;
	}
	return journal->date;
}

/* A JSON string of any text, in ASCII, malloc'ed, with the quotes. NULL: no memory. */
static char *quote(const char *text)
{
	json_t *string = json_string(text);
	char *quoted;

	if (!string) {
		/* A sentence may name a file, and a file's name need not be text. */
		NEFS_AUTO_FREE char *ascii = strdup(text);

		for (char *at = ascii; at && *at; at++)
			if ((unsigned char)*at >= 0x80)
				*at = '?';
		string = ascii ? json_string(ascii) : NULL;
	}
	/* What is printable stays so: who reads journals on a terminal is not at the mercy of names. */
	quoted = json_dumps(string, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	json_decref(string);
	/* The one control character that JSON leaves as it is. */
	for (char *at = quoted; at && *at; at++)
		if (*at == 0x7f)
			*at = '?';
	return quoted;
}

/* A line under way. What does not fit is left out, member by member. */
struct line {
	char *text;
	size_t size;
};

static void put(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct line *line, const char *format, ...)
{
	/* The end of the line always fits. */
	size_t room = JOURNAL_LINE_MAX - line->size - sizeof("}\n");
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(line->text + line->size, room, format, arguments);
	va_end(arguments);
	if (length > 0 && (size_t)length < room)
		line->size += (size_t)length;
}

/* A member that is any text; words of ours and enclaves' names need no quotes (enclave.c). */
static void put_text(struct line *line, const char *member, const char *text)
{
	NEFS_AUTO_FREE char *quoted = text && *text ? quote(text) : NULL;

	if (quoted)
		put(line, ",\"%s\":%s", member, quoted);
}

static void put_errno(struct line *line, int code)
{
	const char *name = code ? strerrorname_np(code) : NULL;

	if (name)
		put(line, ",\"errno\":\"%s\"", name);
	else if (code)
		put(line, ",\"errno\":\"%d\"", code);
}

const char *journal_line(struct journal *journal, const struct journal_event *event, size_t *size)
{
	struct line line = { .text = journal->line };
	const char *quote = event->enclave ? "\"" : "";
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	/* All of what most records say, at once: a directory is made and removed in 50 us. */
	put(&line,
		"{\"time\":\"%s.%06ldZ\",\"seq\":%" PRIu64 ",\"enclave\":%s%s%s,\"event\":\"%s\"",
		date_of(journal, now.tv_sec), now.tv_nsec / 1000, ++journal->seq, quote,
		event->enclave ? event->enclave : "null", quote, event->event);
	if (event->old_name)
		put(&line, ",\"old_name\":\"%s\"", event->old_name);
	if (event->cid)
		put(&line, ",\"cid\":%" PRIu64, event->cid);
	/* As text, like the slot file: JSON readers lose the low bits of large numbers. */
	if (event->has_slot)
		put(&line, ",\"slot\":\"0x%" PRIx64 "\"", event->slot);
	put_text(&line, "file", event->file);
	if (strcmp(event->event, "refused") == 0)
		put_errno(&line, event->errno_code);
	if (event->has_uid)
		put(&line, ",\"uid\":%u", event->uid);
	if (event->count)
		put(&line, ",\"count\":%u", event->count);
	put_text(&line, "error", event->error);
	memcpy(line.text + line.size, "}\n", 2);
	*size = line.size + 2;
	return journal->line;
}
