/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nameless.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <stdio.h>
#include <string.h>

const char *nameless_directory(void)
{
	const char *directory = getenv("TMPDIR");

	return directory && *directory ? directory : "/tmp";
}

int nameless_open(struct nefs_error *err)
{
	const char *directory = nameless_directory();
	NEFS_AUTO_FREE char *template = NULL;
	int fd;

	fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	/* Not every filesystem can do that; ENOENT and EISDIR are what old kernels say then. */
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
		if (asprintf(&template, "%s/nefs-eif.XXXXXX", directory) < 0)
			return nefs_error_set(err, ENOMEM, "out of memory for a file name");
		fd = mkostemp(template, O_CLOEXEC);
		if (fd >= 0)
			unlink(template);
	}
	if (fd < 0)
		return nefs_error_set(err, errno,
			"cannot create a temporary file in %s: %s; set TMPDIR to a directory that "
			"can be written",
			directory, strerror(errno));
	return fd;
}
