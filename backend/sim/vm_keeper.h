/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM and a thread of its own that starts it, watches it and takes its end: whatever is slow about it (an
 * image to be read, a program on a disk that stalls, a process that does not die) is slow for it alone. The thread
 * lives exactly as long as the VM's process, which it is the parent of: a parent's death ends that (vm_qemu.c).
 *
 * All functions are for the device's thread, and return soon unless they say otherwise.
 */
#ifndef NEFS_SIM_VM_KEEPER_H
#define NEFS_SIM_VM_KEEPER_H

#include "vm.h"

struct vm_keeper;

enum vm_stage {
	VM_STARTING,
	VM_FAILED, /* to start: nothing of it is left */
	VM_RUNNING,
	VM_ENDED, /* as far: nothing of it is left */
};

/*
 * Begins to start a VM. Takes *memory over and leaves it empty; what else config names is copied. 0, or a negative
 * errno: ENOMEM, EMFILE, EAGAIN (no thread).
 */
int vm_keeper_new(const struct vm_ops *ops, const struct vm_config *config, struct dma_view *memory,
	struct vm_keeper **keeper, struct nefs_error *err);

/*
 * A bell (nefs/bell.h) that is rung at each new stage. Stays the keeper's. -1: there is none, as the VM is an
 * instant one, which is started and ended within the calls.
 */
int vm_keeper_news(const struct vm_keeper *keeper);

enum vm_stage vm_keeper_stage(struct vm_keeper *keeper);

/* Why it has failed: a negative errno. What vm_ops.start had to say otherwise: 0. */
int vm_keeper_outcome(struct vm_keeper *keeper, struct nefs_error *err);

/* Its console's fd, the caller's from now on; -ENOTCONN: it has none, or it was asked for before. */
int vm_keeper_console(struct vm_keeper *keeper);

/* How it ended. Once it has. */
void vm_keeper_describe_end(struct vm_keeper *keeper, char *text, size_t size);

/* Has it end, or as soon as it has been started. Then its stage is VM_ENDED, or VM_FAILED. */
void vm_keeper_kill(struct vm_keeper *keeper);

/* Has it die as if by itself. False: it has no process that could. */
bool vm_keeper_crash(struct vm_keeper *keeper);

/* Frees it; waits for its end, if that is not there yet. NULL is allowed. */
void vm_keeper_free(struct vm_keeper *keeper);

#endif
