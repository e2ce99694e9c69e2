/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "syscall_filter.h"
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Sanitizers stop their own process's threads to look into them, and run programs that read symbols. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

/* More than there are in the kernel's table, or will be for long. */
#define NUMBERS 600

/* Those of clone(2), the time namespace excepted, whose bit is another there. */
#define NAMESPACES                                                                                 \
	((uint64_t)(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |  \
		    CLONE_NEWPID | CLONE_NEWNET))

/* Names with a space behind each. One that this machine has not is no fault. */
static const char daemon_calls[] =
	/* memory */
	"brk madvise map_shadow_stack mincore mlock mlock2 mmap mprotect mremap mseal msync "
	"munlock munmap "
	/* ... on a node: libnuma, huge pages */
	"get_mempolicy mbind set_mempolicy "
	/* threads */
	"arch_prctl exit exit_group futex futex_requeue futex_wait futex_waitv futex_wake get_robust_list getcpu getpriority "
	"membarrier prctl rseq sched_getaffinity sched_getattr sched_getparam sched_getscheduler "
	"sched_get_priority_max sched_get_priority_min sched_setaffinity sched_yield "
	"set_robust_list set_tid_address setpriority "
	/* time */
	"clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep time timer_create "
	"timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime "
	"timerfd_settime times "
	/* signals, and those to itself and its own */
	"kill pause pidfd_open pidfd_send_signal restart_syscall rt_sigaction rt_sigpending "
	"rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait "
	"rt_tgsigqueueinfo sigaltstack signalfd signalfd4 tgkill tkill "
	/* waiting */
	"epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd "
	"eventfd2 poll ppoll pselect6 select "
	/* files, open ones */
	"close close_range copy_file_range dup dup2 dup3 fadvise64 fallocate fcntl fdatasync "
	"flock fstat fstatfs fsync ftruncate getdents getdents64 ioctl lseek memfd_create pipe "
	"pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readv sendfile "
	"splice sync_file_range tee vmsplice write writev "
	/* ... and by their names */
	"access chdir chmod chown creat faccessat faccessat2 fchdir fchmod fchmodat fchmodat2 "
	"fchown fchownat fgetxattr getcwd getxattr inotify_add_watch inotify_init1 "
	"inotify_rm_watch lchown lgetxattr link linkat lstat mkdir mkdirat mknod mknodat "
	"name_to_handle_at "
	"newfstatat open openat openat2 readlink readlinkat rename renameat renameat2 rmdir stat "
	"statfs statx symlink symlinkat truncate umask unlink unlinkat utime utimensat utimes "
	"futimesat "
	/* its own mount's end */
	"umount2 "
	/* sockets, of two families (below) */
	"accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg "
	"recvmsg sendmmsg sendmsg sendto setsockopt shutdown socketpair "
	/* who and what it is */
	"capget getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getrandom "
	"getresgid getresuid getrlimit getrusage getsid gettid getuid prlimit64 sysinfo uname "
	"wait4 waitid ";

/* What makes a QEMU of a process, and what one needs beyond the above. */
static const char qemu_calls[] =
	"capset execve execveat fork getitimer io_cancel io_destroy io_getevents io_pgetevents "
	"io_setup io_submit mlockall munlockall pkey_alloc pkey_free pkey_mprotect seccomp "
	"setfsgid setfsuid setgid setgroups setitimer setpgid setregid setresgid setresuid "
	"setreuid setrlimit setsid setuid sched_setparam sched_setscheduler vfork ";

/* Nobody makes these by surprise. */
static const char deadly_calls[] =
	"acct add_key adjtimex bpf chroot clock_adjtime clock_settime delete_module finit_module "
	"fsconfig fsmount fsopen fspick init_module ioperm iopl kcmp kexec_file_load kexec_load "
	"keyctl lookup_dcookie mount mount_setattr move_mount open_by_handle_at open_tree "
	"perf_event_open pidfd_getfd pivot_root process_madvise ptrace quotactl quotactl_fd "
	"reboot request_key setdomainname sethostname setns settimeofday stime swapoff swapon "
	"syslog uselib userfaultfd vhangup ";

static const char sanitizer_calls[] =
	" clone execve fork personality process_vm_readv process_vm_writev ptrace vfork ";

/* Most characters of a call's name. */
#define NAME_MAX_SIZE 32

static int number_of(const char *name)
{
	return seccomp_syscall_resolve_name(name);
}

static bool is_in(const char *names, const char *name)
{
	for (size_t length = strlen(name); (names = strstr(names, name)); names += length)
		if (names[length] == ' ' && names[-1] == ' ')
			return true;
	return false;
}

/* One after another into the filter, until one fails: 0 or a negative errno. */
static int add_all(scmp_filter_ctx filter, uint32_t action, const char *names)
{
	char name[NAME_MAX_SIZE];
	int failed = 0, used = 0;

	for (; !failed && sscanf(names, "%31s%n", name, &used) == 1; names += used) {
		int number = number_of(name);

		/* This machine's libseccomp does not know it; or its rule is another already. */
		if (number == __NR_SCMP_ERROR ||
			(SANITIZED && action != SCMP_ACT_ALLOW && is_in(sanitizer_calls, name)))
			continue;
		failed = seccomp_rule_add(filter, action, number, 0);
	}
	return failed;
}

/* Where the call depends on an argument. */
static int add_rule(scmp_filter_ctx filter, const char *name, struct scmp_arg_cmp condition)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, number_of(name), 1, condition);
}

/* Threads; and processes, but no namespaces, except one of process numbers that a QEMU is the first in. */
static int add_clone(scmp_filter_ctx filter, bool is_sim)
{
	int failed =
		add_rule(filter, "clone", SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));

	if (!failed && is_sim)
		failed = add_rule(filter, "clone", SCMP_A0(SCMP_CMP_MASKED_EQ, NAMESPACES, 0));
	if (!failed && is_sim)
		failed = add_rule(filter, "unshare", SCMP_A0(SCMP_CMP_EQ, CLONE_NEWPID));
	return failed;
}

static int add_sockets(scmp_filter_ctx filter)
{
	int failed = add_rule(filter, "socket", SCMP_A0(SCMP_CMP_EQ, AF_UNIX));

	return failed ? failed : add_rule(filter, "socket", SCMP_A0(SCMP_CMP_EQ, AF_VSOCK));
}

/* The simulated driver copies from and to addresses that need not be there: in this process. */
static int add_copies(scmp_filter_ctx filter)
{
	const scmp_datum_t own = (scmp_datum_t)getpid();
	int failed = add_rule(filter, "process_vm_readv", SCMP_A0(SCMP_CMP_EQ, own));

	return failed ? failed : add_rule(filter, "process_vm_writev", SCMP_A0(SCMP_CMP_EQ, own));
}

/*
 * What is not there: all that has no name here, as it is newer than libseccomp or no call at all; clone3, whose
 * arguments are in memory, where no filter can look: the C library goes on with clone; and io_uring, whose work is
 * done behind a filter's back: QEMU goes on without.
 */
static int add_missing(scmp_filter_ctx filter, uint32_t action)
{
	int failed = seccomp_rule_add(filter, action, number_of("clone3"), 0);

	if (!failed)
		failed = seccomp_rule_add(filter, action, number_of("io_uring_setup"), 0);
	for (int number = 0; !failed && number < NUMBERS; number++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);

		if (!name)
			failed = seccomp_rule_add(filter, action, number, 0);
		free(name);
	}
	return failed;
}

static int add_listed(scmp_filter_ctx filter, bool is_sim)
{
	int failed = add_all(filter, SCMP_ACT_ALLOW, daemon_calls);

	if (!failed && is_sim)
		failed = add_all(filter, SCMP_ACT_ALLOW, qemu_calls);
	if (!failed && SANITIZED)
		failed = add_all(filter, SCMP_ACT_ALLOW, sanitizer_calls);
	if (!failed)
		failed = add_all(filter, SCMP_ACT_KILL_PROCESS, deadly_calls);
	if (!failed)
		failed = add_clone(filter, is_sim);
	if (!failed)
		failed = add_sockets(filter);
	if (!failed && is_sim)
		failed = add_copies(filter);
	return failed;
}

/* 0 or a negative errno. */
static int load(scmp_filter_ctx filter, bool logged)
{
	int failed = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);

	if (!failed)
		failed = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	/* Else the errno is ECANCELED, whatever it was. */
	if (!failed)
		failed = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
	if (failed)
		return failed;
	/* No reason to go without the filter: a list in place of a tree, no line in the log. */
	(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, logged);
	return seccomp_load(filter);
}

/* What is not there is nothing to log, and whether to log is a whole filter's: so that one is another. */
static int load_missing(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int failed = filter ? add_missing(filter, SCMP_ACT_ERRNO(ENOSYS)) : -ENOMEM;

	if (!failed)
		failed = load(filter, false);
	seccomp_release(filter);
	return failed;
}

static int load_listed(bool is_sim)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int failed = filter ? add_listed(filter, is_sim) : -ENOMEM;

	if (!failed)
		failed = add_missing(filter, SCMP_ACT_ALLOW);
	if (!failed)
		failed = load(filter, true);
	seccomp_release(filter);
	return failed;
}

int syscall_filter_load(bool is_sim, struct nefs_error *err)
{
	/* In this order, as after the other one there may be no more. */
	int failed = load_missing();

	if (!failed)
		failed = load_listed(is_sim);
	if (!failed)
		return 0;
	return nefs_error_set(err, -failed,
		"cannot put a filter on its system calls: %s; it takes a kernel with seccomp "
		"(CONFIG_SECCOMP_FILTER)",
		strerror(-failed));
}
