/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nefs-eif sign: in one step with a key, or in two, between which somebody else signs: --print-message,
 * then --signature.
 */
#include "internal.h"
#include "output.h"
#include "signing.h"
#include "tool.h"
#include <errno.h>
#include <getopt.h>
#include <nefs/io.h>
#include <stdio.h>
#include <string.h>

enum {
	OPT_KEY = 256,
	OPT_CERTIFICATE,
	OPT_SIGNATURE,
	OPT_PRINT_MESSAGE,
	OPT_PRINT_DIGEST,
	OPT_PIN_FILE,
	OPT_PKCS11_MODULE,
};

static const struct option options[] = {
	{ "key", required_argument, NULL, OPT_KEY },
	{ "certificate", required_argument, NULL, OPT_CERTIFICATE },
	{ "signature", required_argument, NULL, OPT_SIGNATURE },
	{ "print-message", no_argument, NULL, OPT_PRINT_MESSAGE },
	{ "print-digest", no_argument, NULL, OPT_PRINT_DIGEST },
	{ "pin-file", required_argument, NULL, OPT_PIN_FILE },
	{ "pkcs11-module", required_argument, NULL, OPT_PKCS11_MODULE },
	{ "output", required_argument, NULL, 'o' },
	{ 0 },
};

struct wish {
	struct signing signing;
	bool print_message;
	bool print_digest;
	const char *from;
	const char *to; /* NULL: not said */
};

static int check_wish(const struct wish *wish)
{
	const int ways = (wish->signing.key ? 1 : 0) + (wish->signing.signature ? 1 : 0) +
			 wish->print_message + wish->print_digest;

	if (!wish->signing.certificate)
		return tool_misused("sign", "--certificate is missing");
	if (ways != 1)
		return tool_misused("sign",
			"give one of --key, --print-message, --print-digest and --signature");
	if (!wish->to && (wish->signing.key || wish->signing.signature) &&
		tool_is_stream(wish->from))
		return tool_misused("sign",
			"%s is a pipe, in which nothing can be signed in place: say with -o where "
			"the signed image goes",
			wish->from);
	return TOOL_OK;
}

static int parse(int argc, char **argv, struct wish *wish)
{
	int option;

	while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		switch (option) {
		case OPT_KEY:
			wish->signing.key = optarg;
			break;
		case OPT_CERTIFICATE:
			wish->signing.certificate = optarg;
			break;
		case OPT_SIGNATURE:
			wish->signing.signature = optarg;
			break;
		case OPT_PRINT_MESSAGE:
			wish->print_message = true;
			break;
		case OPT_PRINT_DIGEST:
			wish->print_digest = true;
			break;
		case OPT_PIN_FILE:
			wish->signing.pin.file = optarg;
			break;
		case OPT_PKCS11_MODULE:
			wish->signing.module = optarg;
			break;
		case 'o':
			wish->to = optarg;
			break;
		default:
			return TOOL_USAGE;
		}
	}
	if (optind + 1 != argc)
		return tool_misused("sign", "give one image, not %d", argc - optind);
	wish->from = argv[optind];
	return check_wish(wish);
}

/* Opens the output, which must be none of what is read but the image. */
static int open_output(const struct wish *wish, const char *path, struct eif_output *output,
	struct nefs_error *err)
{
	const char *const inputs[] = { wish->signing.key, wish->signing.certificate,
		wish->signing.signature, wish->signing.pin.file };
	int failed = eif_output_open(output, path, err);

	for (size_t i = 0; !failed && i < sizeof(inputs) / sizeof(inputs[0]); i++)
		failed = eif_output_refuse_input(output, inputs[i], err);
	return failed;
}

/* The first of two steps: what is to be signed, as bytes. */
static int print(const struct wish *wish, const struct tool_image *image,
	const struct eif_signer *signer, struct nefs_error *err)
{
	struct eif_output output = EIF_OUTPUT_INIT;
	uint8_t bytes[EIF_TO_SIGN_MAX];
	struct eif_pcrs pcrs;
	size_t size = 0;
	int failed;

	failed = eif_measure_sections(
		&image->source, image->eif.sections, image->eif.section_count, &pcrs, err);
	if (!failed && wish->print_digest)
		failed = eif_signer_digest(signer, pcrs.pcr[0], bytes, &size, err);
	else if (!failed)
		size = eif_signer_message(signer, pcrs.pcr[0], bytes);
	if (!failed)
		failed = open_output(wish, wish->to ? wish->to : "-", &output, err);
	if (!failed)
		failed = eif_output_refuse_input(&output, wish->from, err);
	if (!failed) {
		failed = nefs_write_all(output.fd, bytes, size);
		if (failed)
			nefs_error_set(err, -failed, "cannot write what is to be signed: %s",
				strerror(-failed));
	}
	if (!failed)
		failed = eif_output_commit(&output, true, err);
	eif_output_discard(&output);
	return failed;
}

static int sign(const struct wish *wish, const struct tool_image *image,
	const struct eif_signer *signer, struct nefs_error *err)
{
	struct eif_output output = EIF_OUTPUT_INIT;
	struct eif_pcrs pcrs;
	bool to_stdout;
	struct eif eif;
	int failed;

	failed = open_output(wish, wish->to ? wish->to : wish->from, &output, err);
	if (!failed) {
		failed = eif_sign(&image->source, &image->eif, signer, output.fd, &eif, &pcrs, err);
		if (failed)
			nefs_error_prefix(err, "%s", wish->from);
	}
	to_stdout = output.to_stdout;
	if (!failed)
		failed = eif_output_commit(&output, true, err);
	if (!failed)
		failed = tool_print_pcrs(&pcrs, to_stdout ? stderr : stdout, err);
	eif_output_discard(&output);
	return failed;
}

int tool_sign(int argc, char **argv)
{
	struct eif_signer *signer = NULL;
	struct nefs_error err = { 0 };
	struct tool_image image = { .fd = -1 };
	struct wish wish = { 0 };
	int failed;

	failed = parse(argc, argv, &wish);
	if (failed)
		return failed;
	failed = signing_load(&wish.signing, &signer, &err);
	if (!failed)
		failed = tool_open_unmeasured(wish.from, &image, &err);
	if (!failed)
		failed = wish.print_message || wish.print_digest
				 ? print(&wish, &image, signer, &err)
				 : sign(&wish, &image, signer, &err);
	nefs_cleanup_close(&image.fd);
	eif_signer_free(signer);
	signing_release(&wish.signing);
	return failed ? tool_fail(&err) : TOOL_OK;
}
