/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "streams.h"
#include "enclave.h"
#include "fs.h"
#include "parked.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void stream_park(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	struct parked *parked;

	if (handle->flags & O_NONBLOCK) {
		fuse_reply_err(req, EAGAIN);
		return;
	}
	parked = parked_add(&handle->node->parked, req);
	if (!parked)
		return;
	parked->handle = handle;
	parked->size = size;
	parked->offset = offset;
}

void counters_show(const uint64_t *counters, FILE *out)
{
	static const char *const names[COUNTERS] = {
		[COUNT_STARTS] = "starts",
		[COUNT_STOPS] = "stops",
		[COUNT_FAILURES] = "failures",
		[COUNT_CRASHES] = "crashes",
		[COUNT_RESTARTS] = "restarts",
	};

	for (int i = 0; i < COUNTERS; i++)
		fprintf(out, "%s %" PRIu64 "\n", names[i], counters[i]);
}

/* ---- journal ---- */

static uint64_t journal_id(const struct handle *handle)
{
	struct directory *directory = handle->node->directory;

	return enclave_is(directory) ? enclave_of(directory)->id : JOURNAL_ALL;
}

/* The newest record of this journal that fell out of the ring. */
static uint64_t journal_lost(const struct handle *handle)
{
	struct directory *directory = handle->node->directory;

	return enclave_is(directory) ? enclave_of(directory)->journal_dropped
				     : journal_oldest(&directory->fs->journal) - 1;
}

/* handle->position is the seq of the record to read next, handle->offset the bytes read of it. */
static int open_journal(struct handle *handle, struct nefs_error *err)
{
	(void)err;
	handle->position = journal_oldest(&handle->node->directory->fs->journal);
	return 0;
}

static bool journal_readable(struct handle *handle)
{
	const struct journal *journal = &handle->node->directory->fs->journal;

	return journal_lost(handle) >= handle->position ||
	       journal_find(journal, journal_id(handle), handle->position);
}

static void read_journal(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	const struct journal *journal = &handle->node->directory->fs->journal;
	const struct journal_record *record;
	uint64_t id = journal_id(handle);
	char *text;
	size_t used = 0;

	if (journal_lost(handle) >= handle->position) {
		/* Records that this reader should have had are gone: told once, as /dev/kmsg does. */
		handle->position = journal_lost(handle) + 1;
		handle->offset = 0;
		fuse_reply_err(req, EPIPE);
		return;
	}
	record = journal_find(journal, id, handle->position);
	if (!record) {
		handle->position = journal->next ? journal->next : 1;
		stream_park(req, handle, size, offset);
		return;
	}
	text = malloc(size ? size : 1);
	if (!text) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	while (record && used < size) {
		size_t from = record->seq == handle->position ? handle->offset : 0;
		size_t piece = record->size - from;

		/* Whole records only, unless not even one fits. */
		if (piece > size - used) {
			if (used > 0)
				break;
			piece = size;
		}
		memcpy(text + used, record->line + from, piece);
		used += piece;
		if (from + piece < record->size) {
			handle->position = record->seq;
			handle->offset = from + piece;
			break;
		}
		handle->position = record->seq + 1;
		handle->offset = 0;
		record = journal_find(journal, id, handle->position);
	}
	fuse_reply_buf(req, text, used);
	free(text);
}

const struct control_ops journal_ops = {
	.open = open_journal,
	.read = read_journal,
	.readable = journal_readable,
};

/* ---- console ---- */

static bool console_live(const struct enclave *enclave)
{
	return enclave->settings.debug && (enclave_active(enclave) || enclave->start_queued);
}

static void read_console(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	struct enclave *enclave = enclave_of(handle->node->directory);
	const char *data;
	size_t got = console_peek(&enclave->console, &handle->position, &data);

	if (got > size)
		got = size;
	if (!got && console_live(enclave)) {
		stream_park(req, handle, size, offset);
		return;
	}
	handle->position += got;
	fuse_reply_buf(req, got ? data : NULL, got);
}

static bool console_readable(struct handle *handle)
{
	struct enclave *enclave = enclave_of(handle->node->directory);
	uint64_t position = handle->position;
	const char *data;

	return console_peek(&enclave->console, &position, &data) || !console_live(enclave);
}

static uint64_t console_size(struct node *node)
{
	const struct console *console = &enclave_of(node->directory)->console;

	return console->end - console->start;
}

const struct control_ops console_ops = {
	.read = read_console,
	.readable = console_readable,
	.size = console_size,
};
