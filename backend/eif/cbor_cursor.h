/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CBOR of unknown origin, one item head at a time: nothing is built in memory, nothing recurses,
 * and a count or a length is only believed as far as there are bytes behind it.
 */
#ifndef NEFS_EIF_CBOR_CURSOR_H
#define NEFS_EIF_CBOR_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cbor_cursor {
	const uint8_t *at;
	size_t left;
};

enum cbor_kind {
	CBOR_KIND_UINT,
	CBOR_KIND_NEGINT,     /* value n stands for -1 - n */
	CBOR_KIND_BYTES,      /* value bytes at data */
	CBOR_KIND_TEXT,	      /* value bytes at data */
	CBOR_KIND_ARRAY,      /* value items follow */
	CBOR_KIND_MAP,	      /* value pairs of items follow */
	CBOR_KIND_TAG,	      /* one item follows */
	CBOR_KIND_SIMPLE,     /* float, bool, null, undefined */
	CBOR_KIND_INDEFINITE, /* begin or end of something of indefinite length */
};

struct cbor_head {
	enum cbor_kind kind;
	uint64_t value;
	const uint8_t *data; /* inside the cursor's bytes */
};

/* Reads one head (with its bytes, for a string). False if it is malformed or cut short. */
bool cbor_cursor_next(struct cbor_cursor *cursor, struct cbor_head *head);

/* Reads one head that must be of this kind. */
bool cbor_cursor_expect(struct cbor_cursor *cursor, enum cbor_kind kind, struct cbor_head *head);

/* Steps over one item with all that is in it. False if malformed, or of indefinite length. */
bool cbor_cursor_skip(struct cbor_cursor *cursor);

#endif
