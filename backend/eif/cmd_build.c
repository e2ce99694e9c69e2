/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nefs-eif build */
#include "internal.h"
#include "output.h"
#include "signing.h"
#include "tool.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define CMDLINE_FILE_MAX 65536

/* What the command line asks for. */
struct wish {
	const char *kernel;
	const char *cmdline;
	const char *cmdline_file;
	const char *ramdisks[EIF_RAMDISKS_MAX];
	size_t ramdisk_count;
	enum eif_arch arch;
	const char *name;
	const char *version;
	const char *metadata;
	const char *raw_metadata;
	struct signing signing;
	const char *output;
	bool any_kernel;
};

/* What it takes to build, opened and loaded. */
struct material {
	struct eif_source kernel;
	struct eif_source ramdisks[EIF_RAMDISKS_MAX];
	size_t ramdisk_count;
	char *cmdline;
	size_t cmdline_size;
	char *metadata;
	size_t metadata_size;
	struct eif_signer *signer;
};

enum {
	OPT_CMDLINE_FILE = 256,
	OPT_ARCH,
	OPT_NAME,
	OPT_VERSION,
	OPT_METADATA,
	OPT_RAW_METADATA,
	OPT_KEY,
	OPT_CERTIFICATE,
	OPT_ANY_KERNEL,
	OPT_PIN_FILE,
	OPT_PKCS11_MODULE,
};

static const struct option options[] = {
	{ "kernel", required_argument, NULL, 'k' },
	{ "cmdline", required_argument, NULL, 'c' },
	{ "cmdline-file", required_argument, NULL, OPT_CMDLINE_FILE },
	{ "ramdisk", required_argument, NULL, 'r' },
	{ "arch", required_argument, NULL, OPT_ARCH },
	{ "name", required_argument, NULL, OPT_NAME },
	{ "version", required_argument, NULL, OPT_VERSION },
	{ "metadata", required_argument, NULL, OPT_METADATA },
	{ "raw-metadata", required_argument, NULL, OPT_RAW_METADATA },
	{ "key", required_argument, NULL, OPT_KEY },
	{ "certificate", required_argument, NULL, OPT_CERTIFICATE },
	{ "pin-file", required_argument, NULL, OPT_PIN_FILE },
	{ "pkcs11-module", required_argument, NULL, OPT_PKCS11_MODULE },
	{ "any-kernel", no_argument, NULL, OPT_ANY_KERNEL },
	{ "output", required_argument, NULL, 'o' },
	{ 0 },
};

/* Says what is missing or contradictory. */
static int check_wish(const struct wish *wish)
{
	if (!wish->kernel)
		return tool_misused("build", "--kernel is missing");
	if (!wish->cmdline == !wish->cmdline_file)
		return tool_misused("build", "give either --cmdline or --cmdline-file");
	if (wish->ramdisk_count == 0)
		return tool_misused("build", "--ramdisk is missing");
	if (!wish->signing.key != !wish->signing.certificate)
		return tool_misused("build", "--key and --certificate go together");
	if (wish->raw_metadata && (wish->metadata || wish->name || wish->version))
		return tool_misused("build",
			"--raw-metadata stands for all metadata: --name, --version and --metadata "
			"do not go with it");
	if (!wish->output)
		return tool_misused("build", "-o is missing");
	return TOOL_OK;
}

static int parse(int argc, char **argv, struct wish *wish)
{
	int option;

	while ((option = getopt_long(argc, argv, "k:c:r:o:", options, NULL)) != -1) {
		switch (option) {
		case 'k':
			wish->kernel = optarg;
			break;
		case 'c':
			wish->cmdline = optarg;
			break;
		case OPT_CMDLINE_FILE:
			wish->cmdline_file = optarg;
			break;
		case 'r':
			if (wish->ramdisk_count == EIF_RAMDISKS_MAX)
				return tool_misused("build",
					"there are more than the %d ramdisks that fit; join some of "
					"them with cat",
					EIF_RAMDISKS_MAX);
			wish->ramdisks[wish->ramdisk_count++] = optarg;
			break;
		case OPT_ARCH:
			if (strcmp(optarg, "x86_64") == 0)
				wish->arch = EIF_X86_64;
			else if (strcmp(optarg, "aarch64") == 0)
				wish->arch = EIF_AARCH64;
			else
				return tool_misused(
					"build", "--arch is x86_64 or aarch64, not \"%s\"", optarg);
			break;
		case OPT_NAME:
			wish->name = optarg;
			break;
		case OPT_VERSION:
			wish->version = optarg;
			break;
		case OPT_METADATA:
			wish->metadata = optarg;
			break;
		case OPT_RAW_METADATA:
			wish->raw_metadata = optarg;
			break;
		case OPT_KEY:
			wish->signing.key = optarg;
			break;
		case OPT_CERTIFICATE:
			wish->signing.certificate = optarg;
			break;
		case OPT_PIN_FILE:
			wish->signing.pin.file = optarg;
			break;
		case OPT_PKCS11_MODULE:
			wish->signing.module = optarg;
			break;
		case OPT_ANY_KERNEL:
			wish->any_kernel = true;
			break;
		case 'o':
			wish->output = optarg;
			break;
		default:
			return TOOL_USAGE;
		}
	}
	if (optind < argc)
		return tool_misused("build", "\"%s\" is one argument too many", argv[optind]);
	return check_wish(wish);
}

static int load_cmdline(const struct wish *wish, struct material *material, struct nefs_error *err)
{
	int failed;

	if (wish->cmdline) {
		material->cmdline = strdup(wish->cmdline);
		material->cmdline_size = strlen(wish->cmdline);
		return material->cmdline
			       ? 0
			       : nefs_error_set(err, ENOMEM, "out of memory for the command line");
	}
	failed = tool_load(wish->cmdline_file, CMDLINE_FILE_MAX, &material->cmdline,
		&material->cmdline_size, err);
	/* Editors end a file with a newline; it is not part of the command line. */
	if (!failed && material->cmdline_size > 0 &&
		material->cmdline[material->cmdline_size - 1] == '\n')
		material->cmdline_size--;
	return failed;
}

/* When the image is built: now, or what a reproducible build says. */
static int build_time(time_t *when, struct nefs_error *err)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	char *end;
	long long seconds;

	*when = time(NULL);
	if (!epoch)
		return 0;
	errno = 0;
	seconds = strtoll(epoch, &end, 10);
	if (errno || end == epoch || *end || seconds < 0)
		return nefs_error_set(err, EINVAL,
			"SOURCE_DATE_EPOCH is \"%s\"; it must be a count of seconds", epoch);
	*when = (time_t)seconds;
	return 0;
}

/* An image's name if none was given: its file's, without .eif; malloc'ed. The standard output has none. */
static char *default_name(const char *output)
{
	const char *slash = strrchr(output, '/');
	const char *name = slash ? slash + 1 : output;
	size_t size = strlen(name);

	if (strcmp(output, "-") == 0)
		return strdup("image");
	if (size > 4 && strcmp(name + size - 4, ".eif") == 0)
		size -= 4;
	return strndup(name, size);
}

static int make_metadata(const struct wish *wish, struct material *material, struct nefs_error *err)
{
	NEFS_AUTO_FREE char *kernel_version = NULL;
	NEFS_AUTO_FREE char *custom = NULL;
	NEFS_AUTO_FREE char *name = NULL;
	struct eif_metadata metadata = { 0 };
	int failed;

	if (wish->raw_metadata) {
		failed = tool_load(wish->raw_metadata, EIF_METADATA_MAX, &material->metadata,
			&material->metadata_size, err);
		if (!failed) {
			failed = eif_metadata_check(
				material->metadata, material->metadata_size, err);
			if (failed)
				nefs_error_prefix(err, "%s", wish->raw_metadata);
		}
		return failed;
	}
	if (wish->metadata) {
		failed = tool_load(wish->metadata, EIF_CUSTOM_METADATA_MAX, &custom,
			&metadata.custom_size, err);
		if (failed)
			return failed;
		metadata.custom = custom;
	}
	failed = build_time(&metadata.build_time, err);
	if (failed)
		return failed;
	kernel_version = eif_kernel_version(&material->kernel);
	name = wish->name ? strdup(wish->name) : default_name(wish->output);
	if (!kernel_version || !name)
		return nefs_error_set(err, ENOMEM, "out of memory for the metadata");
	metadata.name = name;
	metadata.version = wish->version ? wish->version : "1.0";
	metadata.kernel_version = kernel_version;
	failed = eif_metadata_make(&metadata, &material->metadata, err);
	if (failed)
		return failed;
	material->metadata_size = strlen(material->metadata);
	return 0;
}

static int gather(struct wish *wish, struct material *material, struct nefs_error *err)
{
	int failed;

	failed = tool_open_source(wish->kernel, &material->kernel, err);
	if (failed)
		return failed;
	for (size_t i = 0; i < wish->ramdisk_count; i++) {
		failed = tool_open_source(wish->ramdisks[i], &material->ramdisks[i], err);
		if (failed)
			return failed;
		material->ramdisk_count++;
	}
	failed = load_cmdline(wish, material, err);
	if (!failed)
		failed = make_metadata(wish, material, err);
	if (!failed && wish->signing.key)
		failed = signing_load(&wish->signing, &material->signer, err);
	return failed;
}

static void release(struct material *material)
{
	if (material->kernel.fd >= 0)
		close(material->kernel.fd);
	for (size_t i = 0; i < material->ramdisk_count; i++)
		close(material->ramdisks[i].fd);
	free(material->cmdline);
	free(material->metadata);
	eif_signer_free(material->signer);
}

/* A ramdisk's name behind -o is a slip that would cost the ramdisk. */
static int refuse_inputs(
	const struct wish *wish, const struct eif_output *output, struct nefs_error *err)
{
	const char *const others[] = { wish->kernel, wish->cmdline_file, wish->metadata,
		wish->raw_metadata, wish->signing.key, wish->signing.certificate };
	int failed = 0;

	for (size_t i = 0; !failed && i < sizeof(others) / sizeof(others[0]); i++)
		failed = eif_output_refuse_input(output, others[i], err);
	for (size_t i = 0; !failed && i < wish->ramdisk_count; i++)
		failed = eif_output_refuse_input(output, wish->ramdisks[i], err);
	return failed;
}

int tool_build(int argc, char **argv)
{
	struct eif_output output = EIF_OUTPUT_INIT;
	struct material material = { .kernel.fd = -1 };
	struct nefs_error err = { 0 };
	struct wish wish = { 0 };
	struct eif_build build;
	struct eif_pcrs pcrs;
	struct eif eif;
	bool to_stdout;
	int failed;

	failed = parse(argc, argv, &wish);
	if (failed)
		return failed;
	failed = gather(&wish, &material, &err);
	if (failed)
		goto out;
	build = (struct eif_build){
		.arch = wish.arch,
		.kernel = &material.kernel,
		.cmdline = material.cmdline,
		.cmdline_size = material.cmdline_size,
		.ramdisks = material.ramdisks,
		.ramdisk_count = material.ramdisk_count,
		.metadata = material.metadata,
		.metadata_size = material.metadata_size,
		.signer = material.signer,
		.any_kernel = wish.any_kernel,
	};
	failed = eif_output_open(&output, wish.output, &err);
	if (!failed)
		failed = refuse_inputs(&wish, &output, &err);
	if (!failed) {
		failed = eif_build(&build, output.fd, &eif, &pcrs, &err);
		if (failed)
			nefs_error_prefix(&err, "%s", wish.output);
	}
	to_stdout = output.to_stdout;
	if (!failed)
		failed = eif_output_commit(&output, true, &err);
	if (!failed)
		failed = tool_print_pcrs(&pcrs, to_stdout ? stderr : stdout, &err);
	if (!failed && (eif.warnings & EIF_WARN_CMDLINE_LONG))
		fprintf(stderr,
			"nefs-eif: warning: the command line has %zu bytes, of which a kernel "
			"reads the first %d\n",
			material.cmdline_size, EIF_CMDLINE_MAX);
out:
	eif_output_discard(&output);
	release(&material);
	signing_release(&wish.signing);
	return failed ? tool_fail(&err) : TOOL_OK;
}
