/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <nefs/error.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * One printable line: sentences quote what users wrote and what images contain, and whoever reads
 * them on a terminal must not be at their mercy.
 */
static void make_printable(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

static void fill(struct nefs_error *err, int code, uint32_t ne, const char *format, va_list args)
	__attribute__((format(printf, 4, 0)));

static void fill(struct nefs_error *err, int code, uint32_t ne, const char *format, va_list args)
{
	char text[NEFS_ERROR_TEXT_MAX];

	/* By way of a copy: the arguments may point into the old sentence. */
	vsnprintf(text, sizeof(text), format, args);
	make_printable(text);
	memcpy(err->text, text, sizeof(text));
	err->code = code;
	err->ne = ne;
}

int nefs_error_set(struct nefs_error *err, int code, const char *format, ...)
{
	va_list args;

	if (err) {
		va_start(args, format);
		fill(err, code, 0, format, args);
		va_end(args);
	}
	return -code;
}

int nefs_error_set_ne(struct nefs_error *err, int code, uint32_t ne, const char *format, ...)
{
	va_list args;

	if (err) {
		va_start(args, format);
		fill(err, code, ne, format, args);
		va_end(args);
	}
	return -code;
}

void nefs_error_prefix(struct nefs_error *err, const char *format, ...)
{
	char text[NEFS_ERROR_TEXT_MAX];
	va_list args;
	int used;

	if (!err || !err->code)
		return;
	va_start(args, format);
	used = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (used < 0 || (size_t)used + 3 > sizeof(text))
		return;
	snprintf(text + used, sizeof(text) - (size_t)used, ": %.*s",
		(int)(sizeof(text) - (size_t)used - 3), err->text);
	make_printable(text);
	memcpy(err->text, text, sizeof(text));
}

void nefs_error_clear(struct nefs_error *err)
{
	err->code = 0;
	err->ne = 0;
	err->text[0] = '\0';
}
