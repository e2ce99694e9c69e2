/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cbor_cursor.h"
#include <cbor.h>

/*
 * libcbor's streaming decoder does the byte work. Its tree builder (cbor_load) is not used: it
 * allocates as many slots as an array claims to have.
 */

/* Initial bytes of a tag whose number is in the byte itself. */
#define FIRST_SHORT_TAG 0xc0
#define LAST_SHORT_TAG	0xd7

/* libcbor 0.10 made lengths 64 bits wide on every machine. */
#if CBOR_MAJOR_VERSION > 0 || CBOR_MINOR_VERSION >= 10
typedef uint64_t cbor_length;
#else
typedef size_t cbor_length;
#endif

static void set(void *context, enum cbor_kind kind, uint64_t value, const uint8_t *data)
{
	struct cbor_head *head = context;

	head->kind = kind;
	head->value = value;
	head->data = data;
}

static void on_uint8(void *context, uint8_t value)
{
	set(context, CBOR_KIND_UINT, value, NULL);
}

static void on_uint16(void *context, uint16_t value)
{
	set(context, CBOR_KIND_UINT, value, NULL);
}

static void on_uint32(void *context, uint32_t value)
{
	set(context, CBOR_KIND_UINT, value, NULL);
}

static void on_uint64(void *context, uint64_t value)
{
	set(context, CBOR_KIND_UINT, value, NULL);
}

static void on_negint8(void *context, uint8_t value)
{
	set(context, CBOR_KIND_NEGINT, value, NULL);
}

static void on_negint16(void *context, uint16_t value)
{
	set(context, CBOR_KIND_NEGINT, value, NULL);
}

static void on_negint32(void *context, uint32_t value)
{
	set(context, CBOR_KIND_NEGINT, value, NULL);
}

static void on_negint64(void *context, uint64_t value)
{
	set(context, CBOR_KIND_NEGINT, value, NULL);
}

static void on_bytes(void *context, cbor_data data, cbor_length size)
{
	set(context, CBOR_KIND_BYTES, size, data);
}

static void on_text(void *context, cbor_data data, cbor_length size)
{
	set(context, CBOR_KIND_TEXT, size, data);
}

static void on_array(void *context, cbor_length count)
{
	set(context, CBOR_KIND_ARRAY, count, NULL);
}

static void on_map(void *context, cbor_length count)
{
	set(context, CBOR_KIND_MAP, count, NULL);
}

static void on_tag(void *context, uint64_t value)
{
	set(context, CBOR_KIND_TAG, value, NULL);
}

static void on_float(void *context, float value)
{
	set(context, CBOR_KIND_SIMPLE, 0, NULL);
}

static void on_double(void *context, double value)
{
	set(context, CBOR_KIND_SIMPLE, 0, NULL);
}

static void on_bool(void *context, bool value)
{
	set(context, CBOR_KIND_SIMPLE, 0, NULL);
}

static void on_simple(void *context)
{
	set(context, CBOR_KIND_SIMPLE, 0, NULL);
}

static void on_indefinite(void *context)
{
	set(context, CBOR_KIND_INDEFINITE, 0, NULL);
}

static const struct cbor_callbacks callbacks = {
	.uint8 = on_uint8,
	.uint16 = on_uint16,
	.uint32 = on_uint32,
	.uint64 = on_uint64,
	.negint8 = on_negint8,
	.negint16 = on_negint16,
	.negint32 = on_negint32,
	.negint64 = on_negint64,
	.byte_string_start = on_indefinite,
	.byte_string = on_bytes,
	.string = on_text,
	.string_start = on_indefinite,
	.indef_array_start = on_indefinite,
	.array_start = on_array,
	.indef_map_start = on_indefinite,
	.map_start = on_map,
	.tag = on_tag,
	.float2 = on_float,
	.float4 = on_float,
	.float8 = on_double,
	.undefined = on_simple,
	.null = on_simple,
	.boolean = on_bool,
	.indef_break = on_indefinite,
};

bool cbor_cursor_next(struct cbor_cursor *cursor, struct cbor_head *head)
{
	struct cbor_decoder_result result;

	if (cursor->left == 0)
		return false;
	/* libcbor 0.8 refuses the tags 6 to 20 in their short form, COSE's among them. */
	if (*cursor->at >= FIRST_SHORT_TAG && *cursor->at <= LAST_SHORT_TAG) {
		set(head, CBOR_KIND_TAG, *cursor->at - FIRST_SHORT_TAG, NULL);
		cursor->at++;
		cursor->left--;
		return true;
	}
	result = cbor_stream_decode(cursor->at, cursor->left, &callbacks, head);
	if (result.status != CBOR_DECODER_FINISHED || result.read == 0 ||
		result.read > cursor->left)
		return false;
	cursor->at += result.read;
	cursor->left -= result.read;
	/* Every item takes a byte at least: no honest count is larger than what is left. */
	if (head->kind == CBOR_KIND_ARRAY && head->value > cursor->left)
		return false;
	if (head->kind == CBOR_KIND_MAP && head->value > cursor->left / 2)
		return false;
	return true;
}

bool cbor_cursor_expect(struct cbor_cursor *cursor, enum cbor_kind kind, struct cbor_head *head)
{
	return cbor_cursor_next(cursor, head) && head->kind == kind;
}

bool cbor_cursor_skip(struct cbor_cursor *cursor)
{
	/*
	 * How many items are still to come, over all levels. Each head takes a byte and adds no
	 * more than the bytes that were left: this cannot wrap, and the end comes by itself.
	 */
	uint64_t items = 1;

	while (items > 0) {
		struct cbor_head head;

		if (!cbor_cursor_next(cursor, &head))
			return false;
		items--;
		if (head.kind == CBOR_KIND_INDEFINITE)
			return false;
		if (head.kind == CBOR_KIND_ARRAY)
			items += head.value;
		else if (head.kind == CBOR_KIND_MAP)
			items += 2 * head.value;
		else if (head.kind == CBOR_KIND_TAG)
			items++;
	}
	return true;
}
