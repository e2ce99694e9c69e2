/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pool.h"

#include "pci.h"
#include "sysfs.h"
#include <dirent.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The kernel takes a cpu-list of less than 512 bytes (docs/facts/driver.md §1). */
#define CPU_LIST_SIZE 512

/* The number behind prefix, if the whole name is that; else -1. */
static int numbered(const char *name, const char *prefix)
{
	size_t length = strlen(prefix);
	char *end;
	long number;

	if (strncmp(name, prefix, length) != 0 || name[length] < '0' || name[length] > '9')
		return -1;
	number = strtol(name + length, &end, 10);
	return *end || number > 65535 ? -1 : (int)number;
}

/* The node of a CPU, offline or not: its directory has an entry nodeN. */
static int cpu_node(int sysfs, long cpu)
{
	NEFS_AUTO_CLOSE int fd = -1;
	struct dirent *entry;
	char path[64];
	int node = -1;
	DIR *dir;

	snprintf(path, sizeof(path), "devices/system/cpu/cpu%ld", cpu);
	fd = openat(sysfs, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	dir = fdopendir(fd);
	if (!dir)
		return -1;
	(void)nefs_take_fd(&fd);
	while (node < 0 && (entry = readdir(dir)))
		node = numbered(entry->d_name, "node");
	closedir(dir);
	return node;
}

int pool_node(const char *sysfs, const char *dump)
{
	NEFS_AUTO_CLOSE int root = open(sysfs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char cpus[CPU_LIST_SIZE], *end;
	struct pci_ne device;
	int node = -1;

	if (root >= 0 && sysfs_read_text(root, "module/nitro_enclaves/parameters/ne_cpus", cpus,
				 sizeof(cpus)) == 0) {
		long cpu = strtol(cpus, &end, 10);

		if (end != cpus && cpu >= 0)
			node = cpu_node(root, cpu);
	}
	if (node < 0 && pci_find_ne(dump, &device) > 0)
		node = device.numa_node;
	return node;
}
