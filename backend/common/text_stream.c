/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <nefs/cleanup.h>
#include <nefs/text_stream.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 256

/* stdio's write function: what is less than size, 0 included, is an error of the stream's. */
static ssize_t append(void *cookie, const char *data, size_t size)
{
	struct text_stream *stream = cookie;
	size_t room = stream->room ? stream->room : FIRST_ROOM;
	char *text;

	/* And a NUL behind it. */
	while (room - stream->size <= size)
		room *= 2;
	if (room != stream->room) {
		text = realloc(stream->text, room);
		if (!text) {
			errno = ENOMEM;
			return 0;
		}
		stream->text = text;
		stream->room = room;
	}
	memcpy(stream->text + stream->size, data, size);
	stream->size += size;
	return (ssize_t)size;
}

int text_stream_open(struct text_stream *stream)
{
	static const cookie_io_functions_t functions = { .write = append };

	*stream = (struct text_stream){ 0 };
	stream->text = malloc(FIRST_ROOM);
	if (stream->text)
		stream->out = fopencookie(stream, "w", functions);
	if (!stream->out) {
		free(nefs_take_ptr(stream->text));
		return -ENOMEM;
	}
	stream->room = FIRST_ROOM;
	setvbuf(stream->out, stream->buffer, _IOFBF, sizeof(stream->buffer));
	return 0;
}

void text_stream_begin(struct text_stream *stream)
{
	/* What found no memory is still in its buffer. */
	__fpurge(stream->out);
	clearerr(stream->out);
	stream->size = 0;
}

int text_stream_end(struct text_stream *stream)
{
	int failed = fflush(stream->out) || ferror(stream->out);

	stream->text[stream->size] = '\0';
	return failed ? -ENOMEM : 0;
}

char *text_stream_take(struct text_stream *stream)
{
	char *text = text_stream_end(stream) ? NULL : nefs_take_ptr(stream->text);

	text_stream_close(stream);
	return text;
}

void text_stream_close(struct text_stream *stream)
{
	if (!stream->out)
		return;
	__fpurge(stream->out);
	fclose(stream->out);
	free(stream->text);
	*stream = (struct text_stream){ 0 };
}
