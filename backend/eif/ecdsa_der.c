/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ecdsa_der.h"
#include <string.h>

#define TAG_SEQUENCE 0x30
#define TAG_INTEGER  0x02
#define LONG_LENGTH  0x81 /* one byte of length follows */

/* What is left to read. */
struct cursor {
	const uint8_t *at;
	size_t left;
};

static bool take_byte(struct cursor *cursor, uint8_t *byte)
{
	if (cursor->left == 0)
		return false;
	*byte = *cursor->at++;
	cursor->left--;
	return true;
}

/* A tag and a length of at most 255, which is not more than what is left. */
static bool take_head(struct cursor *cursor, uint8_t tag, size_t *size)
{
	uint8_t found, length;

	if (!take_byte(cursor, &found) || found != tag || !take_byte(cursor, &length))
		return false;
	if (length == LONG_LENGTH) {
		/* What fits the short form must have it. */
		if (!take_byte(cursor, &length) || length < 0x80)
			return false;
	} else if (length >= 0x80) {
		return false;
	}
	*size = length;
	return *size <= cursor->left;
}

/* An INTEGER above zero in as few bytes as it takes. */
static bool take_number(struct cursor *cursor, size_t half, uint8_t *number)
{
	const uint8_t *from;
	size_t size;

	if (!take_head(cursor, TAG_INTEGER, &size) || size == 0)
		return false;
	from = cursor->at;
	cursor->at += size;
	cursor->left -= size;
	if (from[0] & 0x80)
		return false;
	if (from[0] == 0) {
		/* A zero is there for the sign of what follows, or not at all. */
		if (size == 1 || !(from[1] & 0x80))
			return false;
		from++;
		size--;
	}
	if (size > half)
		return false;
	memset(number, 0, half - size);
	memcpy(number + half - size, from, size);
	return true;
}

bool ecdsa_raw_from_der(const uint8_t *der, size_t size, size_t half, uint8_t *raw)
{
	struct cursor cursor = { der, size };
	size_t inside;

	return take_head(&cursor, TAG_SEQUENCE, &inside) && inside == cursor.left &&
	       take_number(&cursor, half, raw) && take_number(&cursor, half, raw + half) &&
	       cursor.left == 0;
}
