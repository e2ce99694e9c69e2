/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mount_point.h"
#include "claim.h"
#include "mount_table.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define TYPE	    "fuse.nefs"
#define FUSE_DEVICE "/dev/fuse"

/* More dead mounts on one directory are somebody's loop. */
#define STACK_MAX 1024

extern char **environ;

int mount_point_resolve(const char *given, char **resolved, struct nefs_error *err)
{
	NEFS_AUTO_FREE char *path = realpath(given, NULL);
	struct statx status;

	if (!path && errno == ENOENT)
		return nefs_error_set(err, ENOENT,
			"cannot mount on %s: No such file or directory; make it first, by mkdir",
			given);
	if (!path && errno == ENOTCONN)
		return nefs_error_set(err, ENOTCONN,
			"cannot mount on %s: it lies in a filesystem whose daemon is dead; unmount "
			"that one first",
			given);
	/* From what the kernel knows: one that hangs is not asked. */
	if (!path || statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_TYPE, &status))
		return nefs_error_set(err, errno, "cannot mount on %s: %s", given, strerror(errno));
	if (!S_ISDIR(status.stx_mode))
		return nefs_error_set(
			err, ENOTDIR, "cannot mount on %s: it is not a directory", given);
	*resolved = nefs_take_ptr(path);
	return 0;
}

/* Has a mount lost its daemon? By what it answers, or rather what the kernel does for it. */
static bool is_dead(const char *point)
{
	struct statx status;

	if (!statx(AT_FDCWD, point, AT_STATX_FORCE_SYNC, STATX_TYPE, &status))
		return false;
	/* The last one: it never came up, as FUSE_INIT failed. */
	return errno == ENOTCONN || errno == ECONNABORTED || errno == ECONNREFUSED;
}

static int refuse(const char *point, const struct mount_entry *entry, struct nefs_error *err)
{
	pid_t holder = claim_holder(entry->device);
	char who[64] = "";

	if (!holder && is_dead(point))
		return nefs_error_set(err, ENOTCONN,
			"cannot mount on %s: it lies in a nefs whose daemon is dead; unmount that one "
			"first (umount %s)",
			point, entry->point);
	if (holder)
		snprintf(who, sizeof(who), ", served by process %d", (int)holder);
	if (strcmp(entry->point, point))
		return nefs_error_set(err, EBUSY,
			"cannot mount on %s: it lies in the nefs that is mounted on %s%s; choose a "
			"directory elsewhere",
			point, entry->point, who);
	return nefs_error_set(err, EBUSY,
		"cannot mount on %s: a nefs is mounted there already%s; unmount it first, or choose "
		"another directory",
		point, who);
}

/* What is mounted there, if it is in our way. dead: it is a nefs, and dead. */
static int examine(const char *point, bool *dead, struct nefs_error *err)
{
	struct mount_entry entry;
	dev_t device;
	int failed = mount_device(point, &device);

	*dead = false;
	if (failed)
		return nefs_error_set(
			err, -failed, "cannot mount on %s: %s", point, strerror(-failed));
	if (!mount_table_find(device, point, true, &entry))
		return 0;
	if (strcmp(entry.type, TYPE) == 0) {
		*dead = strcmp(entry.point, point) == 0 && is_dead(point);
		failed = *dead ? 0 : refuse(point, &entry, err);
	} else if (strncmp(entry.type, "fuse", 4) == 0 && is_dead(point)) {
		failed = nefs_error_set(err, ENOTCONN,
			"cannot mount on %s: the daemon of what is mounted there (%s) is dead; "
			"unmount it first (umount -l %s)",
			point, entry.type, entry.point);
	}
	mount_entry_release(&entry);
	return failed;
}

int mount_point_check(const char *point, struct nefs_error *err)
{
	bool dead;

	return examine(point, &dead, err);
}

/* As an ordinary user: the mount is fusermount3's to take down. 0 or a negative errno. */
static int run_fusermount(const char *point)
{
	const char *arguments[] = { "fusermount3", "-u", "-z", "-q", "--", point, NULL };
	int status = 0, failed;
	pid_t child;

	failed = posix_spawnp(&child, arguments[0], NULL, NULL, (char *const *)arguments, environ);
	if (failed)
		return -failed;
	if (waitpid(child, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/* Unmounts, lazily if it is in use: whoever uses it holds a dead thing. 0 or a negative errno. */
static int take_down(const char *point)
{
	if (!umount2(point, UMOUNT_NOFOLLOW) ||
		(errno == EBUSY && !umount2(point, UMOUNT_NOFOLLOW | MNT_DETACH)))
		return 0;
	return errno == EPERM ? run_fusermount(point) : -errno;
}

int mount_point_clear(const char *point, struct nefs_error *err)
{
	bool dead;
	int failed = examine(point, &dead, err);

	for (int i = 0; !failed && dead && i < STACK_MAX; i++) {
		failed = take_down(point);
		if (failed)
			return nefs_error_set(err, -failed,
				"cannot mount on %s: a nefs whose daemon is dead is mounted there, and "
				"cannot be unmounted: %s; as root, umount -l %s",
				point, strerror(-failed), point);
		failed = examine(point, &dead, err);
	}
	return failed;
}

int mount_point_explain(const char *point, struct nefs_error *err)
{
	struct stat status;

	if (stat(FUSE_DEVICE, &status))
		return nefs_error_set(err, errno,
			"cannot mount on %s: there is no " FUSE_DEVICE
			"; load the module (modprobe "
			"fuse), or give the container the device",
			point);
	if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(10, 229))
		return nefs_error_set(err, ENODEV,
			"cannot mount on %s: " FUSE_DEVICE
			" is something else than the FUSE device, "
			"character 10:229; as root, make it anew (mknod)",
			point);
	if (access(FUSE_DEVICE, R_OK | W_OK))
		return nefs_error_set(err, errno,
			"cannot mount on %s: user %u may not open " FUSE_DEVICE
			", which has mode %04o; as root, chmod 0666 " FUSE_DEVICE,
			point, (unsigned int)geteuid(), (unsigned int)status.st_mode & 07777);
	if (geteuid() != 0)
		return nefs_error_set(err, EPERM,
			"cannot mount on %s: see the message above; the directory must be user %u's and "
			"writable, and fusermount3 must be installed (package fuse3)",
			point, (unsigned int)geteuid());
	return nefs_error_set(err, EPERM,
		"cannot mount on %s: see the message above; it takes CAP_SYS_ADMIN, or fusermount3 "
		"(package fuse3)",
		point);
}

bool mount_point_is_empty(const char *point)
{
	DIR *directory = opendir(point);
	struct dirent *entry;
	int count = 0;

	/* "." and ".." */
	while (directory && count < 3 && (entry = readdir(directory)))
		count++;
	if (directory)
		closedir(directory);
	return count < 3;
}

int mount_point_alone(const char *point, dev_t device, struct nefs_error *err)
{
	struct mount_entry entry;
	bool covers;

	if (!mount_table_find(device, point, false, &entry))
		return 0;
	covers = mount_table_has(entry.parent, TYPE, point);
	mount_entry_release(&entry);
	return covers ? nefs_error_set(err, EBUSY,
				"cannot mount on %s: another nefs was mounted there this moment",
				point)
		      : 0;
}

/* Is that filesystem what the mount point leads to? Sends no request. */
static bool leads_to(const char *point, dev_t device)
{
	dev_t found;

	return !mount_device(point, &found) && found == device;
}

void mount_point_drop(const char *point, dev_t device, struct unmounter *unmounter)
{
	if (!leads_to(point, device) || !is_dead(point))
		return;
	if (umount2(point, UMOUNT_NOFOLLOW | MNT_DETACH) && errno == EPERM)
		unmounter_unmount(unmounter);
}

/* Is the mount there, on that point or on another? A number is given again, but not to what is dead. */
static bool is_left_dead(const char *point, dev_t device)
{
	struct mount_entry entry;
	bool found = mount_table_find(device, point, true, &entry) &&
		     strcmp(entry.type, TYPE) == 0 && is_dead(entry.point);

	mount_entry_release(&entry);
	return found;
}

bool mount_point_left(const char *point, dev_t device, int ms)
{
	NEFS_AUTO_CLOSE int changes = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	struct pollfd news = { .fd = changes, .events = POLLPRI };

	/* Each change of the table is a try, and the next one may be of another mount. */
	for (int tries = 0; tries < 100 && is_left_dead(point, device); tries++)
		if (changes < 0 || poll(&news, 1, ms) <= 0)
			break;
	return !is_left_dead(point, device);
}
