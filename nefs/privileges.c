/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "privileges.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(cap) (1ULL << (cap))

#define KEPT	 (BIT(CAP_SYS_ADMIN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER))
#define KEPT_SIM (BIT(CAP_SETUID) | BIT(CAP_SETGID) | BIT(CAP_SETPCAP) | BIT(CAP_KILL))

/* A leak checker looks into its own process from another, and must be let. */
#if defined(__SANITIZE_ADDRESS__)
#define LOOKED_INTO true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LOOKED_INTO true
#endif
#endif
#ifndef LOOKED_INTO
#define LOOKED_INTO false
#endif

/* Whoever started it may have said how it ranks: that stays. */
static void be_spared(void)
{
	static const char path[] = "/proc/self/oom_score_adj", rank[] = "-900";
	char now[8] = "";
	int fd = open(path, O_RDWR | O_CLOEXEC);

	/* Not allowed in many a container: then it ranks as all do there. */
	if (fd >= 0 && read(fd, now, sizeof(now) - 1) > 0 && strcmp(now, "0\n") == 0 &&
		pwrite(fd, rank, sizeof(rank) - 1, 0) < 0)
		errno = 0;
	if (fd >= 0)
		close(fd);
}

/* Down to what it has of those that are kept, in what it runs, too. */
static int limit_capabilities(uint64_t kept)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

	/* Where even this is not allowed there is no such capability either. */
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!(kept & BIT(cap)))
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capget, &header, sets))
		return -errno;
	for (unsigned int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		sets[i].permitted &= (uint32_t)(kept >> (32 * i));
		sets[i].effective = sets[i].permitted;
		sets[i].inheritable = 0;
	}
	return syscall(SYS_capset, &header, sets) ? -errno : 0;
}

int privileges_give_up(bool is_sim, struct nefs_error *err)
{
	int failed;

	if (geteuid() != 0)
		return 0;
	if (!is_sim)
		be_spared();
	failed = limit_capabilities(KEPT | (is_sim ? KEPT_SIM : 0));
	if (!failed && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		failed = -errno;
	if (!failed && !LOOKED_INTO && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		failed = -errno;
	return failed ? nefs_error_set(err, -failed,
				"cannot give up the privileges that it needs no more: %s",
				strerror(-failed))
		      : 0;
}
