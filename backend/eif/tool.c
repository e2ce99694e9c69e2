/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tool.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* pcrs: NULL if they are not wanted. */
static int open_image(
	const char *path, struct tool_image *image, struct eif_pcrs *pcrs, struct nefs_error *err)
{
	int failed;

	image->fd = -1;
	failed = tool_open_source(path, &image->source, err);
	if (failed)
		return failed;
	failed = pcrs ? eif_read_measured(&image->source, &image->eif, pcrs, err)
		      : eif_read(&image->source, &image->eif, err);
	if (failed) {
		nefs_error_prefix(err, "%s", path);
		close(image->source.fd);
		return failed;
	}
	image->fd = image->source.fd;
	return 0;
}

int tool_open_unmeasured(const char *path, struct tool_image *image, struct nefs_error *err)
{
	return open_image(path, image, NULL, err);
}

int tool_open_image(const char *path, struct tool_image *image, struct nefs_error *err)
{
	return open_image(path, image, &image->pcrs, err);
}

static int print_on(FILE *stream, const char *text, struct nefs_error *err)
{
	if (fputs(text, stream) == EOF || fflush(stream) == EOF)
		return nefs_error_set(err, EIO, "cannot write to the standard %s: %s",
			stream == stdout ? "output" : "error", strerror(errno));
	return 0;
}

int tool_print(const char *text, struct nefs_error *err)
{
	return print_on(stdout, text, err);
}

int tool_print_pcrs(const struct eif_pcrs *pcrs, FILE *stream, struct nefs_error *err)
{
	NEFS_AUTO_FREE char *text = eif_pcrs_text(pcrs);

	if (!text)
		return nefs_error_set(err, ENOMEM, "out of memory for the measurements");
	return print_on(stream, text, err);
}

int tool_fail(const struct nefs_error *err)
{
	fprintf(stderr, "nefs-eif: %s\n", err->text);
	return TOOL_FAILED;
}

int tool_misused(const char *command, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "nefs-eif %s: ", command);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("; see nefs-eif --help\n", stderr);
	return TOOL_USAGE;
}
