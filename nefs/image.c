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

void image_release(struct image *image)
{
	spool_file_unref(image->file);
	free(image->measurements);
	free(image->info);
	*image = (struct image){
		.generation = image->generation + 1,
		.describing = image->describing,
	};
}

void image_forget(struct image *image)
{
	image->generation++;
	image->sound = false;
	free(nefs_take_ptr(image->measurements));
	free(nefs_take_ptr(image->info));
}
