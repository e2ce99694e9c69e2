/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a path leads that is to be written. */
#ifndef NEFS_EIF_TARGET_H
#define NEFS_EIF_TARGET_H

#include <limits.h>
#include <nefs/error.h>
#include <stdbool.h>
#include <sys/stat.h>

struct target {
	bool standard_output;
	int directory; /* O_PATH, the caller's; -1 for the standard output */
	char name[NAME_MAX + 1];
	bool exists;
	struct stat st; /* if it exists; of a regular file */
};

/*
 * Follows path through links to a regular file, to a name that is free, or to the standard output.
 * Everything else is refused, and so is a link that the kernel would not let this process follow.
 */
int target_find(const char *path, struct target *target, struct nefs_error *err);

#endif
