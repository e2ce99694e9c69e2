/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pci.h"

#include <errno.h>
#include <fcntl.h>
#include <nefs/ne_pci.h>
#include <pci/pci.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * libpci calls this instead of returning an error and must not get back; its callbacks carry no
 * context. So the way out is kept here, for the time of one call in one thread.
 */
static _Thread_local jmp_buf way_out;

static void on_error(char *message, ...) __attribute__((noreturn, format(printf, 1, 2)));

static void on_error(char *message, ...)
{
	longjmp(way_out, 1);
}

static void on_warning(char *message, ...)
{
}

/* The part that may be left by way_out. */
static int scan(struct pci_access *access, struct pci_ne *found)
{
	if (setjmp(way_out) != 0)
		return -EIO;
	pci_init(access);
	pci_scan_bus(access);
	for (struct pci_dev *device = access->devices; device; device = device->next) {
		int known = pci_fill_info(device, PCI_FILL_IDENT | PCI_FILL_NUMA_NODE);

		if (!(known & PCI_FILL_IDENT) || device->vendor_id != NE_PCI_VENDOR ||
			device->device_id != NE_PCI_DEVICE)
			continue;
		snprintf(found->address, sizeof(found->address), "%04x:%02x:%02x.%x",
			(unsigned int)device->domain, device->bus, device->dev, device->func);
		found->numa_node = known & PCI_FILL_NUMA_NODE ? device->numa_node : -1;
		return 1;
	}
	return 0;
}

/* Frees what a scan has taken; cleaning up after an error may fail itself. */
static void clean_up(struct pci_access *access)
{
	if (setjmp(way_out) == 0)
		pci_cleanup(access);
}

int pci_find_ne(const char *dump, struct pci_ne *found)
{
	struct pci_access *access;
	char path[4096];
	int result;

	/* No bus at all: libpci would try port I/O next. */
	if (!dump && faccessat(AT_FDCWD, "/sys/bus/pci/devices", R_OK | X_OK, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	access = pci_alloc();
	access->error = on_error;
	access->warning = on_warning;
	access->method = dump ? PCI_ACCESS_DUMP : PCI_ACCESS_SYS_BUS_PCI;
	/* libpci keeps a copy, and takes both without const. */
	if (dump) {
		snprintf(path, sizeof(path), "%s", dump);
		pci_set_param(access, (char[]){ "dump.name" }, path);
	}
	result = scan(access, found);
	clean_up(access);
	return result;
}

int pci_explain_missing(const char *dump, const char *path, struct nefs_error *err)
{
	struct pci_ne found;
	int result = pci_find_ne(dump, &found);

	if (result > 0)
		return nefs_error_set(err, ENODEV,
			"there is no %s: the Nitro Enclaves device (%04x:%04x at %s) is there, but its "
			"driver is not loaded: modprobe nitro_enclaves; to try nefs without it, mount "
			"with -o backend=sim",
			path, NE_PCI_VENDOR, NE_PCI_DEVICE, found.address);
	if (result == 0)
		return nefs_error_set(err, ENODEV,
			"there is no %s and no Nitro Enclaves device (%04x:%04x) on this machine: the "
			"instance was launched without enclave support, or its type has none; to try "
			"nefs without the device, mount with -o backend=sim",
			path, NE_PCI_VENDOR, NE_PCI_DEVICE);
	return nefs_error_set(err, ENODEV,
		"there is no %s, and the PCI bus cannot be looked at (%s): load the driver (modprobe "
		"nitro_enclaves), or try -o backend=sim",
		path, strerror(-result));
}
