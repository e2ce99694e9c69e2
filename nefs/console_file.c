/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "console_file.h"
#include "enclave.h"
#include "follow.h"

static struct text_log *console_of(struct node *node)
{
	return &enclave_of(node->directory)->console;
}

/*
 * Nothing runs that prints, and nothing will. Before the first start there is something to wait for;
 * what is about to be started again is not at its end either.
 */
static bool console_ended(struct node *node)
{
	const struct enclave *enclave = enclave_of(node->directory);
	bool prints = settings_number(&enclave->applied.settings, SETTING_DEBUG) &&
		      enclave_meaning(enclave)->runs;

	switch (enclave->state) {
	case STATE_INIT:
	case STATE_QUEUED:
	case STATE_RECYCLING:
		return false;
	default:
		return !prints;
	}
}

/* Of this life; what it printed before is in console.1 for who wants it. */
static uint64_t console_begin(struct node *node)
{
	return enclave_of(node->directory)->console_begin;
}

static const struct follow_kind console_kind = {
	.log = console_of, .ended = console_ended, .begin = console_begin
};

static int open_console(struct handle *handle, struct nefs_error *err)
{
	return follow_open(&console_kind, handle);
}

static void read_console(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	follow_read(&console_kind, req, handle, size, offset);
}

static bool console_readable(struct handle *handle)
{
	return follow_readable(&console_kind, handle);
}

const struct control_ops console_follow_ops = {
	.open = open_console,
	.read = read_console,
	.readable = console_readable,
};
