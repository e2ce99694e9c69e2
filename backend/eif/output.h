/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file that appears under its name complete, or not at all.
 *
 * It is written without a name in its target's directory (O_TMPFILE), so that even a killed
 * process leaves nothing behind; where a filesystem cannot do that, under a temporary name.
 */
#ifndef NEFS_EIF_OUTPUT_H
#define NEFS_EIF_OUTPUT_H

#include <limits.h>
#include <nefs/error.h>
#include <stdbool.h>
#include <sys/types.h>

struct eif_output {
	int fd;	       /* for reading and writing; -1: not open */
	int directory; /* the target's */
	char name[NAME_MAX + 1];
	char temporary[NAME_MAX + 1]; /* "" while the file has no name */
};

#define EIF_OUTPUT_INIT                                                                            \
	{                                                                                          \
		.fd = -1, .directory = -1                                                          \
	}

/*
 * Begins writing path with these permissions (less the umask). follow: if path is a symlink to a
 * file, that file will be replaced and not the link. EINVAL if something other than a regular file
 * has this name; the errno of open otherwise.
 */
int eif_output_open(struct eif_output *output, const char *path, mode_t mode, bool follow,
	struct nefs_error *err);

/*
 * Flushes to disk, and gives the file its name. replace: in place of what has that name;
 * otherwise EEXIST if something has. Ends the output on success.
 */
int eif_output_commit(struct eif_output *output, bool replace, struct nefs_error *err);

/* Drops what was written, if it was not committed. May be called any number of times. */
void eif_output_discard(struct eif_output *output);

#endif
