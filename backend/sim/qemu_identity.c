/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu_identity.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KVM "/dev/kvm"

/* The kernel's own nobody, and each distribution's. */
#define NOBODY 65534

/*
 * Has the CPU virtualisation? The device node alone says nothing: without it, guests hang on that
 * (docs/facts/lab.md §1).
 */
static bool cpu_has_kvm(void)
{
	char *line = NULL;
	size_t room = 0;
	bool found = false;
	FILE *cpuinfo = fopen("/proc/cpuinfo", "re");

	while (cpuinfo && !found && getline(&line, &room, cpuinfo) > 0)
		found = strncmp(line, "flags", 5) == 0 &&
			(strstr(line, " vmx") || strstr(line, " svm"));
	free(line);
	if (cpuinfo)
		fclose(cpuinfo);
	return found;
}

/* Whoever may not open it for himself may by its group, which lets to nothing else. */
static void find_kvm(struct qemu_identity *identity)
{
	struct stat node;

	if (!cpu_has_kvm() || stat(KVM, &node))
		return;
	if (!identity->changes)
		identity->kvm = access(KVM, R_OK | W_OK) == 0;
	else if ((node.st_mode & 0006) == 0006)
		identity->kvm = true;
	else if ((node.st_mode & 0060) == 0060 && node.st_gid != 0)
		identity->kvm = identity->kvm_by_group = true;
	identity->kvm_group = node.st_gid;
}

int qemu_identity_choose(struct qemu_identity *identity, const struct vm_config *config)
{
	const char *path = getenv("PATH");

	*identity = (struct qemu_identity){
		.changes = geteuid() == 0 && config->uid != VM_NO_OWNER,
		.uid = config->uid ? config->uid : NOBODY,
		.gid = config->uid && config->gid ? config->gid : NOBODY,
	};
	find_kvm(identity);
	/* Where it is looked for is whoever started this process's word; all else of theirs is their own. */
	if (asprintf(&identity->environment[0], "PATH=%s", path ? path : "/usr/bin:/bin") < 0)
		identity->environment[0] = NULL;
	identity->environment[1] = strdup("LANG=C.UTF-8");
	return identity->environment[0] && identity->environment[1] ? 0 : -ENOMEM;
}

void qemu_identity_release(struct qemu_identity *identity)
{
	free(identity->environment[0]);
	free(identity->environment[1]);
	identity->environment[0] = identity->environment[1] = NULL;
}

/*
 * The system calls themselves: the C library's functions would have other threads do the same, and in here
 * there are none, but maybe their locks.
 */
static int change(const struct qemu_identity *identity)
{
	size_t groups = identity->kvm_by_group ? 1 : 0;
	int failed = 0;

	if (syscall(SYS_setgroups, groups, &identity->kvm_group))
		failed = -errno;
	if (syscall(SYS_setresgid, identity->gid, identity->gid, identity->gid) && !failed)
		failed = -errno;
	if (syscall(SYS_setresuid, identity->uid, identity->uid, identity->uid) == 0)
		return failed;
	/* In a user namespace where they are nobody at all, its root is an ordinary user outside. */
	return errno == EINVAL ? 0 : -errno;
}

/* Of all sets: the root would get them back by execve else. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(SYS_capset, &header, none) ? -errno : 0;
}

/* No memory of a guest in a file, and no rank among those that the kernel spares. */
static void lower_limits(void)
{
	const struct rlimit no_core = { 0, 0 };
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	setrlimit(RLIMIT_CORE, &no_core);
	/* Fails where it is above that already: well then. */
	if (fd >= 0 && write(fd, "0", 1) < 0)
		errno = 0;
	if (fd >= 0)
		close(fd);
}

int qemu_identity_assume(const struct qemu_identity *identity)
{
	int failed = 0;

	lower_limits();
	umask(077);
	if (chdir("/"))
		return -errno;
	/* A bounding set that is not there to be dropped from needs nothing dropped. */
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	if (identity->changes)
		failed = change(identity);
	if (!failed)
		failed = drop_capabilities();
	if (!failed && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		failed = -errno;
	return failed;
}
