/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "text.h"
#include <stdlib.h>
#include <string.h>

struct text *text_new(const char *data, size_t size)
{
	struct text *text = malloc(sizeof(*text) + size);

	if (!text)
		return NULL;
	text->refs = 1;
	text->size = size;
	memcpy(text->data, data, size);
	return text;
}

struct text *text_ref(struct text *text)
{
	if (text)
		text->refs++;
	return text;
}

void text_unref(struct text *text)
{
	if (text && --text->refs == 0)
		free(text);
}
