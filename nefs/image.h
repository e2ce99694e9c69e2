/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An enclave's image, and what is known of it (report.h). Its file: image_file.h. Loop thread. */
#ifndef NEFS_IMAGE_H
#define NEFS_IMAGE_H

#include "spool.h"
#include <stdbool.h>

struct description;

struct image {
	struct spool_file *file; /* NULL: none */
	bool stale;		 /* truncate(2) to 0: the next write begins a new one */
	uint64_t generation;	 /* counts its changes */

	/* What is known of this generation (report.c). */
	struct description *describing; /* the report being made, perhaps of an older one */
	struct spool_file *described;	/* what that reads, by a reference of its own */
	bool sound;			/* a report found it whole, its CRC right */
	char *measurements;		/* NULL: not known */
	char *info;
};

/* -EINVAL if there is none to start with. */
int image_check(const struct image *image, struct nefs_error *err);

/* Gives it back, with all that is known of it; a report being made goes on, for nobody. */
void image_release(struct image *image);

/* Puts another file (NULL: none) in the place of the one there, whose room is given back; to be forgotten then. */
void image_replace(struct image *image, struct spool_file *file);

/* Its content has changed: what is known of it is void. */
void image_forget(struct image *image);

#endif
