/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "options.h"
#include "mount_point.h"
#include "values.h"
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <nefs/cleanup.h>
#include <nefs/ne_limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLAG(text, member)                                                                         \
	{                                                                                          \
		text, offsetof(struct options, member), 1                                          \
	}
#define TEXT(text, member)                                                                         \
	{                                                                                          \
		text "=%s", offsetof(struct options, member), 0                                    \
	}

/* What a user may have if no option says otherwise. */
#define USER_ENCLAVES 256
#define USER_FILES    1024
/* Of nefs's own memory, for journals and consoles: those of 16 enclaves may be full. No refusal, and no option. */
#define USER_TEXT (32U << 20)

/* Of a mount point in its spool directory's name, which has 255 bytes at most. */
#define SPOOL_NAME_MAX 200U

/* FUSE_OPT_KEY, without its -1U, of which clang warns. */
#define IGNORED(text)                                                                              \
	{                                                                                          \
		text, UINT_MAX, FUSE_OPT_KEY_DISCARD                                               \
	}

static const struct fuse_opt table[] = {
	FLAG("-h", help),
	FLAG("--help", help),
	FLAG("-V", version),
	FLAG("--version", version),
	FLAG("-f", foreground),
	FLAG("-d", debug),
	FLAG("debug", debug),
	FLAG("ro", read_only),
	FLAG("remount", remount),
	TEXT("fsname", fsname),
	TEXT("backend", kind),
	TEXT("device", device),
	TEXT("spool", spool),
	TEXT("group", group),
	TEXT("user_enclaves", user_enclaves),
	TEXT("user_files", user_files),
	TEXT("user_bytes", user_bytes),
	TEXT("heartbeat", heartbeat),
	TEXT("arch", arch),
	TEXT("sim_cpus", sim_cpus),
	TEXT("sim_memory", sim_memory),
	TEXT("sim_vm", sim_vm),
	TEXT("sim_reply_timeout", sim_reply_timeout),
	/*
	 * What fstab(5) says to mount(8) and to systemd, and mount.fuse3(8) would not pass on; and what is
	 * decided: mount.fuse3 asks for suid and dev where fstab does not.
	 */
	IGNORED("defaults"),
	IGNORED("auto"),
	IGNORED("noauto"),
	IGNORED("nofail"),
	IGNORED("_netdev"),
	IGNORED("user"),
	IGNORED("user="),
	IGNORED("nouser"),
	IGNORED("users"),
	IGNORED("nousers"),
	IGNORED("owner"),
	IGNORED("noowner"),
	IGNORED("group"),
	IGNORED("nogroup"),
	IGNORED("comment="),
	IGNORED("suid"),
	IGNORED("nosuid"),
	IGNORED("dev"),
	IGNORED("nodev"),
	IGNORED("exec"),
	IGNORED("noexec"),
	FUSE_OPT_END,
};

/*
 * Keeps up to two words: the source, if there are two, and the mount point. Of the rest, what is not libfuse's
 * is for whoever reads fstab.
 */
static int take_word(void *data, const char *word, int key, struct fuse_args *out)
{
	struct options *options = data;

	if (key == FUSE_OPT_KEY_OPT && (strncmp(word, "x-", 2) == 0 || strncmp(word, "X-", 2) == 0))
		return 0;
	if (key != FUSE_OPT_KEY_NONOPT)
		return 1;
	if (options->source) {
		free(options->surplus);
		options->surplus = strdup(word);
		return options->surplus ? 0 : -1;
	}
	if (options->mountpoint)
		options->source = options->mountpoint;
	options->mountpoint = strdup(word);
	return options->mountpoint ? 0 : -1;
}

static int check_backend(struct options *options, struct nefs_error *err)
{
	struct backend_options *backend = &options->backend;
	uint64_t number;
	int failed = 0;

	backend->kind = options->kind ? options->kind : "kernel";
	backend->device = options->device;
	if (strcmp(backend->kind, "kernel") && strcmp(backend->kind, "sim"))
		return nefs_error_set(
			err, EINVAL, "backend=%s: it is kernel or sim", backend->kind);
	if (options->heartbeat && strcmp(options->heartbeat, "yes") &&
		strcmp(options->heartbeat, "no"))
		return nefs_error_set(
			err, EINVAL, "heartbeat=%s: it is yes or no", options->heartbeat);
	backend->no_heartbeat = options->heartbeat && strcmp(options->heartbeat, "no") == 0;
	if (options->arch && strcmp(options->arch, "host") && strcmp(options->arch, "any"))
		return nefs_error_set(err, EINVAL, "arch=%s: it is host or any", options->arch);
	backend->any_arch = options->arch && strcmp(options->arch, "any") == 0;
	if (options->sim_cpus) {
		failed = value_number(
			options->sim_cpus, NE_SIM_CPUS_MIN, NE_SIM_CPUS_MAX, &number, err);
		if (failed) {
			nefs_error_prefix(err, "sim_cpus");
			return failed;
		}
		backend->sim_cpus = (unsigned int)number;
	}
	if (options->sim_memory) {
		failed = value_size(options->sim_memory, NE_MEMORY_UNIT, NE_SIM_MEMORY_MAX,
			&backend->sim_memory, err);
		if (!failed && backend->sim_memory % NE_MEMORY_UNIT)
			failed = nefs_error_set(err, EINVAL, "'%s' is not a multiple of 2 MiB",
				options->sim_memory);
		if (failed) {
			nefs_error_prefix(err, "sim_memory");
			return failed;
		}
	}
	if (options->sim_reply_timeout) {
		failed = value_number(options->sim_reply_timeout, 1, 3600000, &number, err);
		if (failed) {
			nefs_error_prefix(err, "sim_reply_timeout");
			return failed;
		}
		backend->sim_reply_timeout_ms = (unsigned int)number;
	}
	if (options->sim_vm && strcmp(options->sim_vm, "qemu") && strcmp(options->sim_vm, "none"))
		return nefs_error_set(
			err, EINVAL, "sim_vm=%s: it is qemu or none", options->sim_vm);
	backend->sim_vm_none = options->sim_vm && strcmp(options->sim_vm, "none") == 0;
	return 0;
}

/* "no" for no bound. 0 is refused: it may be meant to say either. */
static bool is_no(const char *text)
{
	return strcmp(text, "no") == 0;
}

static int find_bound(const char *name, const char *text, uint64_t *bound, struct nefs_error *err)
{
	int failed;

	if (!text)
		return 0;
	if (is_no(text)) {
		*bound = 0;
		return 0;
	}
	failed = value_number(text, 1, UINT32_MAX, bound, err);
	if (failed)
		nefs_error_prefix(err, "%s", name);
	return failed;
}

static int check_bounds(struct options *options, struct nefs_error *err)
{
	uint64_t *each = options->bounds.each;
	const char *bytes = options->user_bytes;
	int failed;

	each[QUOTA_ENCLAVES] = USER_ENCLAVES;
	each[QUOTA_FILES] = USER_FILES;
	each[QUOTA_TEXT] = USER_TEXT;
	options->default_user_bytes = !bytes;
	failed = find_bound("user_enclaves", options->user_enclaves, &each[QUOTA_ENCLAVES], err);
	if (!failed)
		failed = find_bound("user_files", options->user_files, &each[QUOTA_FILES], err);
	if (!failed && bytes && !is_no(bytes)) {
		failed = value_size(bytes, 1, INT64_MAX, &each[QUOTA_BYTES], err);
		if (failed)
			nefs_error_prefix(err, "user_bytes");
	}
	/* One for each file: all that wait for the same are answered in one go, and others behind them. */
	each[QUOTA_PARKED] = each[QUOTA_FILES];
	return failed;
}

/* The mount point as one name, ! for each slash; of a long one the end, and a hash of all (FNV-1a). */
static char *spool_name(const char *mountpoint)
{
	const char *path = mountpoint + 1;
	size_t length = strlen(path);
	uint64_t hash = 0xcbf29ce484222325;
	char *name;

	if (length <= SPOOL_NAME_MAX) {
		name = strdup(path);
	} else {
		for (const char *c = path; *c; c++)
			hash = (hash ^ (unsigned char)*c) * 0x100000001b3;
		if (asprintf(&name, "%016" PRIx64 "%s", hash, path + length - SPOOL_NAME_MAX) < 0)
			name = NULL;
	}
	for (char *c = name; c && *c; c++)
		if (*c == '/')
			*c = '!';
	return name;
}

/* /run/nefs-spool/MOUNTPOINT for root, $XDG_RUNTIME_DIR or /tmp for others. */
static int default_spool(struct options *options, struct nefs_error *err)
{
	NEFS_AUTO_FREE char *name = spool_name(options->mountpoint);
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int length;

	if (!name)
		length = -1;
	else if (geteuid() == 0)
		length = asprintf(&options->spool, "/run/nefs-spool/%s", name);
	else if (runtime && *runtime == '/')
		length = asprintf(&options->spool, "%s/nefs-spool/%s", runtime, name);
	else
		length = asprintf(
			&options->spool, "/tmp/nefs-spool-%u/%s", (unsigned int)geteuid(), name);
	return length < 0 ? nefs_error_set(err, ENOMEM, "out of memory") : 0;
}

/* The daemon's working directory is another: a path is resolved before. NULL stays. */
static int make_absolute(char **path, struct nefs_error *err)
{
	NEFS_AUTO_FREE char *directory = NULL;
	char *absolute;

	if (!*path || !**path || **path == '/')
		return 0;
	directory = getcwd(NULL, 0);
	if (!directory)
		return nefs_error_set(err, errno,
			"cannot find out what %s is relative to: %s; give the whole path", *path,
			strerror(errno));
	if (asprintf(&absolute, "%s/%s", directory, *path) < 0)
		return nefs_error_set(err, ENOMEM, "out of memory");
	free(*path);
	*path = absolute;
	return 0;
}

/* What makes no sense whatever the rest is. */
static int check_words(const struct options *options, struct nefs_error *err)
{
	if (options->surplus)
		return nefs_error_set(err, EINVAL, "one word too many: %s", options->surplus);
	if (options->remount)
		return nefs_error_set(err, EINVAL,
			"remount: options of a nefs that is mounted cannot be changed; unmount it, and mount "
			"it anew (what runs ends with it)");
	if (options->read_only)
		return nefs_error_set(err, EINVAL,
			"ro: enclaves are made and started by writing; mount it without, and show it "
			"read-only elsewhere by a bind mount (mount --bind -o ro)");
	if (!options->mountpoint)
		return nefs_error_set(err, EINVAL,
			"no mount point given: nefs [-f] [-d] [-o OPTION,...] [SOURCE] MOUNTPOINT");
	return 0;
}

static int find_group(struct options *options, struct nefs_error *err)
{
	const struct group *group;

	options->gid = (gid_t)-1;
	if (!options->group)
		return 0;
	group = getgrnam(options->group);
	if (!group)
		return nefs_error_set(err, EINVAL,
			"group=%s: there is no such group; make it with groupadd %s",
			options->group, options->group);
	options->gid = group->gr_gid;
	return 0;
}

/*
 * libfuse takes a "--" at the end away, but not where it has put options in front: what is added later would be
 * words then. The words are ours by now. In "-o --" it is an option, if none that anybody knows.
 */
static void drop_separator(struct fuse_args *args)
{
	const int last = args->argc - 1;

	if (last < 1 || strcmp(args->argv[last], "--") ||
		(last == 2 && strcmp(args->argv[1], "-o") == 0))
		return;
	free(args->argv[last]);
	args->argv[last] = NULL;
	args->argc = last;
}

int options_parse(struct fuse_args *args, struct options *options, struct nefs_error *err)
{
	char *resolved;
	int failed;

	options->gid = (gid_t)-1;
	if (fuse_opt_parse(args, options, table, take_word))
		return nefs_error_set(err, EINVAL, "bad options; nefs -h lists them");
	drop_separator(args);
	if (options->help || options->version)
		return 0;
	failed = check_words(options, err);
	if (!failed)
		failed = mount_point_resolve(options->mountpoint, &resolved, err);
	if (failed)
		return failed;
	free(options->mountpoint);
	options->mountpoint = resolved;
	failed = make_absolute(&options->spool, err);
	if (!failed)
		failed = make_absolute(&options->device, err);
	if (!failed)
		failed = check_backend(options, err);
	if (!failed)
		failed = check_bounds(options, err);
	if (!failed)
		failed = find_group(options, err);
	options->default_spool = !options->spool;
	if (!failed && !options->spool)
		failed = default_spool(options, err);
	return failed;
}

/* "-ofsname=SOURCE"; a comma in it begins no other option. */
static int add_source(struct fuse_args *args, const char *source)
{
	NEFS_AUTO_FREE char *name = NULL, *escaped = NULL, *argument = NULL;

	if (asprintf(&name, "fsname=%s", source) < 0) {
		name = NULL;
		return -ENOMEM;
	}
	if (fuse_opt_add_opt_escaped(&escaped, name))
		return -ENOMEM;
	if (asprintf(&argument, "-o%s", escaped) < 0) {
		argument = NULL;
		return -ENOMEM;
	}
	return fuse_opt_add_arg(args, argument) ? -ENOMEM : 0;
}

int options_add_mount(const struct options *options, struct fuse_args *args)
{
	const char *source = options->source ? options->source : options->fsname;

	if (fuse_opt_add_arg(args, "-odefault_permissions,subtype=nefs,nosuid,nodev,noexec"))
		return -ENOMEM;
	if (geteuid() == 0 && fuse_opt_add_arg(args, "-oallow_other"))
		return -ENOMEM;
	if (add_source(args, source && *source ? source : "nefs"))
		return -ENOMEM;
	return options->debug && fuse_opt_add_arg(args, "-odebug") ? -ENOMEM : 0;
}

void options_print_help(const char *program)
{
	printf("usage: %s [-f] [-d] [-o OPTION,...] [SOURCE] MOUNTPOINT\n"
	       "\n"
	       "Mounts a filesystem in which each directory is a Nitro Enclave.\n"
	       "\n"
	       "    -f                    stay in the foreground\n"
	       "    -d                    the same, and print each request\n"
	       "    -h, --help            print this\n"
	       "    -V, --version         print the version\n"
	       "    -o backend=kernel     /dev/nitro_enclaves (default)\n"
	       "    -o backend=sim        a simulated device, enclaves run in QEMU\n"
	       "    -o device=PATH        kernel: the device node\n"
	       "    -o spool=DIR          where images are kept while mounted (private, 0700)\n"
	       "    -o group=NAME         members of this group may make enclaves\n"
	       "    -o user_enclaves=N    enclaves of one user, but root (256), or no: any number\n"
	       "    -o user_files=N       files that one user may have open or staged (1024), or no\n"
	       "    -o user_bytes=SIZE    images and staged files of one user (half of the free spool), or no\n"
	       "    -o heartbeat=yes|no   kernel: an enclave runs once it has reported in (yes), or\n"
	       "                          as soon as it was started\n"
	       "    -o arch=host|any      kernel: images for this machine (host), or for any\n"
	       "    -o sim_cpus=N         sim: CPU threads of the machine (8)\n"
	       "    -o sim_memory=SIZE    sim: its huge pages (4G)\n"
	       "    -o sim_vm=qemu|none   sim: enclaves boot in QEMU (qemu), or have no VM\n"
	       "    -o sim_reply_timeout=MS  sim: how long a dropped reply is waited for (120000)\n"
	       "\n"
	       "Other -o options are those of mount.fuse3(8); nosuid, nodev and noexec are always set.\n"
	       "See nefs(8).\n",
		program);
}

void options_release(struct options *options)
{
	free(options->source);
	free(options->mountpoint);
	free(options->spool);
	free(options->group);
	free(options->fsname);
	free(options->surplus);
	free(options->kind);
	free(options->device);
	free(options->user_enclaves);
	free(options->user_files);
	free(options->user_bytes);
	free(options->sim_cpus);
	free(options->sim_memory);
	free(options->sim_vm);
	free(options->sim_reply_timeout);
	free(options->heartbeat);
	free(options->arch);
}
