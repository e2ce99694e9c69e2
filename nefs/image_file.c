/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image_file.h"
#include "enclave.h"
#include "report.h"
#include "spool_job.h"
#include "staging.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

static struct enclave *of(const struct node *node)
{
	return enclave_of(node->directory);
}

/* What the enclave will start with is another now. */
static void changed(struct enclave *enclave, struct node *node)
{
	const uid_t caller = node->directory->tree->caller;

	if (caller != TREE_NO_CALLER)
		enclave->image_by = caller;
	node_invalidate(node);
	report_invalidate(enclave);
	enclave_compare(enclave);
}

/* Whoever has it open for writing has no draft any more: the next write begins at the first byte. */
static void begin_anew(struct node *node)
{
	struct handle *handle;

	LIST_FOREACH(handle, &node->handles, siblings)
	handle->truncate = handle_writes(handle);
}

static void replace_image(struct node *node, struct spool_file *file)
{
	image_replace(&of(node)->image, file);
	begin_anew(node);
	changed(of(node), node);
}

void image_file_reset(struct node *node)
{
	replace_image(node, NULL);
	control_unset(node);
}

static int open_image(struct handle *handle, struct nefs_error *err)
{
	/*
	 * O_TRUNC takes effect with the first byte written: an image that turns out not to be one
	 * must not cost the image that was there.
	 */
	handle->truncate = handle_writes(handle) && handle->flags & O_TRUNC;
	return 0;
}

/* What a reader sees: the image that stands; without one, what has come of the first. */
static struct spool_file *content(const struct enclave *enclave)
{
	return enclave->image.file ? enclave->image.file : enclave->image.draft.file;
}

static void read_image(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	struct spool_file *file = content(of(handle->node));

	if (file)
		spool_reply(req, file, size, offset);
	else
		fuse_reply_buf(req, NULL, 0);
}

/* What runs is read by the device at any moment. */
static bool in_use(const struct enclave *enclave)
{
	return enclave->image.file == enclave->applied.image;
}

/* A draft that came to nothing: its room is given back, and the time is that of what stands. */
static void drop_draft(struct enclave *enclave, struct node *node, struct nefs_error *err)
{
	struct image *image = &enclave->image;

	image_draft_drop(image, err);
	/* Without memory for it the writer is told to begin at the first byte, and nothing else. */
	free(image->dropped);
	image->dropped = err->code ? malloc(sizeof(*image->dropped)) : NULL;
	if (image->dropped)
		*image->dropped = *err;
	begin_anew(node);
	node->mtime = enclave->image_set;
	node_invalidate(node);
}

static void commit_draft(struct enclave *enclave, struct node *node)
{
	image_draft_commit(&enclave->image);
	changed(enclave, node);
}

/* Where a write goes. */
enum target {
	TARGET_NEW,   /* to a draft that begins with it */
	TARGET_DRAFT, /* to the one that there is */
	TARGET_IMAGE, /* into the image that stands */
};

static enum target target_of(const struct handle *handle, off_t offset)
{
	const struct enclave *enclave = of(handle->node);
	const struct image *image = &enclave->image;

	if (handle->truncate || image->stale)
		return TARGET_NEW;
	if (image->draft.file)
		return TARGET_DRAFT;
	if (!image->file || in_use(enclave))
		return TARGET_NEW;
	/* Its own writer may go back to its beginning; another's first byte is a new one's. */
	return offset == 0 && handle->position != image->serial ? TARGET_NEW : TARGET_IMAGE;
}

/* The offset of a write that appends. */
static off_t end_of(const struct handle *handle)
{
	const struct enclave *enclave = of(handle->node);
	const struct image *image = &enclave->image;

	if (handle->truncate || image->stale)
		return 0;
	if (image->draft.file)
		return (off_t)image->draft.file->size;
	return image->file ? (off_t)image->file->size : 0;
}

static int begin_draft(struct handle *handle, off_t offset, struct nefs_error *err)
{
	struct fs *fs = fs_of(handle->node->directory);
	struct enclave *enclave = of(handle->node);
	bool first = !enclave->image.draft.file;
	int failed;

	/*
	 * A large write is some of ours. The one that is refused makes it a short one, upon which its writer goes on, and
	 * has to learn of the reason now.
	 */
	if (offset != 0 && enclave->image.dropped && handle->position == enclave->image.serial) {
		*err = *enclave->image.dropped;
		return -err->code;
	}
	/* A writer that goes on after its first block was refused must not replace anything. */
	if (offset != 0)
		return nefs_error_set(err, EINVAL,
			"a new image is written from its first byte on, not from byte %lld: write all "
			"of it again",
			(long long)offset);
	failed = image_draft_begin(&enclave->image, &fs->spool, fs->tree.caller, err);
	if (failed)
		return failed;
	if (first)
		enclave->image_set = handle->node->mtime;
	handle->truncate = false;
	return 0;
}

/* A write that is under way. */
struct image_write {
	struct spool_job job; /* first */
	fuse_req_t req;
	struct handle *handle; /* open until it is answered */
	struct enclave *enclave;
	uid_t caller;
	bool anew; /* it goes to a draft; else into the image that stands */
};

/* What was written is in the draft: is that an image, all of one, or none? */
static ssize_t end_draft_write(struct image_write *write)
{
	struct enclave *enclave = write->enclave;
	struct node *node = enclave->files.image;
	struct spool_job *job = &write->job;
	ssize_t result = job->result;

	/* It was removed, or another was begun: what is written to is nobody's. */
	if (enclave->image.draft.file != job->file)
		return result;
	if (result >= 0 &&
		image_draft_written(&enclave->image, job->offset, (uint64_t)result, &job->err))
		result = -job->err.code;
	if (result < 0)
		drop_draft(enclave, node, &job->err);
	else if (image_draft_is_whole(&enclave->image))
		commit_draft(enclave, node);
	return result;
}

static void image_written(struct spool_job *job)
{
	struct image_write *write = (struct image_write *)job;
	struct handle *handle = write->handle;
	struct enclave *enclave = write->enclave;
	struct node *node = enclave->files.image;
	struct tree *tree = enclave->directory.tree;
	ssize_t result = job->result;
	uid_t before = tree->caller;

	tree->caller = write->caller;
	if (write->anew)
		result = end_draft_write(write);
	else
		enclave->image.writes--;
	if (!write->anew && enclave->image.file == job->file)
		changed(enclave, node);
	if (handle->gone || handle->node != node || node_gone(node))
		fuse_reply_err(write->req, ENODEV);
	else
		control_end_write(write->req, handle, result, &job->err);
	tree->caller = before;
	directory_unref(&enclave->directory);
	free(write);
}

/* Where a write goes: to the draft, or into the image. NULL: it is refused. */
static struct spool_file *file_for(
	struct handle *handle, const char *data, size_t size, off_t offset, struct nefs_error *err)
{
	struct enclave *enclave = of(handle->node);
	enum target target = target_of(handle, offset);
	int failed = 0;

	if (offset == 0 && !backend_image_plausible(data, size))
		failed = nefs_error_set(err, EINVAL,
			"what was written is not an enclave image: it does not begin with \".eif\"; build "
			"one with nefs-eif build or nitro-cli build-enclave");
	if (!failed && target == TARGET_NEW)
		failed = begin_draft(handle, offset, err);
	if (failed) {
		handle->truncate = true;
		return NULL;
	}
	handle->position = enclave->image.serial;
	return target == TARGET_IMAGE ? enclave->image.file : enclave->image.draft.file;
}

static void write_image(
	fuse_req_t req, struct handle *handle, const char *data, size_t size, off_t offset)
{
	struct enclave *enclave = of(handle->node);
	struct image_write *write = calloc(1, sizeof(*write));
	struct nefs_error err = { 0 };
	struct spool_file *file = NULL;

	if (handle->flags & O_APPEND)
		offset = end_of(handle);
	if (!write)
		nefs_error_set(&err, ENOMEM, "out of memory for a write of %zu bytes", size);
	else
		file = file_for(handle, data, size, offset, &err);
	if (!file) {
		free(write);
		control_end_write(req, handle, -err.code, &err);
		return;
	}
	write->job.done = image_written;
	write->req = req;
	write->handle = handle;
	write->enclave = enclave;
	write->caller = handle->node->directory->tree->caller;
	write->anew = file == enclave->image.draft.file;
	directory_ref(&enclave->directory);
	if (!write->anew) {
		/* What is known of it is void from now on; and again when all is written. */
		enclave->image.writes++;
		changed(enclave, handle->node);
	}
	spool_write(&write->job, file, data, size, offset);
}

/* Has a writer emptied it, and not written yet? */
static bool is_emptied(const struct node *node)
{
	const struct handle *handle;

	LIST_FOREACH(handle, &node->handles, siblings)
	if (handle->truncate)
		return true;
	return false;
}

/* A draft's size is what its writer announced. */
struct image_resize {
	struct spool_job job; /* first */
	struct enclave *enclave;
	uid_t caller;
	struct node_end *end;
};

static void image_resized(struct spool_job *job)
{
	struct image_resize *resize = (struct image_resize *)job;
	struct enclave *enclave = resize->enclave;
	struct tree *tree = enclave->directory.tree;
	struct node_end *end = resize->end;
	ssize_t result = job->result;
	uid_t before = tree->caller;

	tree->caller = resize->caller;
	if (!enclave->directory.removed)
		control_outcome(&enclave->directory, "image", &job->err);
	tree->caller = before;
	free(resize);
	end->done(end, (int)result);
	directory_unref(&enclave->directory);
}

static int resize_draft(
	struct enclave *enclave, uint64_t size, struct node_end *end, struct nefs_error *err)
{
	struct image_resize *resize = calloc(1, sizeof(*resize));

	if (!resize)
		return nefs_error_set(err, ENOMEM, "out of memory for its new size");
	resize->job.done = image_resized;
	resize->enclave = enclave;
	resize->caller = enclave->directory.tree->caller;
	resize->end = end;
	directory_ref(&enclave->directory);
	spool_resize(&resize->job, enclave->image.draft.file, size);
	return NODE_LATER;
}

static int truncate_image(
	struct node *node, uint64_t size, struct node_end *end, struct nefs_error *err)
{
	struct enclave *enclave = of(node);
	struct image *image = &enclave->image;

	/* As for O_TRUNC: emptying it is what a writer does first, and must cost nothing yet. */
	if (size == 0) {
		image->stale = true;
		return 0;
	}
	/* Some announce the size of what they are about to write, and some confirm it at the end. */
	if (image->stale || is_emptied(node))
		return 0;
	if (image->draft.file)
		return resize_draft(enclave, size, end, err);
	if (image->file && size == image->file->size)
		return 0;
	if (!image->file)
		return nefs_error_set(err, EINVAL, "there is no image to resize; write one");
	return nefs_error_set(err, EINVAL,
		"it has %llu bytes, and with %llu it would be no image; write another from its first "
		"byte on",
		(unsigned long long)image->file->size, (unsigned long long)size);
}

/* Is this staged file an image, and all of one? */
static int check_staged(const struct spool_file *file, struct nefs_error *err)
{
	size_t got = file->size < BACKEND_IMAGE_HEAD ? (size_t)file->size : BACKEND_IMAGE_HEAD;
	uint64_t length;
	int failed;

	if (file->running)
		return nefs_error_set(err, EBUSY,
			"the file renamed over it is still being written, through a mapping; unmap it first");
	if (got == 0 || !backend_image_plausible(file->head, got))
		return nefs_error_set(err, EINVAL,
			"the file renamed over it is not an enclave image: it does not begin with \".eif\"");
	failed = backend_image_length(file->head, got, SPOOL_FILE_MAX, &length, err);
	if (failed)
		return failed;
	if (!length || file->size < length)
		return nefs_error_set(err, EINVAL,
			"the file renamed over it has %llu of %llu bytes; copy all of it",
			(unsigned long long)file->size,
			(unsigned long long)(length ? length : BACKEND_IMAGE_HEAD));
	return 0;
}

static int adopt_image(struct node *node, struct node *staged, struct nefs_error *err)
{
	struct spool_file *file = staged_of(staged)->file;
	int failed = check_staged(file, err);

	if (failed)
		return failed;
	spool_file_ref(file);
	replace_image(node, file);
	report_request(of(node));
	return 0;
}

/* Its last writer closes it: a draft is whole now, or never. */
static void close_image(struct handle *handle)
{
	struct enclave *enclave = of(handle->node);
	struct nefs_error err = { 0 };

	if (!handle_writes(handle) || node_gone(handle->node))
		return;
	if (node_is_written(handle->node, handle))
		return;
	if (enclave->image.draft.file && image_draft_is_long_enough(&enclave->image)) {
		commit_draft(enclave, handle->node);
	} else if (enclave->image.draft.file) {
		drop_draft(enclave, handle->node, &err);
		control_outcome(&enclave->directory, handle->node->control->name, &err);
	}
	if (!enclave->image.file)
		return;
	/* Without memory for it, it is made when somebody asks. */
	report_request(enclave);
	/* It may be known for what it is already: a reader asked while this writer had it open. */
	report_merge(enclave, handle);
}

static struct spool_file *image_content(struct node *node)
{
	struct spool_file *file = of(node)->image.file;

	if (file)
		spool_file_ref(file);
	return file;
}

static uint64_t image_size(struct node *node)
{
	const struct spool_file *file = content(of(node));

	return file ? file->size : 0;
}

/* What runs, and is not what stands, stays whose it was. */
static int chown_image(struct node *node, uid_t uid)
{
	struct image *image = &of(node)->image;
	int failed = image->file ? spool_file_chown(image->file, uid) : 0;

	if (!failed && image->draft.file)
		failed = spool_file_chown(image->draft.file, uid);
	return failed;
}

const struct control_ops image_file_ops = {
	.chown = chown_image,
	.open = open_image,
	.read = read_image,
	.write = write_image,
	.truncate = truncate_image,
	.adopt = adopt_image,
	.content = image_content,
	.size = image_size,
	.close = close_image,
};
