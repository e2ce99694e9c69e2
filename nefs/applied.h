/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an enclave runs with: its settings and its image as they were when it was started. Those in its
 * files are for the next start; which of them are others by now is its `pending`. Loop thread.
 */
#ifndef NEFS_APPLIED_H
#define NEFS_APPLIED_H

#include "settings.h"
#include "spool_file.h"

struct applied {
	struct settings settings; /* values only: their texts are not needed */
	struct spool_file
		*image;	  /* never written into; NULL: nothing was started, or it is released */
	uint32_t pending; /* what `pending` names: a bit for each setting, and APPLIED_IMAGE */
};

/* The image's bit, beside those of enum setting. */
#define APPLIED_IMAGE (1U << SETTINGS)

/* Copies what a launch is given, in place of what the last one had. -ENOMEM leaves nothing. */
int applied_take(struct applied *applied, const struct settings *settings, struct spool_file *image,
	struct nefs_error *err);

/* What was started is given back. */
void applied_release(struct applied *applied);

/* Looks anew at what is pending; nothing is unless it runs. True if that has changed. */
bool applied_compare(struct applied *applied, const struct settings *settings,
	const struct spool_file *image, bool runs);

#endif
