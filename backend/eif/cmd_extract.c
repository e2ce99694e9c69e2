/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nefs-eif extract */
#include "internal.h"
#include "output.h"
#include "tool.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <nefs/io.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct option options[] = {
	{ "force", no_argument, NULL, 'f' },
	{ 0 },
};

/* The files of one run. */
struct extraction {
	const char *directory; /* for sentences */
	int fd; /* the directory: what is put where its path stood meanwhile is not used */
	bool force;
	bool made_directory;
	size_t done; /* files that were created */
	char names[EIF_SECTIONS_MAX][16];
};

static void name_file(char name[16], unsigned int type, unsigned int *ramdisks)
{
	switch (type) {
	case EIF_RAMDISK:
		snprintf(name, 16, "ramdisk%u", (*ramdisks)++);
		break;
	case EIF_METADATA:
		snprintf(name, 16, "metadata.json");
		break;
	case EIF_SIGNATURE:
		snprintf(name, 16, "signature.cbor");
		break;
	default:
		snprintf(name, 16, "%s", eif_section_name(type));
		break;
	}
}

/* Looks before anything is written, so that a refusal leaves the directory as it was. */
static int check_free(const struct extraction *extraction, size_t count, struct nefs_error *err)
{
	for (size_t i = 0; i < count; i++) {
		struct stat st;

		if (fstatat(extraction->fd, extraction->names[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			return nefs_error_set(err, EEXIST,
				"%s/%s exists; extract elsewhere, or add --force to replace it",
				extraction->directory, extraction->names[i]);
	}
	return 0;
}

/* The image itself may lie in the directory, under a name that a section gets. */
static int check_image(const struct extraction *extraction, size_t count,
	const struct tool_image *image, struct nefs_error *err)
{
	struct stat own, st;

	if (fstat(image->fd, &own) < 0)
		return nefs_error_set(err, errno, "cannot look at the image: %s", strerror(errno));
	for (size_t i = 0; i < count; i++) {
		if (fstatat(extraction->fd, extraction->names[i], &st, 0) == 0 &&
			st.st_dev == own.st_dev && st.st_ino == own.st_ino)
			return nefs_error_set(err, EINVAL,
				"%s/%s is the image itself; extract elsewhere",
				extraction->directory, extraction->names[i]);
	}
	return 0;
}

static int sink_file(void *context, const uint8_t *data, size_t size, struct nefs_error *err)
{
	const int *fd = context;

	int failed = nefs_write_all(*fd, data, size);

	return failed ? nefs_error_set(err, -failed, "cannot write: %s", strerror(-failed)) : 0;
}

static int extract_section(const struct extraction *extraction, size_t index,
	const struct tool_image *image, struct nefs_error *err)
{
	const struct eif_section *section = &image->eif.sections[index];
	const char *name = extraction->names[index];
	struct eif_output output = EIF_OUTPUT_INIT;
	int failed;

	failed = eif_output_open_in(&output, extraction->fd, name, err);
	if (!failed)
		failed = eif_source_stream(
			&image->source, section->offset, section->size, sink_file, &output.fd, err);
	if (!failed)
		failed = eif_output_commit(&output, extraction->force, err);
	if (failed)
		nefs_error_prefix(err, "%s/%s", extraction->directory, name);
	eif_output_discard(&output);
	return failed;
}

/* Takes back what a failed run has created; what --force has replaced is gone. */
static void undo(const struct extraction *extraction)
{
	for (size_t i = 0; i < extraction->done; i++)
		unlinkat(extraction->fd, extraction->names[i], 0);
	if (extraction->made_directory)
		rmdir(extraction->directory);
}

static int open_directory(struct extraction *extraction, struct nefs_error *err)
{
	if (mkdir(extraction->directory, 0777) == 0)
		extraction->made_directory = true;
	else if (errno != EEXIST)
		return nefs_error_set(err, errno, "cannot make the directory %s: %s",
			extraction->directory, strerror(errno));
	extraction->fd = open(extraction->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (extraction->fd < 0)
		return nefs_error_set(err, errno, "cannot open the directory %s: %s",
			extraction->directory, strerror(errno));
	return 0;
}

static int extract(
	struct extraction *extraction, const struct tool_image *image, struct nefs_error *err)
{
	const size_t count = image->eif.section_count;
	unsigned int ramdisks = 0;
	int failed;

	for (size_t i = 0; i < count; i++)
		name_file(extraction->names[i], image->eif.sections[i].type, &ramdisks);
	failed = open_directory(extraction, err);
	if (!failed && !extraction->force)
		failed = check_free(extraction, count, err);
	if (!failed)
		failed = check_image(extraction, count, image, err);
	for (size_t i = 0; !failed && i < count; i++) {
		failed = extract_section(extraction, i, image, err);
		if (!failed)
			extraction->done++;
	}
	if (failed)
		undo(extraction);
	return failed;
}

int tool_extract(int argc, char **argv)
{
	struct extraction extraction = { .fd = -1 };
	struct nefs_error err = { 0 };
	struct tool_image image = { .fd = -1 };
	int failed, option;

	while ((option = getopt_long(argc, argv, "f", options, NULL)) != -1) {
		if (option != 'f')
			return TOOL_USAGE;
		extraction.force = true;
	}
	if (optind + 2 != argc)
		return tool_misused("extract", "give an image and a directory, not %d arguments",
			argc - optind);
	extraction.directory = argv[optind + 1];
	failed = tool_open_unmeasured(argv[optind], &image, &err);
	if (!failed)
		failed = extract(&extraction, &image, &err);
	nefs_cleanup_close(&extraction.fd);
	nefs_cleanup_close(&image.fd);
	return failed ? tool_fail(&err) : TOOL_OK;
}
