/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the daemon of root keeps of its power once it is set up, and gives up for good. An ordinary user's has no
 * capabilities, and cannot do without setuid programs: its mount is fusermount3's to make and to take down. So
 * nothing here is for those; the filter on system calls is (syscall_filter.h).
 *
 * What is kept, and what for:
 *	CAP_SYS_ADMIN		mount(2), umount(2) and open_tree(2) of its own mount; the huge pages' frames
 *				(/proc/self/pagemap), the device's PCI configuration; backend=sim: QEMU's
 *				namespace of process numbers
 *	CAP_DAC_OVERRIDE	the way to a mount point or spool in another's directory; the changes that it
 *				repeats for inotify in directories of enclaves, which are their owners'
 *	CAP_FOWNER		the same, for times of files, and in directories with the sticky bit
 *	CAP_SETUID, CAP_SETGID	backend=sim: QEMU becomes the owner of its enclave
 *	CAP_SETPCAP		backend=sim: and loses what is left of this
 *	CAP_KILL		backend=sim: and can be ended still
 * backend=kernel needs no more: /dev/nitro_enclaves is opened by its permissions, vsock and mbind(2) of its
 * own pages are for everybody.
 */
#ifndef NEFS_PRIVILEGES_H
#define NEFS_PRIVILEGES_H

#include <nefs/error.h>
#include <stdbool.h>

/*
 * Gives up all else: in this thread, and in those that it starts from now on, so before there are others. No
 * setuid program helps from now on, none of its memory is dumped or looked into by other users, and if devices are
 * real (is_sim is false) the kernel ends others first where memory is short: a simulated machine's memory is
 * the daemon's own. 0, or a negative errno: then it must not go on.
 */
int privileges_give_up(bool is_sim, struct nefs_error *err);

#endif
