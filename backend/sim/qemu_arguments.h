/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line of the QEMU that boots an enclave (docs/facts/eif.md §9). */
#ifndef NEFS_SIM_QEMU_ARGUMENTS_H
#define NEFS_SIM_QEMU_ARGUMENTS_H

#include "vm_image.h"

#define QEMU_ARGUMENTS_MAX 64

struct qemu_arguments {
	char *argv[QEMU_ARGUMENTS_MAX + 1]; /* malloc'ed strings, NULL at the end */
	size_t count;
	const char *package; /* the Debian package of argv[0] */
};

/*
 * kvm: it can be used, by whom QEMU will run as. console_fd: the child's end of the serial line, -1 for none. The fds of image and console are
 * named by their numbers, which the child must keep. 0 or -ENOMEM.
 */
int qemu_arguments_make(struct qemu_arguments *arguments, const struct vm_config *config,
	const struct vm_image *image, bool kvm, int console_fd);

void qemu_arguments_release(struct qemu_arguments *arguments);

#endif
