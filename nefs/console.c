/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "console.h"
#include <stdlib.h>
#include <string.h>

void console_append(struct console *console, const void *data, size_t size)
{
	const char *bytes = data;

	if (!console->ring)
		console->ring = malloc(CONSOLE_MAX);
	if (!console->ring)
		return;
	if (size > CONSOLE_MAX) {
		console->end += size - CONSOLE_MAX;
		bytes += size - CONSOLE_MAX;
		size = CONSOLE_MAX;
	}
	while (size > 0) {
		size_t at = (size_t)(console->end % CONSOLE_MAX);
		size_t piece = size < CONSOLE_MAX - at ? size : CONSOLE_MAX - at;

		memcpy(console->ring + at, bytes, piece);
		console->end += piece;
		bytes += piece;
		size -= piece;
	}
	if (console->end - console->start > CONSOLE_MAX)
		console->start = console->end - CONSOLE_MAX;
}

void console_clear(struct console *console)
{
	console->start = console->end;
}

size_t console_peek(const struct console *console, uint64_t *position, const char **data)
{
	size_t at, piece;

	if (*position < console->start)
		*position = console->start;
	if (*position >= console->end)
		return 0;
	at = (size_t)(*position % CONSOLE_MAX);
	piece = CONSOLE_MAX - at;
	if (piece > console->end - *position)
		piece = (size_t)(console->end - *position);
	*data = console->ring + at;
	return piece;
}

void console_release(struct console *console)
{
	free(console->ring);
	console->ring = NULL;
}
