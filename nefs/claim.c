/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "claim.h"
#include "mount_table.h"
#include <dirent.h>
#include <errno.h>
#include <nefs/cleanup.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

/* How long one that starts or ends is waited for: longer than the end waits for enclaves to stop. */
#define WAIT_MS 15000
#define STEP_MS 10

/* What a mark is called: the file of no name, as /proc shows it, is the only thing others can see of it. */
#define MARK "nefs-mount-%u:%u"

/* ---- Marks ---- */

int claim_mount(dev_t device)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), MARK, major(device), minor(device));
	fd = memfd_create(name, MFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The filesystem that a link in /proc/PID/fd marks. */
static bool is_mark(const char *link, dev_t *device)
{
	unsigned int major, minor;

	if (sscanf(link, "/memfd:" MARK " ", &major, &minor) != 2)
		return false;
	*device = makedev(major, minor);
	return true;
}

/* Does a process have the mark of a filesystem (0: of any that it sees)? */
static bool serves(pid_t pid, dev_t device)
{
	char path[64], link[128];
	struct dirent *entry;
	bool found = false;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	fds = opendir(path);
	while (fds && !found && (entry = readdir(fds))) {
		ssize_t length = readlinkat(dirfd(fds), entry->d_name, link, sizeof(link) - 1);
		dev_t marked;

		link[length > 0 ? length : 0] = '\0';
		if (is_mark(link, &marked))
			found = device ? marked == device : mount_table_sees(pid, marked);
	}
	if (fds)
		closedir(fds);
	return found;
}

pid_t claim_holder(dev_t device)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	while (processes && !found && (entry = readdir(processes))) {
		pid_t pid = (pid_t)atoi(entry->d_name);

		if (pid > 0 && serves(pid, device))
			found = pid;
	}
	if (processes)
		closedir(processes);
	return found;
}

/* ---- The lock ---- */

/* "ID: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE ...", proc_locks(5) */
static pid_t lock_holder(int fd)
{
	NEFS_AUTO_FREE char *line = NULL;
	FILE *locks = fopen("/proc/locks", "re");
	struct stat status;
	pid_t holder = 0;
	size_t room = 0;

	if (fstat(fd, &status))
		status.st_ino = 0;
	while (locks && !holder && getline(&line, &room, locks) >= 0) {
		unsigned int major, minor;
		unsigned long inode;
		int pid;

		if (sscanf(line, "%*u: FLOCK %*s %*s %d %x:%x:%lu", &pid, &major, &minor, &inode) ==
				4 &&
			inode == status.st_ino && makedev(major, minor) == status.st_dev)
			holder = (pid_t)pid;
	}
	if (locks)
		fclose(locks);
	return holder > 0 ? holder : 0;
}

/* Has one of the signals come that end a daemon? They are blocked, and nobody reads them yet. */
static bool is_to_end(void)
{
	sigset_t pending;

	return !sigpending(&pending) &&
	       (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

int claim_directory(int fd, const char *path, struct nefs_error *err)
{
	const struct timespec step = { .tv_nsec = STEP_MS * 1000000L };
	pid_t holder = 0;

	for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB); waited += STEP_MS) {
		if (errno != EWOULDBLOCK)
			return nefs_error_set(err, errno,
				"cannot lock the spool directory %s: %s; choose one on a local "
				"filesystem with -o spool=DIR",
				path, strerror(errno));
		holder = lock_holder(fd);
		if (holder && serves(holder, 0))
			return nefs_error_set(err, EBUSY,
				"the spool directory %s is that of process %d, which serves a mount "
				"with it: choose another with -o spool=DIR, or unmount that one first",
				path, (int)holder);
		if (is_to_end())
			return nefs_error_set(err, EINTR,
				"the spool directory %s is still that of process %d, and waiting for it "
				"was ended by a signal",
				path, (int)holder);
		if (waited >= WAIT_MS)
			return nefs_error_set(err, EBUSY,
				"the spool directory %s is still that of process %d, which neither "
				"serves a mount nor ends: end it (kill %d), or choose another directory "
				"with -o spool=DIR",
				path, (int)holder, (int)holder);
		nanosleep(&step, NULL);
	}
	return 0;
}

void claim_release(int fd)
{
	if (fd >= 0)
		flock(fd, LOCK_UN);
}

bool claim_again(int fd)
{
	return fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB);
}
