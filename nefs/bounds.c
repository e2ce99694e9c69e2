/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bounds.h"
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* One in so many bytes of the spool is root's alone. */
#define ROOT_BYTES 16

/* One in so many fds is kept for root, for enclaves that run, and for nefs itself. */
#define ROOT_FDS 4

/* Less than this a bound cannot be: a file's first block. */
#define BYTES_MIN 4096

int bounds_set(
	struct quota *quota, const struct options *options, int spool, struct nefs_error *err)
{
	struct quota_limits *limits = &quota->limits;
	struct statvfs status;
	struct rlimit fds;
	uint64_t room;

	quota->mounter = geteuid();
	*limits = options->bounds;
	if (fstatvfs(spool, &status))
		return nefs_error_set(err, errno,
			"cannot find out how large the spool directory is: %s", strerror(errno));
	/* Of a filesystem without a size, or so large that nobody counts it, it is as much as can be counted. */
	if (__builtin_mul_overflow((uint64_t)status.f_bavail, (uint64_t)status.f_frsize, &room) ||
		!status.f_blocks)
		room = INT64_MAX;
	limits->all[QUOTA_BYTES] = room - room / ROOT_BYTES + BYTES_MIN;
	if (options->default_user_bytes)
		limits->each[QUOTA_BYTES] = room / 2 + BYTES_MIN;
	if (!getrlimit(RLIMIT_NOFILE, &fds) && fds.rlim_cur != RLIM_INFINITY)
		limits->all[QUOTA_FDS] = fds.rlim_cur - fds.rlim_cur / ROOT_FDS;
	return 0;
}
