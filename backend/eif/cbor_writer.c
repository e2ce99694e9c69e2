/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cbor_writer.h"
#include <cbor.h>
#include <string.h>

static uint8_t *at(struct cbor_writer *writer)
{
	return writer->buffer + writer->used;
}

static size_t room(const struct cbor_writer *writer)
{
	return writer->overflow ? 0 : writer->room - writer->used;
}

/* libcbor's encoders return 0 for what does not fit. */
static void advance(struct cbor_writer *writer, size_t size)
{
	if (size == 0)
		writer->overflow = true;
	else
		writer->used += size;
}

static void copy(struct cbor_writer *writer, const void *data, size_t size)
{
	if (size > room(writer)) {
		writer->overflow = true;
		return;
	}
	if (size > 0)
		memcpy(at(writer), data, size);
	writer->used += size;
}

void cbor_write_uint(struct cbor_writer *writer, uint64_t value)
{
	advance(writer, cbor_encode_uint(value, at(writer), room(writer)));
}

void cbor_write_negative(struct cbor_writer *writer, int64_t value)
{
	advance(writer, cbor_encode_negint((uint64_t)(-1 - value), at(writer), room(writer)));
}

void cbor_write_array(struct cbor_writer *writer, size_t count)
{
	advance(writer, cbor_encode_array_start(count, at(writer), room(writer)));
}

void cbor_write_map(struct cbor_writer *writer, size_t pairs)
{
	advance(writer, cbor_encode_map_start(pairs, at(writer), room(writer)));
}

void cbor_write_bytes(struct cbor_writer *writer, const uint8_t *data, size_t size)
{
	advance(writer, cbor_encode_bytestring_start(size, at(writer), room(writer)));
	copy(writer, data, size);
}

void cbor_write_text(struct cbor_writer *writer, const char *text)
{
	size_t size = strlen(text);

	advance(writer, cbor_encode_string_start(size, at(writer), room(writer)));
	copy(writer, text, size);
}

void cbor_write_byte_array(struct cbor_writer *writer, const uint8_t *data, size_t size)
{
	cbor_write_array(writer, size);
	for (size_t i = 0; i < size && !writer->overflow; i++)
		cbor_write_uint(writer, data[i]);
}
