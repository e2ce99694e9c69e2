/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CBOR of unknown origin, and our own: the cursor stays inside its bytes and ends; what it has read is written
 * again, and is then the same; a buffer that is too small is never left.
 */
#include "cbor_cursor.h"
#include "cbor_writer.h"
#include "fuzz.h"

/* Heads that are written again. */
#define HEADS_MAX 4096

/* Can the writer say it? Of texts it takes those that are strings. */
static bool write_head(struct cbor_writer *writer, const struct cbor_head *head)
{
	char *text;

	switch (head->kind) {
	case CBOR_KIND_UINT:
		cbor_write_uint(writer, head->value);
		return true;
	case CBOR_KIND_NEGINT:
		if (head->value > INT64_MAX)
			return false;
		cbor_write_negative(writer, -1 - (int64_t)head->value);
		return true;
	case CBOR_KIND_BYTES:
		cbor_write_bytes(writer, head->data, (size_t)head->value);
		return true;
	case CBOR_KIND_ARRAY:
		cbor_write_array(writer, (size_t)head->value);
		return true;
	case CBOR_KIND_MAP:
		cbor_write_map(writer, (size_t)head->value);
		return true;
	case CBOR_KIND_TEXT:
		if (memchr(head->data, '\0', (size_t)head->value))
			return false;
		text = text_of(head->data, (size_t)head->value);
		cbor_write_text(writer, text);
		free(text);
		return true;
	default:
		return false;
	}
}

/* A head that was written must be read as it was; what follows a count is not there yet. */
static void read_again(const struct cbor_head *head, const uint8_t *written, size_t size)
{
	struct cbor_cursor cursor;
	struct cbor_head again;
	uint64_t left = head->kind == CBOR_KIND_ARRAY ? head->value
			: head->kind == CBOR_KIND_MAP ? 2 * head->value
						      : 0;
	uint8_t *room = malloc(size + (size_t)left + 1);

	must(room);
	memcpy(room, written, size);
	memset(room + size, 0, (size_t)left);
	cursor = (struct cbor_cursor){ room, size + (size_t)left };
	must(cbor_cursor_next(&cursor, &again));
	must(cursor.at == room + size && cursor.left == left);
	must(again.kind == head->kind && again.value == head->value);
	if (head->data)
		must(memcmp(again.data, head->data, (size_t)head->value) == 0);
	/* And all of it is one item. */
	cursor = (struct cbor_cursor){ room, size + (size_t)left };
	must(cbor_cursor_skip(&cursor) && cursor.left == 0);
	free(room);
}

static void write_again(const struct cbor_head *head)
{
	const bool is_string = head->kind == CBOR_KIND_BYTES || head->kind == CBOR_KIND_TEXT;
	const size_t room = 9 + (is_string ? (size_t)head->value : 0);
	struct cbor_writer writer = { .buffer = malloc(room), .room = room };

	must(writer.buffer);
	if (write_head(&writer, head)) {
		const size_t needed = writer.used;

		must(!writer.overflow && needed <= room);
		read_again(head, writer.buffer, needed);
		free(writer.buffer);
		/* One byte less, in a block of just that size. */
		writer = (struct cbor_writer){ .buffer = malloc(needed - 1 ? needed - 1 : 1),
			.room = needed - 1 };
		must(writer.buffer);
		write_head(&writer, head);
		must(writer.overflow);
	}
	free(writer.buffer);
}

static void walk(const uint8_t *data, size_t size)
{
	struct cbor_cursor cursor = { data, size };
	struct cbor_head head;
	unsigned int heads = 0;

	for (;;) {
		const struct cbor_cursor before = cursor;

		if (!cbor_cursor_next(&cursor, &head))
			break;
		must(cursor.at > before.at && cursor.left < before.left);
		must(cursor.at + cursor.left == data + size);
		if (head.kind == CBOR_KIND_BYTES || head.kind == CBOR_KIND_TEXT)
			must(head.data > before.at && head.data + head.value == cursor.at);
		else
			must(!head.data);
		if (head.kind == CBOR_KIND_ARRAY)
			must(head.value <= cursor.left);
		if (head.kind == CBOR_KIND_MAP)
			must(head.value <= cursor.left / 2);
		if (heads++ < HEADS_MAX)
			write_again(&head);
	}
}

/* A step over an item is the steps over what is in it. */
static void skip(const uint8_t *data, size_t size)
{
	struct cbor_cursor cursor = { data, size }, heads = { data, size };
	uint64_t items = 1;

	if (!cbor_cursor_skip(&cursor))
		return;
	for (; items > 0; items--) {
		struct cbor_head head;

		must(cbor_cursor_next(&heads, &head) && head.kind != CBOR_KIND_INDEFINITE);
		items += head.kind == CBOR_KIND_ARRAY ? head.value
			 : head.kind == CBOR_KIND_MAP ? 2 * head.value
			 : head.kind == CBOR_KIND_TAG ? 1
						      : 0;
	}
	must(heads.at == cursor.at && heads.left == cursor.left);
}

/* A signature's bytes, as an array of numbers. */
static void byte_array(const uint8_t *data, size_t size)
{
	const size_t room = 9 + 2 * size;
	struct cbor_writer writer = { .buffer = malloc(room), .room = room };
	struct cbor_cursor cursor;
	struct cbor_head head;

	must(writer.buffer);
	cbor_write_byte_array(&writer, data, size);
	must(!writer.overflow && writer.used <= room);
	cursor = (struct cbor_cursor){ writer.buffer, writer.used };
	must(cbor_cursor_expect(&cursor, CBOR_KIND_ARRAY, &head) && head.value == size);
	for (size_t i = 0; i < size; i++) {
		must(cbor_cursor_expect(&cursor, CBOR_KIND_UINT, &head));
		must(head.value == data[i]);
	}
	must(cursor.left == 0);
	free(writer.buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	walk(data, size);
	skip(data, size);
	byte_array(data, size);
	return 0;
}
