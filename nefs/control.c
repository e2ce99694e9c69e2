/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control.h"
#include "enclave.h"
#include "fs.h"
#include "values.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* What kernfs answers for each of its files. */
#define POLL_ALWAYS (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM)

int fs_gone(const struct node *node)
{
	return node->directory->removed ? ENODEV : 0;
}

int control_render(struct node *node, char **text, size_t *size)
{
	FILE *out = open_memstream(text, size);

	if (!out)
		return -ENOMEM;
	if (node->control->show)
		node->control->show(node, out);
	if (fclose(out)) {
		free(*text);
		return -ENOMEM;
	}
	return 0;
}

/* Sets the `error` file of a directory; a change is one event for its pollers. */
static void set_error(struct directory *directory, const struct nefs_error *err)
{
	struct fs *fs = directory->fs;
	struct nefs_error *kept =
		enclave_is(directory) ? &enclave_of(directory)->error : &fs->error;
	struct directory *owner = enclave_is(directory) ? directory : &fs->root;

	if (strcmp(kept->text, err->text) == 0)
		return;
	*kept = *err;
	node_changed(directory_control(owner, "error"));
}

void control_outcome(struct directory *directory, const char *file, struct nefs_error *err)
{
	if (err->code && file)
		nefs_error_prefix(err, "%s", file);
	set_error(directory, err);
}

int control_store(struct node *node, const char *text, size_t size)
{
	const struct control *control = node->control;
	struct nefs_error err = { 0 };
	int result;

	if (fs_gone(node))
		return -ENODEV;
	if (!control->store)
		return -EBADF;
	if (size > VALUE_MAX)
		result = nefs_error_set(&err, E2BIG,
			"%zu bytes were written at once, a value has at most %d", size, VALUE_MAX);
	else
		result = control->store(node, text, size, &err);
	if (!(control->flags & CONTROL_REPORTS) || size > VALUE_MAX)
		control_outcome(node->directory, control->name, &err);
	return result;
}

void control_read_text(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	/*
	 * A read at 0 renders anew and counts as having seen the present content; reads behind it
	 * continue what that one saw, so that nobody gets half of one value and half of another.
	 */
	if (offset == 0 || !handle->text) {
		char *text;
		size_t length;

		if (control_render(handle->node, &text, &length)) {
			fuse_reply_err(req, ENOMEM);
			return;
		}
		free(handle->text);
		handle->text = text;
		handle->text_size = length;
		handle->seen = handle->node->changes;
	}
	if (offset < 0 || (uint64_t)offset >= handle->text_size) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	if (size > handle->text_size - (size_t)offset)
		size = handle->text_size - (size_t)offset;
	fuse_reply_buf(req, handle->text + offset, size);
}

unsigned int control_poll(struct handle *handle)
{
	struct node *node = handle->node;
	const struct control *control = node->control;

	if (node->kind != NODE_CONTROL)
		return POLL_ALWAYS;
	if (fs_gone(node))
		return POLL_ALWAYS | POLLERR | POLLPRI | POLLHUP;
	if (control->ops && control->ops->readable)
		return control->ops->readable(handle) ? POLLIN | POLLRDNORM : 0;
	if (control->flags & CONTROL_POLL && handle->seen != node->changes)
		return POLL_ALWAYS | POLLERR | POLLPRI;
	return POLL_ALWAYS;
}
