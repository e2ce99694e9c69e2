/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm_image.h"
#include <errno.h>
#include <inttypes.h>
#include <nefs/cleanup.h>
#include <nefs/io.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define COPY_SIZE (1U << 20)

/* Reads the enclave's memory as one space, from EIF_LOAD_OFFSET on. */
static int read_memory(const struct eif_source *source, void *buffer, size_t size, uint64_t offset)
{
	return dma_view_read(source->context, buffer, size, EIF_LOAD_OFFSET + offset);
}

/* Appends a section to a memfd, by way of a buffer of bounded size. */
static int copy_section(
	const struct eif_source *source, const struct eif_section *section, int fd, void *buffer)
{
	for (uint64_t done = 0; done < section->size;) {
		size_t piece = section->size - done < COPY_SIZE ? (size_t)(section->size - done)
								: COPY_SIZE;
		int failed = source->read(source, buffer, piece, section->offset + done);

		if (!failed)
			failed = nefs_write_all(fd, buffer, piece);
		if (failed)
			return failed;
		done += piece;
	}
	return 0;
}

static int copy_cmdline(
	const struct eif_source *source, const struct eif_section *section, char **cmdline)
{
	if (section->size > VM_CMDLINE_MAX)
		return -E2BIG;
	*cmdline = calloc(1, section->size + 1);
	if (!*cmdline)
		return -ENOMEM;
	return section->size ? source->read(source, *cmdline, section->size, section->offset) : 0;
}

static int load_sections(
	const struct eif_source *source, const struct eif *eif, struct vm_image *image)
{
	NEFS_AUTO_FREE void *buffer = malloc(COPY_SIZE);
	int failed = 0;

	image->kernel = memfd_create("enclave-kernel", MFD_CLOEXEC);
	image->initrd = memfd_create("enclave-initrd", MFD_CLOEXEC);
	if (image->kernel < 0 || image->initrd < 0)
		return -errno;
	if (!buffer)
		return -ENOMEM;
	for (size_t i = 0; !failed && i < eif->section_count; i++) {
		const struct eif_section *section = &eif->sections[i];

		if (section->type == EIF_KERNEL)
			failed = copy_section(source, section, image->kernel, buffer);
		else if (section->type == EIF_RAMDISK)
			failed = copy_section(source, section, image->initrd, buffer);
		else if (section->type == EIF_CMDLINE)
			failed = copy_cmdline(source, section, &image->cmdline);
	}
	return failed;
}

int vm_image_load(const struct vm_config *config, struct vm_image *image, struct nefs_error *err)
{
	const struct eif_source source = {
		.read = read_memory,
		.size = config->memory->size > EIF_LOAD_OFFSET
				? config->memory->size - EIF_LOAD_OFFSET
				: 0,
		.open_ended = true,
		.context = (void *)config->memory,
	};
	struct eif eif;
	int failed;

	*image = (struct vm_image){ .kernel = -1, .initrd = -1 };
	failed = eif_read(&source, &eif, err);
	if (!failed)
		failed = eif_check_kernel(&source, &eif, err);
	if (failed)
		return failed;
	image->arch = eif.arch;
	failed = load_sections(&source, &eif, image);
	if (failed)
		return nefs_error_set(
			err, -failed, "cannot load the enclave's image: %s", strerror(-failed));
	return 0;
}

void vm_image_release(struct vm_image *image)
{
	nefs_cleanup_close(&image->kernel);
	nefs_cleanup_close(&image->initrd);
	free(image->cmdline);
	*image = (struct vm_image){ .kernel = -1, .initrd = -1 };
}
