/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line of nefs, as in nefs(8). */
#ifndef NEFS_OPTIONS_H
#define NEFS_OPTIONS_H

#include "quota.h"
#include <fuse_opt.h>
#include <nefs/backend.h>
#include <nefs/error.h>
#include <stdbool.h>
#include <sys/types.h>

struct options {
	/* Flags are ints, as fuse_opt.h writes an int for each. */
	int foreground; /* -f */
	int debug;	/* -d: foreground, and libfuse tells each request */
	int help, version;
	int read_only, remount; /* asked for, and refused */
	char *source;		/* the mount table's first column; "nefs" by default */
	char *mountpoint;	/* absolute, as realpath(3) gives it */
	char *spool;		/* absolute */
	bool default_spool;	/* it was not given: it goes at the end, if it is empty */
	char *group;
	gid_t gid; /* of group; (gid_t)-1 without */
	char *kind;
	char *device;  /* absolute, if it was given */
	char *fsname;  /* -o fsname=: a source, if none was given otherwise */
	char *surplus; /* a word too many */
	char *heartbeat, *arch;
	char *user_enclaves, *user_files, *user_bytes;
	struct quota_limits
		bounds; /* of these; what depends on the machine is not in it (bounds.h) */
	bool default_user_bytes;
	char *sim_cpus, *sim_memory, *sim_vm, *sim_reply_timeout;
	struct backend_options backend;
};

/*
 * Parses and checks them; what is left in args is for libfuse's mount. EINVAL with a sentence for
 * anything that makes no sense. With help or version set nothing else is checked. What is relative is
 * made absolute by the working directory.
 */
int options_parse(struct fuse_args *args, struct options *options, struct nefs_error *err);

/*
 * Adds what every mount of nefs has, on top of what the user gave: its type and source, nosuid, nodev and
 * noexec. 0 or -ENOMEM.
 */
int options_add_mount(const struct options *options, struct fuse_args *args);

void options_print_help(const char *program);
void options_release(struct options *options);

#endif
