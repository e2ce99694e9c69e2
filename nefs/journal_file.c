/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "journal_file.h"
#include "enclave.h"
#include "follow.h"
#include "fs.h"

static struct text_log *journal_of(struct node *node)
{
	struct directory *directory = node->directory;

	return enclave_is(directory) ? &enclave_of(directory)->journal
				     : &fs_of(directory)->root.journal;
}

static const struct follow_kind journal_kind = { .log = journal_of, .lines = true };

static int open_journal(struct handle *handle, struct nefs_error *err)
{
	return follow_open(&journal_kind, handle);
}

static void read_journal(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	follow_read(&journal_kind, req, handle, size, offset);
}

static bool journal_readable(struct handle *handle)
{
	return follow_readable(&journal_kind, handle);
}

const struct control_ops journal_follow_ops = {
	.open = open_journal,
	.read = read_journal,
	.readable = journal_readable,
};
