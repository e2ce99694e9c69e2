/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "console_ring.h"
#include <stdlib.h>
#include <string.h>

void console_ring_append(struct console_ring *console, const void *data, size_t size)
{
	const char *bytes = data;

	if (!console->ring)
		console->ring = malloc(CONSOLE_RING_SIZE);
	if (!console->ring)
		return;
	if (size > CONSOLE_RING_SIZE) {
		console->end += size - CONSOLE_RING_SIZE;
		bytes += size - CONSOLE_RING_SIZE;
		size = CONSOLE_RING_SIZE;
	}
	while (size > 0) {
		size_t at = (size_t)(console->end % CONSOLE_RING_SIZE);
		size_t piece = size < CONSOLE_RING_SIZE - at ? size : CONSOLE_RING_SIZE - at;

		memcpy(console->ring + at, bytes, piece);
		console->end += piece;
		bytes += piece;
		size -= piece;
	}
	if (console->end - console->start > CONSOLE_RING_SIZE)
		console->start = console->end - CONSOLE_RING_SIZE;
}

void console_ring_clear(struct console_ring *console)
{
	console->start = console->end;
}

size_t console_ring_peek(const struct console_ring *console, uint64_t *position, const char **data)
{
	size_t at, piece;

	if (*position < console->start)
		*position = console->start;
	if (*position >= console->end)
		return 0;
	at = (size_t)(*position % CONSOLE_RING_SIZE);
	piece = CONSOLE_RING_SIZE - at;
	if (piece > console->end - *position)
		piece = (size_t)(console->end - *position);
	*data = console->ring + at;
	return piece;
}

void console_ring_release(struct console_ring *console)
{
	free(console->ring);
	console->ring = NULL;
}
