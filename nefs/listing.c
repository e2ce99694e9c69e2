/* SPDX-License-Identifier: GPL-2.0-or-later */
/* readdir(3). */
#include "control.h"
#include "directory.h"
#include "operations.h"
#include "text_log.h"
#include <errno.h>
#include <stdlib.h>

/*
 * Offsets: rows have theirs, then come the files of logs, two of each log, then entries: each is at its
 * st_ino above that. The name of a log's file may move on to another inode meanwhile, and stays in its place.
 */
#define LISTING_LOGS	 (CONTROL_ROWS_MAX + 2)
#define LISTING_ENTRIES	 (LISTING_LOGS + 2 * LISTING_LOGS_MAX)
#define LISTING_LOGS_MAX 8

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

		if (row->control->flags & CONTROL_UNLISTED)
			continue;
		if (offset < next && !row->hidden && !list(listing, row->name, row, next))
			return false;
	}
	return true;
}

static bool list_segment(
	struct listing *listing, const struct text_segment *segment, off_t offset, off_t next)
{
	if (offset >= next || !segment || segment->node.hidden)
		return true;
	return list(listing, segment->node.name, &segment->node, next);
}

static bool list_logs(struct listing *listing, struct directory *directory, off_t offset)
{
	const struct text_log *log;
	off_t place = LISTING_LOGS;

	LIST_FOREACH(log, &directory->logs, siblings)
	{
		if (!list_segment(listing, log->current, offset, ++place) ||
			!list_segment(listing, log->older, offset, ++place))
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
	struct directory *directory = op_directory(req, ino);
	struct listing listing = { .req = req, .size = size };

	if (!directory)
		return;
	listing.buffer = malloc(size);
	if (!listing.buffer) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (!directory->removed && list_rows(&listing, directory, offset) &&
		list_logs(&listing, directory, offset))
		list_entries(&listing, directory, offset);
	fuse_reply_buf(req, listing.buffer, listing.used);
	free(listing.buffer);
}
