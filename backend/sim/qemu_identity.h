/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who the QEMU of an enclave is. What runs in it is a stranger's, and QEMU without KVM is no boundary that
 * anybody vouches for: whoever breaks out of it has to find nothing that he had not before.
 */
#ifndef NEFS_SIM_QEMU_IDENTITY_H
#define NEFS_SIM_QEMU_IDENTITY_H

#include "vm.h"
#include <stdbool.h>
#include <sys/types.h>

struct qemu_identity {
	bool changes; /* to uid and gid; else it stays who this process is, without capabilities */
	uid_t uid;
	gid_t gid;
	bool kvm; /* /dev/kvm can be used, */
	bool kvm_by_group;
	gid_t kvm_group;      /* ... by this one, its only supplementary group */
	char *environment[3]; /* for execve; the strings are the identity's own */
};

/*
 * The identity for an enclave of config->uid and config->gid: those if this process may become others, but
 * nobody in place of the root. -ENOMEM. Released in any case.
 */
int qemu_identity_choose(struct qemu_identity *identity, const struct vm_config *config);

void qemu_identity_release(struct qemu_identity *identity);

/*
 * In the child, before execve: takes the identity on, for good, and gives up all else that QEMU needs nothing
 * of. 0 or a negative errno. Async-signal-safe.
 */
int qemu_identity_assume(const struct qemu_identity *identity);

#endif
