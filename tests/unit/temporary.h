/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Directories for what tests make, where the run that they are part of looks for what was left. */
#ifndef NEFS_TEST_TEMPORARY_H
#define NEFS_TEST_TEMPORARY_H

#include <stdio.h>
#include <stdlib.h>

/* Room for the path; that of a socket in it fits into sun_path. */
#define TEMPORARY_MAX 72

/* Makes a directory with this beginning of a name in $TMPDIR, or /tmp. Ends the program if it cannot. */
static inline void temporary_directory(char path[static TEMPORARY_MAX], const char *name)
{
	const char *where = getenv("TMPDIR");

	if (snprintf(path, TEMPORARY_MAX, "%s/%s-XXXXXX", where && *where ? where : "/tmp", name) >=
			TEMPORARY_MAX ||
		!mkdtemp(path)) {
		perror(path);
		exit(EXIT_FAILURE);
	}
}

#endif
