/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report.h"
#include "enclave.h"
#include "spool.h"
#include <errno.h>
#include <nefs/cleanup.h>
#include <stdlib.h>
#include <string.h>

static struct enclave *of(const struct node *node)
{
	return enclave_of(node->directory);
}

void report_invalidate(struct enclave *enclave)
{
	image_forget(&enclave->image);
	node_invalidate(enclave->files.measurements);
	node_invalidate(enclave->files.image_info);
}

/* A report being made by a worker. */
struct description {
	struct work work; /* first */
	struct enclave *enclave;
	struct spool_file *file;
	uint64_t generation;
	bool asked; /* somebody wants to know, and learns of a failure */
	struct backend_image_report report;
	struct nefs_error error;
};

static void run_description(struct work *work)
{
	struct description *description = (struct description *)work;

	backend_image_describe(description->file->fd, &description->report, &description->error);
}

/* Takes over what was found of the image that is there now. */
static void take_report(struct enclave *enclave, struct description *description)
{
	struct image *image = &enclave->image;

	if (!description->error.code) {
		image->sound = true;
		image->measurements = nefs_take_ptr(description->report.measurements);
		image->info = nefs_take_ptr(description->report.info);
	} else if (description->asked) {
		control_outcome(&enclave->directory, "image", &description->error);
		/* No measurements, and no reader is left waiting. */
		image->measurements = strdup("");
		image->info = strdup("");
	}
}

static void description_done(struct work *work)
{
	struct description *description = (struct description *)work;
	struct enclave *enclave = description->enclave;

	enclave->image.describing = NULL;
	enclave->image.described = NULL;
	if (description->generation == enclave->image.generation)
		take_report(enclave, description);
	/* Whoever waits for news of an image that came meanwhile has that one described. */
	if (!enclave->directory.removed) {
		node_changed(enclave->files.measurements);
		node_changed(enclave->files.image_info);
	}
	free(description->report.measurements);
	free(description->report.info);
	spool_file_unref(description->file);
	directory_unref(&enclave->directory);
	free(description);
}

int report_request(struct enclave *enclave, bool asked)
{
	struct image *image = &enclave->image;
	struct description *description = image->describing;

	if (!description) {
		if (image->sound)
			return 0;
		description = calloc(1, sizeof(*description));
		if (!description)
			return -ENOMEM;
		description->work.run = run_description;
		description->work.done = description_done;
		description->work.what = "the check of an image";
		description->enclave = enclave;
		description->file = image->file;
		description->generation = image->generation;
		spool_file_ref(image->file);
		directory_ref(&enclave->directory);
		image->describing = description;
		image->described = image->file;
		workers_submit(fs_of(&enclave->directory)->workers, &description->work);
	}
	description->asked |= asked;
	return 0;
}

static const char *report_text(const struct node *node)
{
	const struct enclave *enclave = enclave_of(node->directory);

	return node->control->ops == &measurements_ops ? enclave->image.measurements
						       : enclave->image.info;
}

static void read_report(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	struct enclave *enclave = of(handle->node);
	const char *known;
	char *text;

	if (control_wants_text(handle, offset)) {
		known = report_text(handle->node);
		if (!known && enclave->image.file) {
			if (report_request(enclave, true))
				fuse_reply_err(req, ENOMEM);
			else
				handle_park_read(req, handle, size, offset);
			return;
		}
		text = strdup(known ? known : "");
		if (!text) {
			fuse_reply_err(req, ENOMEM);
			return;
		}
		control_take_text(handle, text, strlen(text));
	}
	control_reply_text(req, handle, size, offset);
}

/* 0 until it is known, as for files in /proc. */
static uint64_t report_size(struct node *node)
{
	const char *text = report_text(node);

	return text ? strlen(text) : 0;
}

const struct control_ops measurements_ops = { .read = read_report, .size = report_size };
const struct control_ops image_info_ops = { .read = read_report, .size = report_size };
