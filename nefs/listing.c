/* SPDX-License-Identifier: GPL-2.0-or-later */
/* readdir(3). */
#include "control.h"
#include "directory.h"
#include "operations.h"
#include <errno.h>
#include <stdlib.h>

/* The offset behind the last row that a table can have; an entry's is its st_ino above that. */
#define LISTING_ENTRIES (CONTROL_ROWS_MAX + 2)

struct listing {
	fuse_req_t req;
	char *buffer;
	size_t size, used;
};

/* Adds an entry; false when the buffer is full. next is the offset behind it. */
static bool list(struct listing *listing, const char *name, const struct node *node, off_t next)
{
	struct stat attributes = { .st_ino = node->ino, .st_mode = node->mode };
	size_t need = fuse_add_direntry(listing->req, listing->buffer + listing->used,
		listing->size - listing->used, name, &attributes, next);

	if (need > listing->size - listing->used)
		return false;
	listing->used += need;
	return true;
}

/* ".", ".." and the rows: the offset behind each is its place. */
static bool list_rows(struct listing *listing, struct directory *directory, off_t offset)
{
	const struct directory *parent = directory->parent ? directory->parent : directory;

	if (offset < 1 && !list(listing, ".", &directory->node, 1))
		return false;
	if (offset < 2 && !list(listing, "..", &parent->node, 2))
		return false;
	for (size_t i = 0; i < directory->control_count; i++) {
		const struct node *row = &directory->controls[i];
		off_t next = (off_t)i + 3;

		if (offset < next && !row->hidden && !list(listing, row->name, row, next))
			return false;
	}
	return true;
}

static void list_entries(struct listing *listing, struct directory *directory, off_t offset)
{
	uint64_t ino = offset > LISTING_ENTRIES ? (uint64_t)(offset - LISTING_ENTRIES) : 0;
	const struct node *node;

	while ((node = directory_next(directory, ino))) {
		ino = node->ino;
		if (!list(listing, node->name, node, LISTING_ENTRIES + (off_t)ino))
			return;
	}
}

void op_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
	struct directory *directory = node_from_id(op_tree(req), ino)->directory;
	struct listing listing = { .req = req, .size = size };

	listing.buffer = malloc(size);
	if (!listing.buffer) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (!directory->removed && list_rows(&listing, directory, offset))
		list_entries(&listing, directory, offset);
	fuse_reply_buf(req, listing.buffer, listing.used);
	free(listing.buffer);
}
