/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A text that many have at once and nobody changes: one copy, counted. Loop thread. */
#ifndef NEFS_TEXT_H
#define NEFS_TEXT_H

#include <stddef.h>

struct text {
	unsigned int refs;
	size_t size;
	char data[];
};

/* A copy of these bytes, with one reference; NULL: out of memory. */
struct text *text_new(const char *data, size_t size);

/* One more, or one less; NULL is allowed, and given back. */
struct text *text_ref(struct text *text);
void text_unref(struct text *text);

#endif
