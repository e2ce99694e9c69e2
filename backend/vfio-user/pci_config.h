/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PCI configuration space of the Nitro Enclaves device, and where things are in its BARs.
 *
 * Vendor, device, BAR 3 and two MSI-X vectors are given (docs/facts/driver.md §2). That the
 * MSI-X table is in BAR 0, and the class code, are inventions of ours.
 */
#ifndef NEFS_VFIO_USER_PCI_CONFIG_H
#define NEFS_VFIO_USER_PCI_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#define PCI_CONFIG_SIZE	    256
#define PCI_BAR_MSIX	    0
#define PCI_BAR_MSIX_SIZE   0x2000
#define PCI_BAR_MSIX_TABLE  0x0000 /* in BAR 0 */
#define PCI_BAR_MSIX_PBA    0x1000
#define PCI_CONFIG_MSIX_CAP 0x40 /* where its capability stands */

struct pci_config {
	uint8_t bytes[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE]; /* bits that a write changes */
};

/* As after a reset. */
void pci_config_init(struct pci_config *config);

/* offset + size <= PCI_CONFIG_SIZE. Writes change what a driver may change, the rest stays. */
void pci_config_read(const struct pci_config *config, size_t offset, void *data, size_t size);
void pci_config_write(struct pci_config *config, size_t offset, const void *data, size_t size);

#endif
