/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an enclave's memory holds at EIF_LOAD_OFFSET, taken apart for a virtual machine. The
 * device's thread.
 */
#ifndef NEFS_SIM_VM_IMAGE_H
#define NEFS_SIM_VM_IMAGE_H

#include "vm.h"
#include <nefs/eif.h>

/* A command line beyond this is refused; kernels take 2 to 4 KiB. */
#define VM_CMDLINE_MAX 65536

struct vm_image {
	enum eif_arch arch;
	int kernel;    /* memfd; -1: none */
	int initrd;    /* memfd: all ramdisks, back to back; -1: none */
	char *cmdline; /* malloc'ed */
};

/*
 * Validates the image (CRC and kernel format included) and loads it. EINVAL for a bad image, EIO,
 * ENOMEM, EMFILE; what was loaded is released by the caller in any case.
 */
int vm_image_load(const struct vm_config *config, struct vm_image *image, struct nefs_error *err);

/* Closes and frees; fds may be -1. */
void vm_image_release(struct vm_image *image);

#endif
