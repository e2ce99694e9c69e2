/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The newest bytes of a stream. Each byte has a position, counted from the first one that was ever put in;
 * what does not fit any more pushes out the oldest. Room is taken as it is needed. One thread at a time.
 */
#ifndef NEFS_BYTE_RING_H
#define NEFS_BYTE_RING_H

#include <stddef.h>
#include <stdint.h>

/* All zeroes but max: an empty one. */
struct byte_ring {
	size_t max;  /* most bytes kept: a power of two, at least BYTE_RING_MIN; set by the user */
	char *bytes; /* room of them; NULL before the first byte */
	size_t room; /* a power of two */
	uint64_t start; /* position of the oldest byte kept */
	uint64_t end;	/* position behind the newest; neither goes back */
};

/* The room that a ring begins with: bytes. */
#define BYTE_RING_MIN 4096

/* Puts bytes in. Without memory for more room fewer are kept, and none without any. */
void byte_ring_append(struct byte_ring *ring, const void *data, size_t size);

/*
 * The bytes at *position, as many as lie in one piece; moves *position up to the oldest kept. Returns
 * their number, 0 at the end. *data is valid until the ring is changed.
 */
size_t byte_ring_peek(const struct byte_ring *ring, uint64_t *position, const char **data);

/* Forgets the bytes before a position (all of them: ring->end), but goes on counting. */
void byte_ring_forget(struct byte_ring *ring, uint64_t before);

/* Gives its memory back; what was kept is forgotten. */
void byte_ring_release(struct byte_ring *ring);

#endif
