/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pci_config.h"
#include <endian.h>
#include <linux/pci_regs.h>
#include <nefs/ne_pci.h>
#include <string.h>

/* "System peripheral, other": no class of its own is known of AWS's. */
#define CLASS_CODE 0x088000U

#define ALL 0xffffffffU

static void set16(uint8_t *space, size_t offset, uint16_t value)
{
	value = htole16(value);
	memcpy(space + offset, &value, sizeof(value));
}

static void set32(uint8_t *space, size_t offset, uint32_t value)
{
	value = htole32(value);
	memcpy(space + offset, &value, sizeof(value));
}

/* A 32-bit memory BAR: the address bits above its size can be written. */
static void add_bar(struct pci_config *config, unsigned int bar, uint32_t size)
{
	set32(config->bytes, PCI_BASE_ADDRESS_0 + 4 * bar, PCI_BASE_ADDRESS_MEM_TYPE_32);
	set32(config->writable, PCI_BASE_ADDRESS_0 + 4 * bar, ALL - size + 1);
}

void pci_config_init(struct pci_config *config)
{
	uint8_t *bytes = config->bytes, *writable = config->writable;

	memset(config, 0, sizeof(*config));
	set16(bytes, PCI_VENDOR_ID, NE_PCI_VENDOR);
	set16(bytes, PCI_DEVICE_ID, NE_PCI_DEVICE);
	set16(bytes, PCI_SUBSYSTEM_VENDOR_ID, NE_PCI_VENDOR);
	set16(bytes, PCI_SUBSYSTEM_ID, NE_PCI_DEVICE);
	set32(bytes, PCI_CLASS_REVISION, CLASS_CODE << 8);
	set16(bytes, PCI_STATUS, PCI_STATUS_CAP_LIST);
	bytes[PCI_CAPABILITY_LIST] = PCI_CONFIG_MSIX_CAP;
	set16(writable, PCI_COMMAND,
		PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	writable[PCI_CACHE_LINE_SIZE] = 0xff;
	writable[PCI_INTERRUPT_LINE] = 0xff;
	add_bar(config, PCI_BAR_MSIX, PCI_BAR_MSIX_SIZE);
	add_bar(config, NE_PCI_BAR_REGISTERS, NE_PCI_REGISTERS_SIZE);

	bytes[PCI_CONFIG_MSIX_CAP] = PCI_CAP_ID_MSIX;
	set16(bytes, PCI_CONFIG_MSIX_CAP + PCI_MSIX_FLAGS, NE_PCI_VECTORS - 1);
	set16(writable, PCI_CONFIG_MSIX_CAP + PCI_MSIX_FLAGS,
		PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	set32(bytes, PCI_CONFIG_MSIX_CAP + PCI_MSIX_TABLE, PCI_BAR_MSIX_TABLE | PCI_BAR_MSIX);
	set32(bytes, PCI_CONFIG_MSIX_CAP + PCI_MSIX_PBA, PCI_BAR_MSIX_PBA | PCI_BAR_MSIX);
}

void pci_config_read(const struct pci_config *config, size_t offset, void *data, size_t size)
{
	memcpy(data, config->bytes + offset, size);
}

void pci_config_write(struct pci_config *config, size_t offset, const void *data, size_t size)
{
	const uint8_t *from = data;

	for (size_t i = 0; i < size; i++) {
		uint8_t mask = config->writable[offset + i];
		uint8_t *to = &config->bytes[offset + i];

		*to = (uint8_t)((*to & ~mask) | (from[i] & mask));
	}
}
