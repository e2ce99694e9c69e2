/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The image tool. Each subcommand has its own file; here is the choice between them. */
#include "tool.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"Usage: nefs-eif build --kernel FILE {--cmdline TEXT | --cmdline-file FILE}\n"
	"                --ramdisk FILE [--ramdisk FILE]... [--arch x86_64|aarch64]\n"
	"                [--name NAME] [--version VERSION] [--metadata JSONFILE]\n"
	"                [--raw-metadata JSONFILE] [--key KEY --certificate CERT]\n"
	"                [--any-kernel] -o IMAGE\n"
	"       nefs-eif sign --key KEY --certificate CERT IMAGE [-o IMAGE]\n"
	"       nefs-eif sign {--print-message | --print-digest} --certificate CERT\n"
	"                IMAGE [-o FILE]\n"
	"       nefs-eif sign --signature FILE --certificate CERT IMAGE [-o IMAGE]\n"
	"       nefs-eif describe IMAGE\n"
	"       nefs-eif verify IMAGE\n"
	"       nefs-eif extract [--force] IMAGE DIRECTORY\n"
	"       nefs-eif --help | --version\n"
	"\n"
	"Builds, signs, describes, verifies and takes apart enclave images (EIF).\n"
	"Any FILE and IMAGE may be a pipe, or - for the standard input or output. KEY and\n"
	"CERT are PEM files or pkcs11: URLs, with [--pin-file FILE] [--pkcs11-module FILE].\n"
	"build and sign print the image's measurements. Exit status: 0 done, 1 failed or\n"
	"invalid, 2 misused, 3 (verify) valid but not signed. See nefs-eif(1).\n";

static const struct {
	const char *name;
	const char *full_name; /* what getopt's complaints begin with */
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "build", "nefs-eif build", tool_build },
	{ "sign", "nefs-eif sign", tool_sign },
	{ "describe", "nefs-eif describe", tool_describe },
	{ "verify", "nefs-eif verify", tool_verify },
	{ "extract", "nefs-eif extract", tool_extract },
};

static int print_or_fail(const char *text)
{
	struct nefs_error err = { 0 };

	return tool_print(text, &err) ? tool_fail(&err) : TOOL_OK;
}

static bool asks_for_help(const char *argument)
{
	return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

/*
 * Who starts the tool without one of fds 0 to 2 would find an image under that number, and what is
 * printed in the image. What stands in is open for nothing: reading and writing fail, as on a closed one.
 */
static bool fill_standard_fds(void)
{
	int fd;

	do {
		fd = open("/", O_PATH);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	return fd >= 0 && close(fd) == 0;
}

int main(int argc, char **argv)
{
	if (!fill_standard_fds())
		return TOOL_FAILED;
	/* A file size limit is an error to be told, not a death without a word. */
	signal(SIGXFSZ, SIG_IGN);
	if (argc < 2) {
		fputs(usage, stderr);
		return TOOL_USAGE;
	}
	if (asks_for_help(argv[1]))
		return print_or_fail(usage);
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		return print_or_fail("nefs-eif " NEFS_VERSION "\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		if (argc > 2 && asks_for_help(argv[2]))
			return print_or_fail(usage);
		argv[1] = (char *)commands[i].full_name;
		return commands[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "nefs-eif: there is no command \"%s\"; see nefs-eif --help\n", argv[1]);
	return TOOL_USAGE;
}
