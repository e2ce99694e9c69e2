/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nefs-eif describe, nefs-eif verify */
#include "tool.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

static const struct option no_options[] = { { 0 } };

/* The one argument of a command without options; NULL, with the usage said, if it is not that. */
static const char *only_argument(int argc, char **argv, const char *command)
{
	if (getopt_long(argc, argv, "", no_options, NULL) != -1)
		return NULL;
	if (optind + 1 != argc) {
		tool_misused(command, "give one image, not %d", argc - optind);
		return NULL;
	}
	return argv[optind];
}

int tool_describe(int argc, char **argv)
{
	const char *path = only_argument(argc, argv, "describe");
	NEFS_AUTO_FREE char *json = NULL;
	struct nefs_error err = { 0 };
	struct tool_image image = { .fd = -1 };
	int failed;

	if (!path)
		return TOOL_USAGE;
	failed = tool_open_image(path, &image, &err);
	if (!failed) {
		failed = eif_describe(&image.source, &image.eif, &image.pcrs, &json, &err);
		if (failed)
			nefs_error_prefix(&err, "%s", path);
	}
	if (!failed)
		failed = tool_print(json, &err);
	nefs_cleanup_close(&image.fd);
	return failed ? tool_fail(&err) : TOOL_OK;
}

int tool_verify(int argc, char **argv)
{
	const char *path = only_argument(argc, argv, "verify");
	struct nefs_error err = { 0 };
	struct tool_image image = { .fd = -1 };
	int failed;

	if (!path)
		return TOOL_USAGE;
	failed = tool_open_image(path, &image, &err);
	if (!failed) {
		failed = eif_verify(&image.source, &image.eif, &image.pcrs, &err);
		if (failed)
			nefs_error_prefix(&err, "%s", path);
	}
	nefs_cleanup_close(&image.fd);
	if (!failed)
		return TOOL_OK;
	tool_fail(&err);
	return failed == -ENODATA ? TOOL_UNSIGNED : TOOL_FAILED;
}
