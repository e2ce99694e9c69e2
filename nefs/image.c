/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image.h"
#include <errno.h>
#include <inttypes.h>
#include <nefs/backend.h>
#include <nefs/cleanup.h>
#include <stdio.h>
#include <stdlib.h>

_Static_assert(BACKEND_IMAGE_HEAD <= SPOOL_HEAD, "a header is at hand, wherever the file is");

/* "123 of 456 bytes"; "123 bytes, less than its header," while nobody knows of how many. */
static const char *figures(uint64_t have, uint64_t length, char *text, size_t size)
{
	if (length)
		snprintf(text, size, "%" PRIu64 " of %" PRIu64 " bytes", have, length);
	else
		snprintf(text, size, "%" PRIu64 " of at least %d bytes", have, BACKEND_IMAGE_HEAD);
	return text;
}

/* What was left out between what was written is not there. */
static uint64_t draft_size(const struct image_draft *draft)
{
	return draft->written < draft->file->size ? draft->written : draft->file->size;
}

int image_check(const struct image *image, struct nefs_error *err)
{
	const struct image_draft *draft = &image->draft;
	char text[64];

	if (draft->file)
		return nefs_error_set(err, EINVAL,
			"image: %s are there; it is still being written, start it when all of it is",
			figures(draft_size(draft), draft->length, text, sizeof(text)));
	if (!image->file && image->lost)
		return nefs_error_set(err, EINVAL,
			"image is not set: the last copy of one ended after %s; copy all of it",
			figures(image->lost, image->awaited, text, sizeof(text)));
	if (!image->file || !image->file->size)
		return nefs_error_set(err, EINVAL,
			"image is not set; write an EIF to it first: cat app.eif > image");
	if (image->writes)
		return nefs_error_set(err, EINVAL,
			"image: a part of it is being written anew, which its disk has not taken yet; start "
			"it when that is done");
	/* It was read when it was written, and need not be read again to be refused. */
	if (image->unsound) {
		nefs_error_set(err, image->unsound->code, "%s", image->unsound->text);
		return -image->unsound->code;
	}
	return 0;
}

static void discard_draft(struct image *image)
{
	spool_file_unref(image->draft.file);
	image->draft = (struct image_draft){ 0 };
}

/* Of the file that stands, and of no draft. */
static void put_in_place(struct image *image, struct spool_file *file)
{
	/* Nobody wants to know any more what the report would say of it. */
	if (image->file && image->file == image->described && image->file->refs == 2)
		spool_file_abandon(image->file);
	spool_file_unref(image->file);
	image->file = file;
	image->stale = false;
	image->lost = 0;
	free(nefs_take_ptr(image->dropped));
}

void image_replace(struct image *image, struct spool_file *file)
{
	discard_draft(image);
	/* Whoever wrote what was there has no part in this one. */
	image->serial++;
	put_in_place(image, file);
}

void image_release(struct image *image)
{
	image_replace(image, NULL);
	image_forget(image);
}

void image_forget(struct image *image)
{
	image->generation++;
	image->known = image->sound = image->overdue = false;
	image->twin = NULL;
	text_unref(nefs_take_ptr(image->measurements));
	text_unref(nefs_take_ptr(image->info));
	free(nefs_take_ptr(image->unsound));
}

void image_cancel_report(struct image *image, struct workers *workers)
{
	if (image->describing)
		work_cancel(workers, image->describing);
}

int image_draft_begin(struct image *image, struct spool *spool, uid_t owner, struct nefs_error *err)
{
	/* First: what is given up makes room for what is written next. */
	discard_draft(image);
	image->serial++;
	image->stale = false;
	image->lost = 0;
	free(nefs_take_ptr(image->dropped));
	return spool_file_new(spool, owner, &image->draft.file, err);
}

int image_draft_written(
	struct image *image, uint64_t offset, uint64_t written, struct nefs_error *err)
{
	struct image_draft *draft = &image->draft;

	draft->written += written;
	/* Only a write that touches the header can change what that tells. */
	if (offset > draft->head || offset >= BACKEND_IMAGE_HEAD)
		return 0;
	if (offset + written > draft->head)
		draft->head = offset + written;
	if (draft->head < BACKEND_IMAGE_HEAD)
		return 0;
	return backend_image_length(
		draft->file->head, BACKEND_IMAGE_HEAD, SPOOL_FILE_MAX, &draft->length, err);
}

bool image_draft_is_long_enough(const struct image *image)
{
	return image->draft.length && image->draft.file->size >= image->draft.length;
}

bool image_draft_is_whole(const struct image *image)
{
	return image_draft_is_long_enough(image) && image->draft.written >= image->draft.length;
}

void image_draft_commit(struct image *image)
{
	struct spool_file *file = nefs_take_ptr(image->draft.file);

	discard_draft(image);
	put_in_place(image, file);
}

void image_draft_drop(struct image *image, struct nefs_error *err)
{
	const char *stays = image->file ? "the image before it stays" : "there is no image now";
	uint64_t have = draft_size(&image->draft), length = image->draft.length;
	char text[64];

	/* A header that no image has says it all. */
	bool misled = !length && image->draft.head >= BACKEND_IMAGE_HEAD;

	figures(have, length, text, sizeof(text));
	discard_draft(image);
	if (misled)
		return;
	image->lost = have;
	image->awaited = length;
	if (err->code)
		nefs_error_prefix(err, "after %s, which are given back (%s)", text, stays);
	else
		nefs_error_set(err, EINVAL,
			"its writer ended after %s, which are given back (%s); copy all of it again",
			text, stays);
}
