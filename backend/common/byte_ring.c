/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <nefs/byte_ring.h>
#include <stdlib.h>
#include <string.h>

/* Copies bytes to where their positions are in a ring with room for them. */
static void place(char *bytes, size_t room, uint64_t position, const char *data, size_t size)
{
	size_t at = (size_t)(position & (room - 1));
	size_t piece = size < room - at ? size : room - at;

	memcpy(bytes + at, data, piece);
	memcpy(bytes, data + piece, size - piece);
}

/* Makes room for more bytes, as far as max and memory allow. */
static void grow(struct byte_ring *ring, size_t more)
{
	uint64_t position = ring->start;
	size_t kept = (size_t)(ring->end - ring->start);
	size_t room = ring->room ? ring->room : BYTE_RING_MIN;
	const char *data;
	char *larger;
	size_t piece;

	while (room < ring->max && room - kept < more)
		room *= 2;
	if (room == ring->room)
		return;
	larger = malloc(room);
	if (!larger)
		return;
	while ((piece = byte_ring_peek(ring, &position, &data))) {
		place(larger, room, position, data, piece);
		position += piece;
	}
	free(ring->bytes);
	ring->bytes = larger;
	ring->room = room;
}

void byte_ring_append(struct byte_ring *ring, const void *data, size_t size)
{
	const char *bytes = data;
	size_t kept = (size_t)(ring->end - ring->start), skipped;

	if (ring->room - kept < size && ring->room < ring->max)
		grow(ring, size);
	skipped = size > ring->room ? size - ring->room : 0;
	ring->end += skipped;
	if (ring->room)
		place(ring->bytes, ring->room, ring->end, bytes + skipped, size - skipped);
	ring->end += size - skipped;
	if (ring->end - ring->start > ring->room)
		ring->start = ring->end - ring->room;
}

size_t byte_ring_peek(const struct byte_ring *ring, uint64_t *position, const char **data)
{
	size_t at, piece;

	if (*position < ring->start)
		*position = ring->start;
	if (*position >= ring->end)
		return 0;
	at = (size_t)(*position & (ring->room - 1));
	piece = ring->room - at;
	if (piece > ring->end - *position)
		piece = (size_t)(ring->end - *position);
	*data = ring->bytes + at;
	return piece;
}

void byte_ring_forget(struct byte_ring *ring, uint64_t before)
{
	if (before > ring->end)
		before = ring->end;
	if (ring->start < before)
		ring->start = before;
}

void byte_ring_release(struct byte_ring *ring)
{
	free(ring->bytes);
	ring->bytes = NULL;
	ring->room = 0;
	ring->start = ring->end;
}
