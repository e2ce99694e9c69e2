/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test_launch_image.h"

#include <build.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int test_image(enum eif_arch arch, size_t ramdisk_size)
{
	static char kernel[4096];
	char *ramdisk = calloc(1, ramdisk_size);
	struct eif_source kernel_source, ramdisk_source;
	int fd = memfd_create("image", MFD_CLOEXEC);
	struct eif_pcrs pcrs;
	struct nefs_error err;
	struct eif eif;

	memset(kernel, 0, sizeof(kernel));
	if (arch == EIF_X86_64)
		memcpy(kernel + 0x202, "HdrS", 4);
	else
		memcpy(kernel + 0x38, "ARM\x64", 4);
	eif_source_memory(&kernel_source, kernel, sizeof(kernel));
	eif_source_memory(&ramdisk_source, ramdisk, ramdisk_size);

	const struct eif_build build = {
		.arch = arch,
		.kernel = &kernel_source,
		.cmdline = "console=ttyS0",
		.cmdline_size = 13,
		.ramdisks = &ramdisk_source,
		.ramdisk_count = 1,
		.metadata = "{}",
		.metadata_size = 2,
	};

	if (!ramdisk || fd < 0 || eif_build(&build, fd, &eif, &pcrs, &err) < 0) {
		fprintf(stderr, "no image: %s\n", err.text);
		abort();
	}
	free(ramdisk);
	return fd;
}
