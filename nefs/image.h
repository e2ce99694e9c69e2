/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An enclave's image: the one that stands, a draft of the next, and what is known of the first (report.h).
 * Its file: image_file.h. Loop thread.
 *
 * A new image is written beside the one that stands and takes its place once it is whole, which its header
 * tells. What never becomes whole is dropped, and costs nothing.
 */
#ifndef NEFS_IMAGE_H
#define NEFS_IMAGE_H

#include "spool_file.h"
#include "text.h"
#include <nefs/backend.h>
#include <stdbool.h>

/* One that is being written. */
struct image_draft {
	struct spool_file *file; /* NULL: none */
	uint64_t head;	  /* bytes without a gap from the beginning, as far as the header goes */
	uint64_t written; /* bytes, those that were written twice counted twice */
	uint64_t length;  /* by its header; 0: that is not there yet */
};

struct image {
	struct spool_file *file; /* NULL: none */
	struct image_draft draft;
	uint64_t serial;     /* of the last draft: who wrote that may go on writing */
	unsigned int writes; /* into what stands, under way */
	bool stale;	     /* truncate(2) to 0: the next write begins a new one */
	uint64_t lost,
		awaited; /* the last draft was dropped at so many bytes of so many; 0: it was not */
	struct nefs_error *
		dropped; /* why, if it was refused: for its writer, who may go on; NULL: it was not */
	uint64_t generation; /* counts its changes */

	/* What is known of this generation (report.c). */
	struct work *describing;	/* the report being made, perhaps of an older one */
	struct spool_file *described;	/* what that reads, by a reference of its own */
	bool known;			/* it was described, whatever came of that */
	bool sound;			/* it is whole, its CRC right */
	uint8_t pcr0[BACKEND_PCR_SIZE]; /* of a sound one */
	const struct spool_file
		*twin; /* what runs, if it is the same byte for byte; not to be followed */
	bool overdue;  /* describing it takes long: nobody waits for its size */
	struct text *measurements; /* NULL: none */
	struct text *info;
	struct nefs_error *unsound; /* why it can't be started; NULL: nothing is known against it */
};

/* Can it be started with? -EINVAL, with the figures, if there is none or one is being written. */
int image_check(const struct image *image, struct nefs_error *err);

/* Gives it back, with all that is known of it. A report being made of it should have been cancelled. */
void image_release(struct image *image);

/*
 * Puts another file (NULL: none) in the place of the one there, whose room is given back; to be forgotten
 * then. A draft goes with it.
 */
void image_replace(struct image *image, struct spool_file *file);

/* Its content has changed: what is known of it is void. */
void image_forget(struct image *image);

/* Nobody wants to know any more what is being found out of it, if anything is. */
void image_cancel_report(struct image *image, struct workers *workers);

/* ---- a draft ---- */

/* Begins one, this user's, in place of the one there. EMFILE, ... as spool_file_new. */
int image_draft_begin(
	struct image *image, struct spool *spool, uid_t owner, struct nefs_error *err);

/*
 * So many bytes were written to it there. 0, or -EINVAL for a header that no image has: it is to be dropped
 * then.
 */
int image_draft_written(
	struct image *image, uint64_t offset, uint64_t written, struct nefs_error *err);

/* Has all been written that its header tells? */
bool image_draft_is_whole(const struct image *image);

/* The same for its last writer, who may have left out what is zeros. */
bool image_draft_is_long_enough(const struct image *image);

/* It takes the place of the image there, as image_replace. */
void image_draft_commit(struct image *image);

/* Drops it; its room is given back. Puts the figures in front of the reason (code 0: it just ended). */
void image_draft_drop(struct image *image, struct nefs_error *err);

#endif
