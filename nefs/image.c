/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image.h"
#include "enclave.h"
#include "fs.h"
#include "parked.h"
#include "spool.h"
#include "streams.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static struct enclave *of(const struct node *node)
{
	return enclave_of(node->directory);
}

/* The device may read it at any moment while the enclave is active. */
static int check_idle(const struct enclave *enclave, struct nefs_error *err)
{
	if (enclave_active(enclave) || enclave->start_queued)
		return nefs_error_set(err, EBUSY,
			"%s is %s and keeps its image until it is stopped: echo 0 > %s/start",
			enclave->name, enclave_state_name(enclave->state), enclave->name);
	return 0;
}

void enclave_image_changed(struct enclave *enclave)
{
	enclave->image_generation++;
	free(enclave->measurements);
	free(enclave->image_info);
	enclave->measurements = NULL;
	enclave->image_info = NULL;
	node_invalidate(directory_control(&enclave->directory, "measurements"));
	node_invalidate(directory_control(&enclave->directory, "image_info"));
}

static void replace_image(struct enclave *enclave, struct spool_file *file)
{
	spool_file_unref(enclave->image);
	enclave->image = file;
	enclave->image_stale = false;
	enclave_image_changed(enclave);
}

void image_reset(struct node *node)
{
	replace_image(of(node), NULL);
}

static int open_image(struct handle *handle, struct nefs_error *err)
{
	(void)err;
	if ((handle->flags & O_ACCMODE) == O_RDONLY)
		return 0;
	/*
	 * O_TRUNC takes effect with the first byte written: an image that turns out not to be one
	 * must not cost the image that was there.
	 */
	handle->truncate = (handle->flags & O_TRUNC) != 0;
	return 0;
}

static void read_image(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	const struct spool_file *file = of(handle->node)->image;
	struct fuse_bufvec data = FUSE_BUFVEC_INIT(size);

	if (!file) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	data.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	data.buf[0].fd = file->fd;
	data.buf[0].pos = offset;
	fuse_reply_data(req, &data, FUSE_BUF_SPLICE_MOVE);
}

static ssize_t write_image(
	struct handle *handle, const char *data, size_t size, off_t offset, struct nefs_error *err)
{
	struct enclave *enclave = of(handle->node);
	bool fresh = !enclave->image || handle->truncate || enclave->image_stale;
	struct spool_file *file;
	ssize_t written;
	int failed = check_idle(enclave, err);

	if (failed)
		return failed;
	if (handle->flags & O_APPEND)
		offset = fresh ? 0 : (off_t)enclave->image->size;
	/* A writer that goes on after its first block was refused must not replace anything. */
	if (fresh && offset != 0)
		return nefs_error_set(err, EINVAL,
			"a new image is written from its first byte on, not from byte %lld: write all "
			"of it again",
			(long long)offset);
	if (offset == 0 && !backend_image_plausible(data, size))
		return nefs_error_set(err, EINVAL,
			"what was written is not an enclave image: it does not begin with \".eif\"; build "
			"one with nefs-eif build or nitro-cli build-enclave");
	if (!fresh) {
		written = spool_write(enclave->image, data, size, offset, err);
		enclave_image_changed(enclave);
		return written;
	}
	file = spool_file_new(enclave->directory.fs->spool, err);
	if (!file)
		return -err->code;
	written = spool_write(file, data, size, offset, err);
	if (written < 0) {
		spool_file_unref(file);
		return written;
	}
	handle->truncate = false;
	replace_image(enclave, file);
	return written;
}

static int truncate_image(struct node *node, uint64_t size, struct nefs_error *err)
{
	struct enclave *enclave = of(node);
	int failed;

	/* As for O_TRUNC: emptying it is what a writer does first, and must cost nothing yet. */
	if (size == 0) {
		enclave->image_stale = true;
		return 0;
	}
	if (enclave->image && size == enclave->image->size)
		return 0;
	failed = check_idle(enclave, err);
	if (failed)
		return failed;
	if (!enclave->image)
		return nefs_error_set(err, EINVAL, "there is no image to resize; write one");
	failed = spool_truncate(enclave->image, size, err);
	enclave_image_changed(enclave);
	return failed;
}

static int adopt_image(struct node *node, struct node *staged, struct nefs_error *err)
{
	struct enclave *enclave = of(node);
	struct spool_file *file = staged_of(staged)->file;
	char head[4];
	ssize_t got;
	int failed = check_idle(enclave, err);

	if (failed)
		return failed;
	got = spool_read(file, head, sizeof(head), 0);
	if (got < 0)
		return nefs_error_set(err, EIO, "cannot read the staged image");
	if (got == 0 || !backend_image_plausible(head, (size_t)got))
		return nefs_error_set(err, EINVAL,
			"the file renamed over it is not an enclave image: it does not begin with \".eif\"");
	spool_file_ref(file);
	replace_image(enclave, file);
	return 0;
}

static uint64_t image_size(struct node *node)
{
	return of(node)->image ? of(node)->image->size : 0;
}

const struct control_ops image_ops = {
	.open = open_image,
	.read = read_image,
	.write = write_image,
	.truncate = truncate_image,
	.adopt = adopt_image,
	.size = image_size,
};

/* ---- measurements, image_info ---- */

/* A report being made by a worker. */
struct description {
	struct work work; /* first */
	struct enclave *enclave;
	struct spool_file *file;
	uint64_t generation;
	struct backend_image_report report;
	struct nefs_error error;
};

static void run_description(struct work *work)
{
	struct description *description = (struct description *)work;

	backend_image_describe(description->file->fd, &description->report, &description->error);
}

static void description_done(struct work *work)
{
	struct description *description = (struct description *)work;
	struct enclave *enclave = description->enclave;

	enclave->describing = false;
	if (description->generation == enclave->image_generation && !enclave->directory.removed) {
		if (description->error.code) {
			control_outcome(&enclave->directory, "image", &description->error);
			/* No measurements, and no reader is left waiting. */
			enclave->measurements = strdup("");
			enclave->image_info = strdup("");
		} else {
			enclave->measurements = description->report.measurements;
			enclave->image_info = description->report.info;
			description->report = (struct backend_image_report){ 0 };
		}
	}
	if (!enclave->directory.removed) {
		node_changed(directory_control(&enclave->directory, "measurements"));
		node_changed(directory_control(&enclave->directory, "image_info"));
	}
	free(description->report.measurements);
	free(description->report.info);
	spool_file_unref(description->file);
	directory_unref(&enclave->directory);
	free(description);
}

/* Has the image described, if that is not under way. */
static int describe(struct enclave *enclave)
{
	struct description *description;

	if (enclave->describing)
		return 0;
	description = calloc(1, sizeof(*description));
	if (!description)
		return -ENOMEM;
	description->work.run = run_description;
	description->work.done = description_done;
	description->enclave = enclave;
	description->file = enclave->image;
	description->generation = enclave->image_generation;
	spool_file_ref(enclave->image);
	directory_ref(&enclave->directory);
	enclave->describing = true;
	workers_submit(enclave->directory.fs->workers, &description->work);
	return 0;
}

static const char *report_text(const struct node *node)
{
	const struct enclave *enclave = enclave_of(node->directory);

	return node->control->ops == &measurements_ops ? enclave->measurements
						       : enclave->image_info;
}

static void read_report(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	struct enclave *enclave = of(handle->node);
	const char *text;

	if (offset == 0) {
		free(handle->text);
		handle->text = NULL;
	}
	if (!handle->text) {
		text = report_text(handle->node);
		if (!text && enclave->image) {
			if (describe(enclave))
				fuse_reply_err(req, ENOMEM);
			else
				stream_park(req, handle, size, offset);
			return;
		}
		handle->text = strdup(text ? text : "");
		if (!handle->text) {
			fuse_reply_err(req, ENOMEM);
			return;
		}
		handle->text_size = strlen(handle->text);
		handle->seen = handle->node->changes;
	}
	if (offset < 0 || (uint64_t)offset >= handle->text_size)
		size = 0;
	else if (size > handle->text_size - (size_t)offset)
		size = handle->text_size - (size_t)offset;
	fuse_reply_buf(req, size ? handle->text + offset : NULL, size);
}

/* 0 until somebody has read it, as for files in /proc. */
static uint64_t report_size(struct node *node)
{
	const char *text = report_text(node);

	return text ? strlen(text) : 0;
}

const struct control_ops measurements_ops = { .read = read_report, .size = report_size };
const struct control_ops image_info_ops = { .read = read_report, .size = report_size };
