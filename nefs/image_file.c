/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image_file.h"
#include "enclave.h"
#include "report.h"
#include "spool.h"
#include "staging.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

static struct enclave *of(const struct node *node)
{
	return enclave_of(node->directory);
}

static void replace_image(struct enclave *enclave, struct spool_file *file)
{
	image_replace(&enclave->image, file);
	report_invalidate(enclave);
	enclave_compare(enclave);
}

void image_file_reset(struct node *node)
{
	replace_image(of(node), NULL);
	control_unset(node);
}

static int open_image(struct handle *handle, struct nefs_error *err)
{
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
	const struct spool_file *file = of(handle->node)->image.file;

	if (file)
		spool_reply(req, file, size, offset);
	else
		fuse_reply_buf(req, NULL, 0);
}

static ssize_t write_image(
	struct handle *handle, const char *data, size_t size, off_t offset, struct nefs_error *err)
{
	struct enclave *enclave = of(handle->node);
	/* What runs is not written into: a new one begins beside it. */
	bool fresh = !enclave->image.file || handle->truncate || enclave->image.stale ||
		     enclave->image.file == enclave->applied.image;
	struct spool_file *file;
	ssize_t written;
	int failed;

	if (handle->flags & O_APPEND)
		offset = fresh ? 0 : (off_t)enclave->image.file->size;
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
		written = spool_write(enclave->image.file, data, size, offset, err);
		report_invalidate(enclave);
		return written;
	}
	failed = spool_file_new(&fs_of(&enclave->directory)->spool, &file, err);
	if (failed)
		return failed;
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
		enclave->image.stale = true;
		return 0;
	}
	if (enclave->image.file && size == enclave->image.file->size)
		return 0;
	if (!enclave->image.file)
		return nefs_error_set(err, EINVAL, "there is no image to resize; write one");
	if (enclave->image.file == enclave->applied.image)
		return nefs_error_set(err, EINVAL,
			"it runs, and what runs is not resized; write a new one from its first byte on");
	failed = spool_truncate(enclave->image.file, size, err);
	report_invalidate(enclave);
	return failed;
}

static int adopt_image(struct node *node, struct node *staged, struct nefs_error *err)
{
	struct enclave *enclave = of(node);
	struct spool_file *file = staged_of(staged)->file;
	char head[4];
	ssize_t got;

	got = spool_read(file, head, sizeof(head), 0);
	if (got < 0)
		return nefs_error_set(err, EIO, "cannot read the staged image");
	if (got == 0 || !backend_image_plausible(head, (size_t)got))
		return nefs_error_set(err, EINVAL,
			"the file renamed over it is not an enclave image: it does not begin with \".eif\"");
	spool_file_ref(file);
	replace_image(enclave, file);
	report_request(enclave, false);
	return 0;
}

/* Its last writer closes it: it is whole, as far as anybody can say. */
static void close_image(struct handle *handle)
{
	struct enclave *enclave = of(handle->node);
	const struct handle *other;

	if ((handle->flags & O_ACCMODE) == O_RDONLY || !enclave->image.file ||
		node_gone(handle->node))
		return;
	LIST_FOREACH(other, &handle->node->handles, siblings)
	if (other != handle && (other->flags & O_ACCMODE) != O_RDONLY)
		return;
	/* Without memory for it, it is made when somebody asks. */
	report_request(enclave, false);
}

static uint64_t image_size(struct node *node)
{
	return of(node)->image.file ? of(node)->image.file->size : 0;
}

const struct control_ops image_file_ops = {
	.open = open_image,
	.read = read_image,
	.write = write_image,
	.truncate = truncate_image,
	.adopt = adopt_image,
	.size = image_size,
	.close = close_image,
};
