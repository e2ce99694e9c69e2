/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file that appears under its name complete, or not at all.
 *
 * It is written without a name in its target's directory (O_TMPFILE), so that even a killed
 * process leaves nothing behind; where a filesystem cannot do that, under a temporary name. What goes
 * to the standard output is made complete first, too.
 */
#ifndef NEFS_EIF_OUTPUT_H
#define NEFS_EIF_OUTPUT_H

#include <limits.h>
#include <nefs/error.h>
#include <stdbool.h>
#include <sys/stat.h>

struct eif_output {
	int fd;	       /* for reading and writing; -1: not open */
	int directory; /* the target's; -1 for the standard output */
	char name[NAME_MAX + 1];
	char temporary[NAME_MAX + 1]; /* "" while the file has no name */
	bool to_stdout;
	bool replaces; /* there is a file of this name: old */
	struct stat old;
};

#define EIF_OUTPUT_INIT                                                                            \
	{                                                                                          \
		.fd = -1, .directory = -1                                                          \
	}

/*
 * Begins writing path. What path is at its end, through links, is what counts: a regular file will be
 * replaced, its owner and permissions kept as far as the caller may; where there is none it will be
 * made, with 0666 less the umask, even if a link leads there; the link stays. "-", and anything that leads
 * to what the standard output is, goes there. EINVAL, with nothing touched, for a link or a name that
 * leads to anything else; the errno of open otherwise.
 */
int eif_output_open(struct eif_output *output, const char *path, struct nefs_error *err);

/*
 * The same for a name in an open directory, which stays the caller's: the name itself, no link is
 * followed, and what is replaced leaves nothing to the new file. EINVAL if something other than a
 * regular file or a link has the name.
 */
int eif_output_open_in(
	struct eif_output *output, int directory, const char *name, struct nefs_error *err);

/*
 * EINVAL with a sentence if the output would replace this input: one of them is a slip of the pen.
 * path may be NULL, or what cannot be replaced.
 */
int eif_output_refuse_input(
	const struct eif_output *output, const char *path, struct nefs_error *err);

/*
 * Flushes to disk, and gives the file its name. replace: in place of what has that name;
 * otherwise EEXIST if something has. Ends the output on success.
 */
int eif_output_commit(struct eif_output *output, bool replace, struct nefs_error *err);

/* Drops what was written, if it was not committed. May be called any number of times. */
void eif_output_discard(struct eif_output *output);

#endif
