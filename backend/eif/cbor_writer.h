/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CBOR into a buffer of fixed size; an overflow is remembered, and checked once at the end. */
#ifndef NEFS_EIF_CBOR_WRITER_H
#define NEFS_EIF_CBOR_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cbor_writer {
	uint8_t *buffer;
	size_t room;
	size_t used;
	bool overflow; /* something did not fit; used is meaningless */
};

void cbor_write_uint(struct cbor_writer *writer, uint64_t value);
/* A value below 0. */
void cbor_write_negative(struct cbor_writer *writer, int64_t value);
void cbor_write_array(struct cbor_writer *writer, size_t count);
void cbor_write_map(struct cbor_writer *writer, size_t pairs);
void cbor_write_bytes(struct cbor_writer *writer, const uint8_t *data, size_t size);
void cbor_write_text(struct cbor_writer *writer, const char *text);
/* Bytes in the form of an array of integers, as the EIF's signature section has them. */
void cbor_write_byte_array(struct cbor_writer *writer, const uint8_t *data, size_t size);

#endif
