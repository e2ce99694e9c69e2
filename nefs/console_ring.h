/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an enclave printed: the last CONSOLE_RING_SIZE bytes, at positions that count from its start.
 * Loop thread.
 */
#ifndef NEFS_CONSOLE_RING_H
#define NEFS_CONSOLE_RING_H

#include <stddef.h>
#include <stdint.h>

#define CONSOLE_RING_SIZE (1U << 20)

struct console_ring {
	char *ring;	/* CONSOLE_RING_SIZE bytes, allocated with the first output */
	uint64_t end;	/* position behind the last byte; never goes back, so readers go on */
	uint64_t start; /* position of the oldest byte kept */
};

/* Appends; without memory for the ring the output is dropped. */
void console_ring_append(struct console_ring *console, const void *data, size_t size);

/* Forgets all that was printed (a new start), but goes on counting. */
void console_ring_clear(struct console_ring *console);

/*
 * The bytes at *position, as many as lie in one piece; moves *position up to the oldest kept.
 * Returns their number, 0 at the end.
 */
size_t console_ring_peek(const struct console_ring *console, uint64_t *position, const char **data);

void console_ring_release(struct console_ring *console);

#endif
