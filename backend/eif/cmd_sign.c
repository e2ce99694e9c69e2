/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nefs-eif sign */
#include "output.h"
#include "tool.h"
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <sys/stat.h>

static const struct option options[] = {
	{ "key", required_argument, NULL, 'k' },
	{ "certificate", required_argument, NULL, 'c' },
	{ "output", required_argument, NULL, 'o' },
	{ 0 },
};

/* The signed copy takes the place of the image: it belongs to whom the image belonged. */
static int keep_owner(int to, int from, struct nefs_error *err)
{
	struct stat st;

	if (fstat(from, &st) < 0)
		return nefs_error_set(err, errno, "cannot look at the image: %s", strerror(errno));
	/* Only root can give a file away; for others it stays theirs, as with any rewrite. */
	if (fchown(to, st.st_uid, st.st_gid) < 0 && errno != EPERM)
		return nefs_error_set(
			err, errno, "cannot keep the image's owner: %s", strerror(errno));
	if (fchmod(to, st.st_mode & 07777) < 0)
		return nefs_error_set(
			err, errno, "cannot keep the image's permissions: %s", strerror(errno));
	return 0;
}

int tool_sign(int argc, char **argv)
{
	const char *key = NULL, *certificate = NULL, *to = NULL, *from;
	struct eif_output output = EIF_OUTPUT_INIT;
	struct eif_signer *signer = NULL;
	struct nefs_error err = { 0 };
	struct tool_image image = { .fd = -1 };
	struct eif_pcrs pcrs;
	struct eif eif;
	int failed, option;

	while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		switch (option) {
		case 'k':
			key = optarg;
			break;
		case 'c':
			certificate = optarg;
			break;
		case 'o':
			to = optarg;
			break;
		default:
			return TOOL_USAGE;
		}
	}
	if (!key || !certificate)
		return tool_misused("sign", "--key and --certificate are both needed");
	if (optind + 1 != argc)
		return tool_misused("sign", "give one image, not %d", argc - optind);
	from = argv[optind];

	failed = tool_load_signer(key, certificate, &signer, &err);
	if (!failed)
		failed = tool_open_unmeasured(from, &image, &err);
	if (!failed)
		failed = eif_output_open(&output, to ? to : from, 0666, true, &err);
	if (!failed && !to)
		failed = keep_owner(output.fd, image.fd, &err);
	if (!failed) {
		failed = eif_sign(&image.source, &image.eif, signer, output.fd, &eif, &pcrs, &err);
		if (failed)
			nefs_error_prefix(&err, "%s", from);
	}
	if (!failed)
		failed = eif_output_commit(&output, true, &err);
	if (!failed)
		failed = tool_print_pcrs(&pcrs, &err);
	eif_output_discard(&output);
	nefs_cleanup_close(&image.fd);
	eif_signer_free(signer);
	return failed ? tool_fail(&err) : TOOL_OK;
}
