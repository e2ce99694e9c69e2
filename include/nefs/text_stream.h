/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stream into memory that tells when there is none. open_memstream(3) does not: what does not fit is left out,
 * neither ferror(3) nor fclose(3) says so, and half a text passes for all of it (docs/facts/memory.md).
 */
#ifndef NEFS_TEXT_STREAM_H
#define NEFS_TEXT_STREAM_H

#include <stddef.h>
#include <stdio.h>

/* All zero: not open. It must stay where it is while it is open. */
struct text_stream {
	FILE *out;
	char *text; /* after text_stream_end: what was written, and a NUL */
	size_t size, room;
	char buffer[512]; /* of out */
};

/* Opens it, empty. 0 or -ENOMEM. */
int text_stream_open(struct text_stream *stream);

/* Begins anew, in the memory that it has. */
void text_stream_begin(struct text_stream *stream);

/* What was written since is in text and size. 0, or -ENOMEM: not all of it. */
int text_stream_end(struct text_stream *stream);

/* The text, malloc'ed, as the caller's own; NULL if there was no memory for all of it. Closes it. */
char *text_stream_take(struct text_stream *stream);

/* Gives everything back. Nothing happens to one that is not open. */
void text_stream_close(struct text_stream *stream);

#endif
