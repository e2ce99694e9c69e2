/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "own_mount.h"
#include "mount_table.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MOUNTINFO "/proc/self/mountinfo"

int own_mount_open(struct own_mount *own, const char *mountpoint)
{
	int failed;

	own->root = -1;
	own->over = false;
	own->changes = open(MOUNTINFO, O_RDONLY | O_CLOEXEC);
	if (own->changes < 0)
		return -errno;
	own->root = open_tree(AT_FDCWD, mountpoint, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (own->root >= 0)
		return 0;
	failed = -errno;
	own_mount_close(own);
	return failed;
}

bool own_mount_lasts(const struct own_mount *own)
{
	struct statx ours;

	/* The number of the filesystem needs no answer from it: an attribute would. */
	if (statx(own->root, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &ours))
		return false;
	return mount_table_lists(own->changes, makedev(ours.stx_dev_major, ours.stx_dev_minor)) > 0;
}

void own_mount_close(struct own_mount *own)
{
	if (own->root >= 0) {
		close(own->root);
		own->over = true;
	}
	if (own->changes >= 0)
		close(own->changes);
	own->root = -1;
	own->changes = -1;
}
