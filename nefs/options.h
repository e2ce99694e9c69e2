/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line of nefs, as in nefs(8). */
#ifndef NEFS_OPTIONS_H
#define NEFS_OPTIONS_H

#include <fuse_opt.h>
#include <nefs/backend.h>
#include <nefs/error.h>
#include <stdbool.h>

struct options {
	bool foreground; /* -f */
	bool debug;	 /* -d: foreground, and libfuse tells each request */
	bool help;
	bool version;
	char *source;	  /* the mount table's first column; "nefs" by default */
	char *mountpoint; /* absolute, as realpath(3) gives it */
	char *spool;
	char *group;
	gid_t gid; /* of group; (gid_t)-1 without */
	char *kind;
	char *device;
	char *heartbeat, *arch;
	char *sim_cpus, *sim_memory, *sim_vm, *sim_reply_timeout;
	struct backend_options backend;
};

/*
 * Parses and checks them; what is left in args is for libfuse's mount. EINVAL with a sentence for
 * anything that makes no sense. With help or version set nothing else is checked.
 */
int options_parse(struct fuse_args *args, struct options *options, struct nefs_error *err);

void options_print_help(const char *program);
void options_release(struct options *options);

#endif
