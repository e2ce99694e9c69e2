/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line (nefs/options.h). */
#include "cunit_main.h"
#include "options.h"
#include "temporary.h"
#include <errno.h>
#include <grp.h>
#include <unistd.h>

#define WORDS_MAX 8

static char point[TEMPORARY_MAX];

static void set_up(void)
{
	char path[TEMPORARY_MAX], *resolved;

	temporary_directory(path, "nefs-options");
	resolved = realpath(path, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(resolved);
	CU_ASSERT_FATAL(strlen(resolved) < sizeof(point));
	strcpy(point, resolved);
	free(resolved);
}

static void tear_down(void)
{
	CU_ASSERT_EQUAL(rmdir(point), 0);
}

/* A command line, NULL at its end; "POINT" is the mount point. Both are to be released. */
static int parse(const char *const *words, struct options *options, struct fuse_args *args,
	struct nefs_error *err)
{
	*options = (struct options){ 0 };
	*args = (struct fuse_args)FUSE_ARGS_INIT(0, NULL);
	CU_ASSERT_EQUAL_FATAL(fuse_opt_add_arg(args, "nefs"), 0);
	for (; *words; words++)
		CU_ASSERT_EQUAL_FATAL(
			fuse_opt_add_arg(args, strcmp(*words, "POINT") ? *words : point), 0);
	return options_parse(args, options, err);
}

static void release(struct options *options, struct fuse_args *args)
{
	options_release(options);
	fuse_opt_free_args(args);
}

/* Is the word, or the option in an -o word, left for libfuse? */
static bool is_left(const struct fuse_args *args, const char *option)
{
	for (int i = 1; i < args->argc; i++)
		if (strstr(args->argv[i], option))
			return true;
	return false;
}

static void test_defaults(void)
{
	struct nefs_error err = { 0 };
	struct options options;
	struct fuse_args args;

	CU_ASSERT_EQUAL(parse((const char *const[]){ "POINT", NULL }, &options, &args, &err), 0);
	CU_ASSERT_STRING_EQUAL(options.mountpoint, point);
	CU_ASSERT_STRING_EQUAL(options.backend.kind, "kernel");
	CU_ASSERT_PTR_NULL(options.source);
	CU_ASSERT_TRUE(options.default_spool && *options.spool == '/');
	CU_ASSERT_EQUAL(options.gid, (gid_t)-1);
	CU_ASSERT_FALSE(options.foreground || options.debug || options.help || options.version);
	CU_ASSERT_EQUAL(options.bounds.each[QUOTA_ENCLAVES], 256);
	CU_ASSERT_EQUAL(options.bounds.each[QUOTA_FILES], 1024);
	CU_ASSERT_EQUAL(options.bounds.each[QUOTA_PARKED], 1024);
	CU_ASSERT_TRUE(options.default_user_bytes);
	release(&options, &args);
}

static void test_bounds(void)
{
	struct nefs_error err = { 0 };
	struct options options;
	struct fuse_args args;

	CU_ASSERT_EQUAL(
		parse((const char *const[]){ "POINT", "-o",
			      "user_enclaves=1,user_files=0x10,user_bytes=2M,user=me", NULL },
			&options, &args, &err),
		0);
	CU_ASSERT_EQUAL(options.bounds.each[QUOTA_ENCLAVES], 1);
	CU_ASSERT_EQUAL(options.bounds.each[QUOTA_FILES], 16);
	CU_ASSERT_EQUAL(options.bounds.each[QUOTA_PARKED], 16);
	CU_ASSERT_EQUAL(options.bounds.each[QUOTA_BYTES], 2 << 20);
	CU_ASSERT_FALSE(options.default_user_bytes);
	release(&options, &args);
	CU_ASSERT_EQUAL(parse((const char *const[]){ "POINT", "-o",
				      "user_enclaves=no,user_files=no,user_bytes=no", NULL },
				&options, &args, &err),
		0);
	/* What is no refusal has no option. */
	for (size_t i = 0; i < QUOTA_KINDS; i++)
		CU_ASSERT_TRUE(options.bounds.each[i] == 0 || i == QUOTA_TEXT);
	CU_ASSERT_FALSE(options.default_user_bytes);
	release(&options, &args);
}

static void test_flags(void)
{
	/* Each alone, and none takes another's place. */
	static const char *const rows[][WORDS_MAX] = {
		{ "-d", "-f", "POINT" },
		{ "-f", "-d", "POINT" },
		{ "POINT", "-f", "-o", "debug" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nefs_error err = { 0 };
		struct options options;
		struct fuse_args args;
		int failed = parse(rows[i], &options, &args, &err);

		CU_ASSERT_TRUE(!failed && options.foreground && options.debug);
		CU_ASSERT_FALSE(options.help || options.version);
		release(&options, &args);
	}
}

static void test_words(void)
{
	struct nefs_error err = { 0 };
	struct options options;
	struct fuse_args args;

	CU_ASSERT_EQUAL(parse((const char *const[]){ "a,b\\c", "--", "POINT", NULL }, &options,
				&args, &err),
		0);
	CU_ASSERT_STRING_EQUAL(options.source, "a,b\\c");
	CU_ASSERT_STRING_EQUAL(options.mountpoint, point);
	CU_ASSERT_EQUAL(options_add_mount(&options, &args), 0);
	CU_ASSERT_TRUE(is_left(&args, "-ofsname=a\\,b\\\\c"));
	CU_ASSERT_TRUE(is_left(&args, "nosuid,nodev,noexec"));
	release(&options, &args);
	CU_ASSERT_EQUAL(parse((const char *const[]){ "POINT", "-o", "fsname=mine", NULL }, &options,
				&args, &err),
		0);
	CU_ASSERT_EQUAL(options_add_mount(&options, &args), 0);
	CU_ASSERT_TRUE(is_left(&args, "-ofsname=mine"));
	release(&options, &args);
}

/* What is added to the options must not become words: "--" ends them where it is left. */
static void test_separator(void)
{
	static const char *const rows[][WORDS_MAX] = {
		{ "POINT", "--" },
		{ "POINT", "-o", "max_read=4096", "--" },
		{ "-o", "max_read=4096", "--", "POINT" },
		{ "-o", "--", "POINT" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nefs_error err = { 0 };
		struct options options;
		struct fuse_args args;

		CU_ASSERT_EQUAL(parse(rows[i], &options, &args, &err), 0);
		CU_ASSERT_STRING_EQUAL(options.mountpoint, point);
		/* Of an option it is the value, and another one follows. */
		CU_ASSERT_EQUAL(is_left(&args, "--"), i == 3);
		CU_ASSERT_EQUAL(is_left(&args, "max_read=4096"), i == 1 || i == 2);
		release(&options, &args);
	}
}

static void test_what_others_read(void)
{
	static const char *const taken[] = { "defaults", "auto", "noauto", "nofail", "_netdev",
		"user", "user=me", "users", "nouser", "owner", "group", "comment=some",
		"x-systemd.automount", "x-", "X-mount.mkdir=0755", "suid", "dev", "exec", "nosuid",
		"nodev", "noexec" };
	static const char *const left[] = { "rw", "noatime", "allow_other", "max_read=4096",
		"nonsense", "user_id=0", "defaults2" };

	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		struct nefs_error err = { 0 };
		struct options options;
		struct fuse_args args;

		CU_ASSERT_EQUAL(parse((const char *const[]){ "-o", taken[i], "POINT", NULL },
					&options, &args, &err),
			0);
		CU_ASSERT_FALSE(is_left(&args, taken[i]));
		release(&options, &args);
	}
	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
		struct nefs_error err = { 0 };
		struct options options;
		struct fuse_args args;

		CU_ASSERT_EQUAL(parse((const char *const[]){ "-o", left[i], "POINT", NULL },
					&options, &args, &err),
			0);
		CU_ASSERT_TRUE(is_left(&args, left[i]));
		release(&options, &args);
	}
}

static void test_refusals(void)
{
	static const struct {
		const char *words[WORDS_MAX];
		const char *says; /* in the sentence */
	} rows[] = {
		{ { "-f" }, "no mount point" },
		{ { "one", "POINT", "three" }, "three" },
		{ { "POINT", "-o", "ro" }, "read-only" },
		{ { "POINT", "-o", "remount,ro" }, "remount" },
		{ { "/nowhere/at/all" }, "mkdir" },
		{ { "/dev/null" }, "not a directory" },
		{ { "POINT", "-o", "backend=none" }, "backend=none" },
		{ { "POINT", "-o", "backend=sim,sim_cpus=3x" }, "3x" },
		{ { "POINT", "-o", "backend=sim,sim_cpus=1" }, "sim_cpus" },
		{ { "POINT", "-o", "sim_memory=3M" }, "2 MiB" },
		{ { "POINT", "-o", "sim_memory=2 M" }, "sim_memory" },
		{ { "POINT", "-o", "sim_memory=99999999999999999999" }, "sim_memory" },
		{ { "POINT", "-o", "sim_vm=kvm" }, "qemu or none" },
		{ { "POINT", "-o", "sim_reply_timeout=0" }, "sim_reply_timeout" },
		{ { "POINT", "-o", "heartbeat=1" }, "yes or no" },
		{ { "POINT", "-o", "user_enclaves=0" }, "user_enclaves" },
		{ { "POINT", "-o", "user_enclaves=none" }, "user_enclaves" },
		{ { "POINT", "-o", "user_enclaves=4294967296" }, "user_enclaves" },
		{ { "POINT", "-o", "user_files=-1" }, "user_files" },
		{ { "POINT", "-o", "user_files=1K" }, "user_files" },
		{ { "POINT", "-o", "user_bytes=0" }, "user_bytes" },
		{ { "POINT", "-o", "user_bytes=half" }, "user_bytes" },
		{ { "POINT", "-o", "arch=x86_64" }, "host or any" },
		{ { "POINT", "-o", "group=no such group" }, "groupadd" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nefs_error err = { 0 };
		struct options options;
		struct fuse_args args;
		int failed = parse(rows[i].words, &options, &args, &err);

		CU_ASSERT_TRUE(failed < 0 && err.code == -failed);
		if (!strstr(err.text, rows[i].says))
			printf("not as expected: %s\n", err.text);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, rows[i].says));
		release(&options, &args);
	}
}

static void test_values(void)
{
	struct nefs_error err = { 0 };
	const struct group *group = getgrgid(getegid());
	struct options options;
	struct fuse_args args;
	char text[128];

	snprintf(text, sizeof(text), "group=%s", group ? group->gr_name : "root");
	/* The last one counts. */
	CU_ASSERT_EQUAL(parse((const char *const[]){ "-o", "backend=kernel,sim_memory=1G", "POINT",
				      "-o", "backend=sim,sim_memory=64m,sim_cpus=0x10,sim_vm=none",
				      "-o", text, NULL },
				&options, &args, &err),
		0);
	CU_ASSERT_STRING_EQUAL(options.backend.kind, "sim");
	CU_ASSERT_EQUAL(options.backend.sim_memory, 64ULL << 20);
	CU_ASSERT_EQUAL(options.backend.sim_cpus, 16);
	CU_ASSERT_TRUE(options.backend.sim_vm_none);
	CU_ASSERT_EQUAL(options.gid, group ? group->gr_gid : 0);
	release(&options, &args);
}

static void test_relative_paths(void)
{
	char expected[TEMPORARY_MAX + 32], *before = getcwd(NULL, 0);
	struct nefs_error err = { 0 };
	struct options options;
	struct fuse_args args;

	CU_ASSERT_PTR_NOT_NULL_FATAL(before);
	CU_ASSERT_EQUAL_FATAL(chdir(point), 0);
	CU_ASSERT_EQUAL(parse((const char *const[]){ "-o", "spool=mine,device=a/b", ".", NULL },
				&options, &args, &err),
		0);
	snprintf(expected, sizeof(expected), "%s/mine", point);
	CU_ASSERT_STRING_EQUAL(options.spool, expected);
	CU_ASSERT_FALSE(options.default_spool);
	snprintf(expected, sizeof(expected), "%s/a/b", point);
	CU_ASSERT_STRING_EQUAL(options.backend.device, expected);
	CU_ASSERT_STRING_EQUAL(options.mountpoint, point);
	release(&options, &args);
	CU_ASSERT_EQUAL(chdir(before), 0);
	free(before);
}

static const CU_TestInfo tests[] = {
	{ "has defaults", test_defaults },
	{ "bounds of users", test_bounds },
	{ "takes flags in any order", test_flags },
	{ "takes a source and a mount point", test_words },
	{ "a -- at the end ends nothing", test_separator },
	{ "leaves to libfuse what is not for others", test_what_others_read },
	{ "refuses with a sentence", test_refusals },
	{ "lets the last value count", test_values },
	{ "resolves relative paths", test_relative_paths },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("options", tests, set_up, tear_down);
}
