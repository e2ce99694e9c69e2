/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "own_mount.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

int own_mount_open(struct own_mount *own, const char *mountpoint)
{
	int failed;

	own->root = -1;
	own->mounts = fopen("/proc/self/mountinfo", "re");
	if (!own->mounts)
		return -errno;
	own->root = open_tree(AT_FDCWD, mountpoint, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (own->root >= 0)
		return 0;
	failed = -errno;
	own_mount_close(own);
	return failed;
}

int own_mount_fd(const struct own_mount *own)
{
	return own->mounts ? fileno(own->mounts) : -1;
}

bool own_mount_lasts(const struct own_mount *own)
{
	NEFS_AUTO_FREE char *line = NULL;
	size_t room = 0;
	struct statx ours;

	/* The number of the filesystem needs no answer from it: an attribute would. */
	if (statx(own->root, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &ours))
		return true;
	rewind(own->mounts);
	while (getline(&line, &room, own->mounts) >= 0) {
		unsigned int major, minor;

		/* "ID PARENT MAJOR:MINOR ROOT POINT ...", proc_pid_mountinfo(5) */
		if (sscanf(line, "%*u %*u %u:%u ", &major, &minor) == 2 &&
			major == ours.stx_dev_major && minor == ours.stx_dev_minor)
			return true;
	}
	/* A table that can't be read says nothing; holding on to the copy is what can be undone. */
	return ferror(own->mounts);
}

void own_mount_close(struct own_mount *own)
{
	if (own->root >= 0)
		close(own->root);
	if (own->mounts)
		fclose(own->mounts);
	own->root = -1;
	own->mounts = NULL;
}
