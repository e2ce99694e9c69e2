/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "request_buffers.h"
#include <nefs/cleanup.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* So much is kept in all, beyond which writes are taken in small pieces: bytes. */
#define KEPT_MAX (32U << 20)

/* What is as quickly copied as another buffer is found; and such a piece: bytes. */
#define COPIED_MAX (8U << 10)
#define PIECE	   4096U

/* More buffers than this are freed: they would be touched anew before they are used again. */
#define SPARES_MAX 8

void request_buffers_prepare(struct request_buffers *buffers)
{
	struct kept_data *spare = LIST_FIRST(&buffers->spare);

	if (buffers->current.mem || !spare)
		return;
	LIST_REMOVE(spare, siblings);
	buffers->spares--;
	buffers->current = spare->buffer;
	free(spare);
}

/* Nobody gets more of the room than he leaves to the others. */
static bool has_room(const struct request_buffers *buffers, uid_t owner, size_t size)
{
	const struct kept_data *kept;
	size_t own = size;

	if (size > KEPT_MAX || buffers->bytes > KEPT_MAX - size)
		return false;
	LIST_FOREACH(kept, &buffers->kept, siblings)
	if (kept->owner == owner)
		own += kept->size;
	return own <= KEPT_MAX - buffers->bytes;
}

/* Is it in the buffer of the request that is served? */
static bool is_current(const struct request_buffers *buffers, const char *data, size_t size)
{
	const char *begin = buffers->current.mem;

	return begin && data >= begin && size <= buffers->current.size &&
	       (size_t)(data - begin) <= buffers->current.size - size;
}

struct kept_data *request_buffers_keep(
	struct request_buffers *buffers, uid_t owner, const char *data, size_t size)
{
	struct kept_data *kept;
	bool copied;

	if (size > PIECE && !has_room(buffers, owner, size))
		size = PIECE;
	copied = size <= COPIED_MAX || !is_current(buffers, data, size);
	kept = malloc(sizeof(*kept) + (copied ? size : 0));
	if (!kept)
		return NULL;
	*kept = (struct kept_data){ .data = data, .size = size, .owner = owner };
	if (copied) {
		memcpy(kept->copy, data, size);
		kept->data = kept->copy;
	} else {
		kept->buffer = buffers->current;
		buffers->current = (struct fuse_buf){ 0 };
	}
	buffers->bytes += size;
	LIST_INSERT_HEAD(&buffers->kept, kept, siblings);
	return kept;
}

void request_buffers_give_back(struct request_buffers *buffers, struct kept_data *kept)
{
	if (!kept)
		return;
	LIST_REMOVE(kept, siblings);
	buffers->bytes -= kept->size;
	if (kept->buffer.mem && buffers->spares < SPARES_MAX) {
		LIST_INSERT_HEAD(&buffers->spare, kept, siblings);
		buffers->spares++;
		return;
	}
	free(kept->buffer.mem);
	free(kept);
}

void request_buffers_release(struct request_buffers *buffers)
{
	struct kept_data *spare;

	while ((spare = LIST_FIRST(&buffers->spare))) {
		LIST_REMOVE(spare, siblings);
		free(spare->buffer.mem);
		free(spare);
	}
	buffers->spares = 0;
	free(nefs_take_ptr(buffers->current.mem));
}
