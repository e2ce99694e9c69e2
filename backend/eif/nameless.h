/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file without a name, for what comes through a pipe and has to be read twice: it is gone with its
 * last descriptor, however the process ends.
 */
#ifndef NEFS_EIF_NAMELESS_H
#define NEFS_EIF_NAMELESS_H

#include <nefs/error.h>

/*
 * Opens one for reading and writing, for its owner only, in $TMPDIR, or in /tmp if that is not set.
 * Returns its fd, the caller's, or a negative errno with a sentence that names the directory.
 */
int nameless_open(struct nefs_error *err);

/* The directory that nameless_open uses, for sentences. */
const char *nameless_directory(void);

#endif
