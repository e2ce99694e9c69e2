/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nefs-eif sign */
#include "output.h"
#include "tool.h"
#include <getopt.h>
#include <stdio.h>

static const struct option options[] = {
	{ "key", required_argument, NULL, 'k' },
	{ "certificate", required_argument, NULL, 'c' },
	{ "output", required_argument, NULL, 'o' },
	{ 0 },
};

int tool_sign(int argc, char **argv)
{
	const char *key = NULL, *certificate = NULL, *to = NULL, *from;
	struct eif_output output = EIF_OUTPUT_INIT;
	struct eif_signer *signer = NULL;
	struct nefs_error err = { 0 };
	struct tool_image image = { .fd = -1 };
	struct eif_pcrs pcrs;
	struct eif eif;
	bool to_stdout;
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
	if (!to && tool_is_stream(from))
		return tool_misused("sign",
			"%s is a pipe, in which nothing can be signed in place: say with -o where "
			"the signed image goes",
			from);

	failed = tool_load_signer(key, certificate, &signer, &err);
	if (!failed)
		failed = tool_open_unmeasured(from, &image, &err);
	if (!failed)
		failed = eif_output_open(&output, to ? to : from, &err);
	if (!failed)
		failed = eif_output_refuse_input(&output, key, &err);
	if (!failed)
		failed = eif_output_refuse_input(&output, certificate, &err);
	if (!failed) {
		failed = eif_sign(&image.source, &image.eif, signer, output.fd, &eif, &pcrs, &err);
		if (failed)
			nefs_error_prefix(&err, "%s", from);
	}
	to_stdout = output.to_stdout;
	if (!failed)
		failed = eif_output_commit(&output, true, &err);
	if (!failed)
		failed = tool_print_pcrs(&pcrs, to_stdout ? stderr : stdout, &err);
	eif_output_discard(&output);
	nefs_cleanup_close(&image.fd);
	eif_signer_free(signer);
	return failed ? tool_fail(&err) : TOOL_OK;
}
