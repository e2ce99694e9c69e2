/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "journal.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
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

/* The character of UTF-8 that text begins with, and its length; 0: it begins with none. */
static size_t decode(const unsigned char *text, uint32_t *character)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t length = text[0] < 0xc2 ? 0 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;

	if (!length || text[0] > 0xf4)
		return 0;
	*character = text[0] & (0xffU >> (length + 1));
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		*character = *character << 6 | (text[i] & 0x3f);
	}
	if (*character < least[length] || *character > 0x10ffff ||
		(*character >= 0xd800 && *character < 0xe000))
		return 0;
	return length;
}

/* A sentence may name a file, and a file's name need not be text. */
static bool is_text(const char *bytes)
{
	const unsigned char *at = (const unsigned char *)bytes;
	uint32_t character;

	while (*at) {
		size_t length = *at < 0x80 ? 1 : decode(at, &character);

		if (!length)
			return false;
		at += length;
	}
	return true;
}

/*
 * A character as JSON has it in a string: in ASCII, and printable, as who reads journals on a terminal is not at
 * the mercy of names. Its length; the next one is behind *text.
 */
static size_t quote_character(const unsigned char **text, bool utf8, char quoted[16])
{
	static const char special[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
	uint32_t character = **text;
	size_t length = 1;
	const char *found;

	if (character >= 0x80 && utf8)
		length = decode(*text, &character);
	*text += length;
	if (character >= 0x10000)
		return (size_t)snprintf(quoted, 16, "\\u%04X\\u%04X",
			0xd800 + ((character - 0x10000) >> 10),
			0xdc00 + ((character - 0x10000) & 0x3ff));
	if (length > 1)
		return (size_t)snprintf(quoted, 16, "\\u%04X", character);
	found = strchr(special, (int)character);
	if (found)
		return (size_t)snprintf(quoted, 16, "\\%c", letters[found - special]);
	if (character < ' ')
		return (size_t)snprintf(quoted, 16, "\\u%04X", character);
	quoted[0] = character >= 0x7f ? '?' : (char)character;
	return 1;
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

static bool put_bytes(struct line *line, const char *bytes, size_t size)
{
	if (size > JOURNAL_LINE_MAX - line->size - sizeof("}\n"))
		return false;
	memcpy(line->text + line->size, bytes, size);
	line->size += size;
	return true;
}

/*
 * A member that is any text; words of ours and enclaves' names need no quotes (enclave.c). Into the line itself:
 * what tells of a shortage needs none itself.
 */
static void put_text(struct line *line, const char *member, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	const size_t before = line->size;
	bool fits, utf8;
	char quoted[16];

	if (!text || !*text)
		return;
	utf8 = is_text(text);
	fits = put_bytes(line, ",\"", 2) && put_bytes(line, member, strlen(member)) &&
	       put_bytes(line, "\":\"", 3);
	while (fits && *at) {
		size_t size = quote_character(&at, utf8, quoted);

		fits = put_bytes(line, quoted, size);
	}
	if (!fits || !put_bytes(line, "\"", 1))
		line->size = before;
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
