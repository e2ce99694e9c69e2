/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The enclave itself, as the device sees it: something that is started from memory, may end by
 * itself, and can be killed. Only the thread that has started a VM calls the others for it (vm_keeper.h).
 */
#ifndef NEFS_SIM_VM_H
#define NEFS_SIM_VM_H

#include "dma.h"
#include <nefs/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* As a uid: nobody has said whose the enclave is. */
#define VM_NO_OWNER ((uid_t)-1)

struct vm_config {
	uint64_t cid;
	uint32_t vcpus;
	bool debug;		       /* its console can be read */
	const struct dma_view *memory; /* what it was given, in the order of adding */
	const char *vsock; /* the vhost-user socket of its vsock device; NULL: it has none */
	uid_t uid;	   /* whose it is: a VM runs as they; VM_NO_OWNER: as this process */
	gid_t gid;
};

struct vm;

struct vm_ops {
	const char *name; /* as in -o sim_vm= */
	bool instant;	  /* there is nothing in it to wait for */
	/* Boots it. The code is what the device answers: ENOENT (no QEMU), EINVAL (no EIF), ... */
	int (*start)(const struct vm_config *config, struct vm **vm, struct nefs_error *err);
	/* Readable once it has ended by itself; -1: it never does. Stays the vm's. */
	int (*pidfd)(const struct vm *vm);
	/* How it ended, in plain words; call once the pidfd is readable. */
	void (*describe_end)(struct vm *vm, char *text, size_t size);
	/* A new fd (O_NONBLOCK) that reads the console; -ENOTCONN: it has none. Called once. */
	int (*console)(const struct vm *vm);
	/* Kills it, waits for its end, frees it. */
	void (*destroy)(struct vm *vm);
	/* Makes it die as if by itself. False: it has no process that could. */
	bool (*crash)(struct vm *vm);
};

/* An enclave without a VM: runs until it is stopped. */
extern const struct vm_ops vm_none;

/* A QEMU process. */
extern const struct vm_ops vm_qemu;

#endif
