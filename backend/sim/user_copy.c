/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "user_copy.h"
#include <errno.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * The kernel copies between two address ranges of this very process and reports a bad one. The
 * system call is made by hand because the sanitizers' wrappers look at the addresses first.
 */
static int copy(long call, void *mine, uint64_t theirs, size_t size)
{
	struct iovec local = { .iov_base = mine, .iov_len = size };
	struct iovec remote = { .iov_base = (void *)(uintptr_t)theirs, .iov_len = size };
	long copied = syscall(call, getpid(), &local, 1UL, &remote, 1UL, 0UL);

	return copied == (long)size ? 0 : -EFAULT;
}

int user_copy_in(void *to, uint64_t from, size_t size)
{
	return copy(SYS_process_vm_readv, to, from, size);
}

int user_copy_out(uint64_t to, const void *from, size_t size)
{
	return copy(SYS_process_vm_writev, (void *)(uintptr_t)from, to, size);
}
