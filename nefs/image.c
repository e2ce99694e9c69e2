/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image.h"
#include <errno.h>
#include <nefs/cleanup.h>
#include <stdlib.h>

int image_check(const struct image *image, struct nefs_error *err)
{
	if (!image->file || !image->file->size)
		return nefs_error_set(err, EINVAL,
			"image is not set; write an EIF to it first: cat app.eif > image");
	return 0;
}

void image_replace(struct image *image, struct spool_file *file)
{
	/* Nobody wants to know any more what the report would say of it. */
	if (image->file && image->file == image->described && image->file->refs == 2)
		spool_file_abandon(image->file);
	spool_file_unref(image->file);
	image->file = file;
	image->stale = false;
}

void image_release(struct image *image)
{
	image_replace(image, NULL);
	image_forget(image);
}

void image_forget(struct image *image)
{
	image->generation++;
	image->sound = false;
	free(nefs_take_ptr(image->measurements));
	free(nefs_take_ptr(image->info));
}
