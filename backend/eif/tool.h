/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the subcommands of nefs-eif share. */
#ifndef NEFS_EIF_TOOL_H
#define NEFS_EIF_TOOL_H

#include "build.h"
#include "input.h"
#include <nefs/cleanup.h>
#include <nefs/eif.h>
#include <stdio.h>

/* Exit statuses, documented in nefs-eif(1). */
enum tool_status {
	TOOL_OK = 0,
	TOOL_FAILED = 1,
	TOOL_USAGE = 2,
	TOOL_UNSIGNED = 3, /* verify: a valid image without a signature */
};

/* Each gets its full name as argv[0], and returns the exit status. */
int tool_build(int argc, char **argv);
int tool_sign(int argc, char **argv);
int tool_describe(int argc, char **argv);
int tool_verify(int argc, char **argv);
int tool_extract(int argc, char **argv);

/* An image that was opened, validated and measured. */
struct tool_image {
	int fd;
	struct eif_source source;
	struct eif eif;
	struct eif_pcrs pcrs;
};

/* Sentences name path. The caller closes image->fd, which is -1 on failure. */
int tool_open_image(const char *path, struct tool_image *image, struct nefs_error *err);

/* The same for commands that do not look at the measurements, nor into an old signature. */
int tool_open_unmeasured(const char *path, struct tool_image *image, struct nefs_error *err);

/* Prints text on stdout: EIO with a sentence if that fails. */
int tool_print(const char *text, struct nefs_error *err);

/* Prints "PCR0 ..." and so on: on stdout, or on stderr if the image itself went to stdout. */
int tool_print_pcrs(const struct eif_pcrs *pcrs, FILE *stream, struct nefs_error *err);

/* Says on stderr why the tool fails. Returns TOOL_FAILED. */
int tool_fail(const struct nefs_error *err);

/* Says on stderr how the tool was misused. Returns TOOL_USAGE. */
int tool_misused(const char *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
