/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tool.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Largest PEM file: a key or a certificate has a few kB. */
#define PEM_MAX 65536

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

int tool_load_signer(const char *key, const char *certificate, struct eif_signer **signer,
	struct nefs_error *err)
{
	NEFS_AUTO_FREE char *certificate_pem = NULL;
	char *key_pem = NULL;
	size_t key_size = 0, certificate_size;
	int failed;

	failed = tool_load(key, PEM_MAX, &key_pem, &key_size, err);
	if (failed)
		return failed;
	failed = tool_load(certificate, PEM_MAX, &certificate_pem, &certificate_size, err);
	if (!failed) {
		failed = eif_signer_load(
			key_pem, key_size, certificate_pem, certificate_size, signer, err);
		if (!failed) {
			failed = eif_signer_check_dates(*signer, time(NULL), err);
			if (failed) {
				eif_signer_free(*signer);
				*signer = NULL;
			}
		}
		if (failed)
			nefs_error_prefix(err, "%s and %s", key, certificate);
	}
	explicit_bzero(key_pem, key_size);
	free(key_pem);
	return failed;
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
