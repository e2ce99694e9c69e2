/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finding the Nitro Enclaves PCI device, 1d0f:e4c1, by libpci. Any thread; nothing is kept.
 */
#ifndef NEFS_KERNEL_PCI_H
#define NEFS_KERNEL_PCI_H

#include <nefs/error.h>

struct pci_ne {
	char address[24]; /* "0000:00:02.0" */
	int numa_node;	  /* -1: unknown */
};

/*
 * Looks for the device: on this machine, or, in a test, in a dump (the text of `lspci -x`) at the
 * path dump. Returns 1 if it is there, 0 if not, negative errno if nobody can tell.
 */
int pci_find_ne(const char *dump, struct pci_ne *found);

/*
 * Why there is no device node at path: -ENODEV with a sentence that tells a driver that is not
 * loaded from a device that is not there. dump as above.
 */
int pci_explain_missing(const char *dump, const char *path, struct nefs_error *err);

#endif
