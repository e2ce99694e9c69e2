/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an image is: the texts of `measurements` and `image_info`. */
#include <errno.h>
#include <nefs/backend.h>
#include <nefs/cleanup.h>
#include <nefs/eif.h>
#include <string.h>
#include <unistd.h>

bool backend_image_plausible(const void *head, size_t size)
{
	return eif_plausible(head, size);
}

_Static_assert(BACKEND_IMAGE_HEAD == EIF_HEADER_SIZE, "the header tells the length");
_Static_assert(BACKEND_PCR_SIZE == EIF_PCR_SIZE, "a PCR is a PCR");

int backend_image_length(
	const void *head, size_t size, uint64_t max, uint64_t *length, struct nefs_error *err)
{
	return eif_length(head, size, max, length, err);
}

/* Nothing is learned of what cannot be started, and a file can be made that long at no cost. */
static int check_size(uint64_t size, struct nefs_error *err)
{
	const long pages = sysconf(_SC_PHYS_PAGES), page_size = sysconf(_SC_PAGESIZE);
	uint64_t memory;

	if (pages <= 0 || page_size <= 0)
		return 0;
	memory = (uint64_t)pages * (uint64_t)page_size;
	if (size <= memory)
		return 0;
	return nefs_error_set(err, EINVAL,
		"the image has %llu MiB, and this machine has %llu MiB of memory: no enclave here can "
		"hold it, so it is not read",
		(unsigned long long)(size >> 20), (unsigned long long)(memory >> 20));
}

int backend_image_describe(int image_fd, struct nefs_pace *pace,
	struct backend_image_report *report, struct nefs_error *err)
{
	NEFS_AUTO_FREE struct eif *eif = malloc(sizeof(*eif));
	NEFS_AUTO_FREE char *measurements = NULL;
	struct eif_source source;
	struct eif_pcrs pcrs;
	char *info = NULL;
	int failed;

	if (!eif)
		return nefs_error_set(err, ENOMEM, "out of memory for the image's table");
	failed = eif_source_fd(&source, image_fd, err);
	if (!failed)
		failed = check_size(source.size, err);
	if (failed < 0)
		return failed;
	source.pace = pace;
	failed = eif_read_measured(&source, eif, &pcrs, err);
	if (failed < 0)
		return failed;
	measurements = eif_pcrs_text(&pcrs);
	if (!measurements)
		return nefs_error_set(err, ENOMEM, "out of memory for the measurements");
	failed = eif_describe(&source, eif, &pcrs, &info, err);
	if (failed < 0)
		return failed;
	report->measurements = nefs_take_ptr(measurements);
	report->info = info;
	memcpy(report->pcr0, pcrs.pcr[0], sizeof(report->pcr0));
	return 0;
}
