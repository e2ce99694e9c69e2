/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "journal_file.h"
#include "enclave.h"
#include "fs.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct journal *journal_of(const struct handle *handle)
{
	return &fs_of(handle->node->directory)->journal;
}

/* The records that this file shows; NULL: all. */
static const struct journal_chain *chain_of(const struct handle *handle)
{
	struct directory *directory = handle->node->directory;

	return enclave_is(directory) ? &enclave_of(directory)->journal : NULL;
}

static uint64_t lost(const struct handle *handle)
{
	return journal_lost(journal_of(handle), chain_of(handle));
}

/* handle->position is the seq of the record to read next, handle->offset the bytes read of it. */
static int open_journal(struct handle *handle, struct nefs_error *err)
{
	handle->position = journal_oldest(journal_of(handle));
	return 0;
}

static bool journal_readable(struct handle *handle)
{
	const struct journal *journal = journal_of(handle);

	return lost(handle) >= handle->position ||
	       journal_find(journal, chain_of(handle), handle->position);
}

static void read_journal(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	const struct journal *journal = journal_of(handle);
	const struct journal_record *record;
	const struct journal_chain *chain = chain_of(handle);
	char *text;
	size_t used = 0;

	if (lost(handle) >= handle->position) {
		/* Records that this reader should have had are gone: told once, as /dev/kmsg does. */
		handle->position = lost(handle) + 1;
		handle->offset = 0;
		fuse_reply_err(req, EPIPE);
		return;
	}
	record = journal_find(journal, chain, handle->position);
	if (!record) {
		handle->position = journal->next;
		handle_park_read(req, handle, size, offset);
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
		record = journal_find(journal, chain, handle->position);
	}
	fuse_reply_buf(req, text, used);
	free(text);
}

const struct control_ops journal_file_ops = {
	.open = open_journal,
	.read = read_journal,
	.readable = journal_readable,
};
