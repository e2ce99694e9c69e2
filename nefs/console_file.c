/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "console_file.h"
#include "enclave.h"

static bool console_live(const struct enclave *enclave)
{
	return settings_number(&enclave->applied.settings, SETTING_DEBUG) &&
	       enclave_meaning(enclave)->runs;
}

static void read_console(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	struct enclave *enclave = enclave_of(handle->node->directory);
	const char *data;
	size_t got = console_ring_peek(&enclave->console, &handle->position, &data);

	if (got > size)
		got = size;
	if (!got && console_live(enclave)) {
		handle_park_read(req, handle, size, offset);
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

	return console_ring_peek(&enclave->console, &position, &data) || !console_live(enclave);
}

static uint64_t console_size(struct node *node)
{
	const struct console_ring *console = &enclave_of(node->directory)->console;

	return console->end - console->start;
}

const struct control_ops console_file_ops = {
	.read = read_console,
	.readable = console_readable,
	.size = console_size,
};
