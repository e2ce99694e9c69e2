/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The system calls that the daemon can make once it is set up: those that it, its libraries and its enclaves'
 * QEMUs need. Whoever takes it over by a mistake in it finds no network, no other program to run (but for
 * backend=sim) and no way further into the kernel than through calls that are used all day.
 *
 * What is not on the list is EPERM, and what this machine's libseccomp has never heard of ENOSYS: newer C libraries
 * try newer calls first, and that is the word upon which they go on with older ones. Either is an errno, and with
 * it a line in the kernel's log (audit, type 1326) that names the call: a surprise must not end the enclaves. Calls
 * that nobody makes by surprise, but who has taken over, end the process: those into other processes, into the
 * kernel, for mounts and namespaces, keys, clocks and machine.
 *
 * backend=sim has a longer list, as a filter is handed on: QEMU is started by fork(2) and execve(2), which are
 * allowed there, and lives under it. Its own (-sandbox on) comes on top, and takes away these two again.
 */
#ifndef NEFS_SYSCALL_FILTER_H
#define NEFS_SYSCALL_FILTER_H

#include <nefs/error.h>
#include <stdbool.h>

/*
 * Puts the filter on all threads of the process, those to come, and what they run; for good, and no_new_privs
 * with it. After the mount is made: mount(2) ends the process from here on. 0, or a negative errno with a
 * sentence: a kernel without seccomp, no memory.
 */
int syscall_filter_load(bool is_sim, struct nefs_error *err);

#endif
