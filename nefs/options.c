/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "options.h"
#include "values.h"
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <nefs/ne_limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLAG(text, member)                                                                         \
	{                                                                                          \
		text, offsetof(struct options, member), 1                                          \
	}
#define TEXT(text, member)                                                                         \
	{                                                                                          \
		text "=%s", offsetof(struct options, member), 0                                    \
	}

static const struct fuse_opt table[] = {
	FLAG("-h", help),
	FLAG("--help", help),
	FLAG("-V", version),
	FLAG("--version", version),
	FLAG("-f", foreground),
	FLAG("-d", debug),
	FLAG("debug", debug),
	TEXT("backend", kind),
	TEXT("device", device),
	TEXT("spool", spool),
	TEXT("group", group),
	TEXT("heartbeat", heartbeat),
	TEXT("arch", arch),
	TEXT("sim_cpus", sim_cpus),
	TEXT("sim_memory", sim_memory),
	TEXT("sim_vm", sim_vm),
	TEXT("sim_reply_timeout", sim_reply_timeout),
	FUSE_OPT_END,
};

/* Keeps up to two words: the source, if there are two, and the mount point. */
static int take_word(void *data, const char *word, int key, struct fuse_args *out)
{
	struct options *options = data;

	if (key != FUSE_OPT_KEY_NONOPT)
		return 1;
	if (options->source) {
		fprintf(stderr, "nefs: one word too many: %s\n", word);
		return -1;
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

/* /run/nefs-spool/MOUNTPOINT for root, $XDG_RUNTIME_DIR or /tmp for others; ! for each slash. */
static int default_spool(struct options *options, struct nefs_error *err)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char *name = strdup(options->mountpoint);
	int length;

	for (char *c = name; c && *c; c++)
		if (*c == '/')
			*c = '!';
	if (!name)
		length = -1;
	else if (geteuid() == 0)
		length = asprintf(&options->spool, "/run/nefs-spool/%s", name + 1);
	else if (runtime && *runtime == '/')
		length = asprintf(&options->spool, "%s/nefs-spool/%s", runtime, name + 1);
	else
		length = asprintf(&options->spool, "/tmp/nefs-spool-%u/%s", (unsigned int)geteuid(),
			name + 1);
	free(name);
	return length < 0 ? nefs_error_set(err, ENOMEM, "out of memory") : 0;
}

int options_parse(struct fuse_args *args, struct options *options, struct nefs_error *err)
{
	struct group *group;
	struct stat status;
	char *resolved;
	int failed;

	options->gid = (gid_t)-1;
	if (fuse_opt_parse(args, options, table, take_word))
		return nefs_error_set(err, EINVAL, "bad options; nefs -h lists them");
	if (options->help || options->version)
		return 0;
	if (!options->mountpoint)
		return nefs_error_set(err, EINVAL,
			"no mount point given: nefs [-f] [-d] [-o OPTION,...] [SOURCE] MOUNTPOINT");
	resolved = realpath(options->mountpoint, NULL);
	if (!resolved)
		return nefs_error_set(
			err, errno, "cannot mount on %s: %s", options->mountpoint, strerror(errno));
	free(options->mountpoint);
	options->mountpoint = resolved;
	if (stat(resolved, &status) || !S_ISDIR(status.st_mode))
		return nefs_error_set(
			err, ENOTDIR, "cannot mount on %s: it is not a directory", resolved);
	failed = check_backend(options, err);
	if (failed)
		return failed;
	if (options->group) {
		group = getgrnam(options->group);
		if (!group)
			return nefs_error_set(err, EINVAL,
				"group=%s: there is no such group; make it with groupadd %s",
				options->group, options->group);
		options->gid = group->gr_gid;
	}
	return options->spool ? 0 : default_spool(options, err);
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
	       "    -o heartbeat=yes|no   kernel: an enclave runs once it has reported in (yes), or\n"
	       "                          as soon as it was started\n"
	       "    -o arch=host|any      kernel: images for this machine (host), or for any\n"
	       "    -o sim_cpus=N         sim: CPU threads of the machine (8)\n"
	       "    -o sim_memory=SIZE    sim: its huge pages (4G)\n"
	       "    -o sim_vm=qemu|none   sim: enclaves boot in QEMU (qemu), or have no VM\n"
	       "    -o sim_reply_timeout=MS  sim: how long a dropped reply is waited for (120000)\n"
	       "\n"
	       "All other -o options go to mount(8). See nefs(8).\n",
		program);
}

void options_release(struct options *options)
{
	free(options->source);
	free(options->mountpoint);
	free(options->spool);
	free(options->group);
	free(options->kind);
	free(options->device);
	free(options->sim_cpus);
	free(options->sim_memory);
	free(options->sim_vm);
	free(options->sim_reply_timeout);
	free(options->heartbeat);
	free(options->arch);
}
