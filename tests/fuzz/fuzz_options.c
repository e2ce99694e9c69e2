/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A command line, its words apart by newlines. What is mounted with has nosuid, nodev and noexec whatever was
 * asked for, and the source in one piece: no comma or backslash in it begins an option.
 */
#include "fuzz.h"
#include "options.h"
#include <nefs/ne_limits.h>

#define WORDS_MAX 32

/* What libfuse would make of the arguments. */
struct mounting {
	char *fsname;
	int suid, dev, exec, nosuid, nodev, noexec;
};

#define OPTION(name)                                                                               \
	{                                                                                          \
#name, offsetof(struct mounting, name), 1                                          \
	}

static const struct fuse_opt table[] = {
	{ "fsname=%s", offsetof(struct mounting, fsname), 0 },
	OPTION(suid),
	OPTION(dev),
	OPTION(exec),
	OPTION(nosuid),
	OPTION(nodev),
	OPTION(noexec),
	FUSE_OPT_END,
};

static int keep(void *data, const char *word, int key, struct fuse_args *out)
{
	return 1;
}

static bool is_path(const char *path)
{
	return !path || !*path || *path == '/';
}

static void check_options(const struct options *options)
{
	must(options->mountpoint && *options->mountpoint == '/');
	must(options->spool && is_path(options->spool) && is_path(options->device));
	must(!options->surplus && !options->read_only && !options->remount);
	must(!strcmp(options->backend.kind, "kernel") || !strcmp(options->backend.kind, "sim"));
	if (options->sim_cpus)
		must(options->backend.sim_cpus >= NE_SIM_CPUS_MIN &&
			options->backend.sim_cpus <= NE_SIM_CPUS_MAX);
	if (options->sim_memory)
		must(options->backend.sim_memory % NE_MEMORY_UNIT == 0 &&
			options->backend.sim_memory >= NE_MEMORY_UNIT &&
			options->backend.sim_memory <= NE_SIM_MEMORY_MAX);
	must((options->gid == (gid_t)-1) == !options->group);
}

static void check_mounting(const struct options *options, struct fuse_args *args)
{
	struct mounting mounting = { 0 };
	const char *source = options->source ? options->source : options->fsname;

	must(options_add_mount(options, args) == 0);
	must(fuse_opt_parse(args, &mounting, table, keep) == 0);
	must(!mounting.suid && !mounting.dev && !mounting.exec);
	must(mounting.nosuid && mounting.nodev && mounting.noexec);
	must(mounting.fsname && !strcmp(mounting.fsname, source && *source ? source : "nefs"));
	free(mounting.fsname);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct options options = { 0 };
	struct nefs_error err = { 0 };
	char *text = text_of(data, size), *rest = text, *word;
	int result;

	must(fuse_opt_add_arg(&args, "nefs") == 0);
	for (int i = 0; i < WORDS_MAX && (word = strsep(&rest, "\n")); i++)
		must(fuse_opt_add_arg(&args, word) == 0);
	result = options_parse(&args, &options, &err);
	must_tell(result, &err);
	if (result == 0 && !options.help && !options.version) {
		check_options(&options);
		check_mounting(&options, &args);
	}
	options_release(&options);
	fuse_opt_free_args(&args);
	free(text);
	return 0;
}
