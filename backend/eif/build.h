/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing images: what `nefs-eif build` and `nefs-eif sign` do. The filesystem only reads them.
 */
#ifndef NEFS_EIF_BUILD_H
#define NEFS_EIF_BUILD_H

#include "signature.h"
#include <nefs/eif.h>

/* Ramdisks that fit beside kernel, command line, metadata and signature. */
#define EIF_RAMDISKS_MAX (EIF_SECTIONS_MAX - 4)

/* Largest custom metadata; the format itself has no limit (docs/facts/eif.md §5). */
#define EIF_CUSTOM_METADATA_MAX 4096

/* What an image is made of. Everything stays the caller's. */
struct eif_build {
	enum eif_arch arch;
	const struct eif_source *kernel;
	const char *cmdline; /* without newline or NUL */
	size_t cmdline_size;
	const struct eif_source *ramdisks;
	size_t ramdisk_count; /* 0..EIF_RAMDISKS_MAX */
	const char *metadata; /* JSON text, written as it is */
	size_t metadata_size;
	const struct eif_signer *signer; /* NULL: the image is not signed */
	bool any_kernel;		 /* do not look at the kernel's format */
};

/*
 * Writes the image to fd, an empty file open for reading and writing, in the order of AWS's
 * builder, then reads it back and checks it. *eif and *pcrs say what was written. EINVAL for parts
 * that make no image; EIO, ENOSPC, EFBIG... if it cannot be written: fd's content is garbage then.
 */
int eif_build(const struct eif_build *build, int fd, struct eif *eif, struct eif_pcrs *pcrs,
	struct nefs_error *err);

/*
 * Writes a signed copy of a validated image to fd: its sections as they are, but no gaps and no
 * old signature, and the new signature at the end. PCR0 to PCR2 stay. Otherwise as eif_build.
 */
int eif_sign(const struct eif_source *source, const struct eif *from,
	const struct eif_signer *signer, int fd, struct eif *eif, struct eif_pcrs *pcrs,
	struct nefs_error *err);

/* What the metadata of a new image says (docs/facts/eif.md §5). */
struct eif_metadata {
	const char *name;
	const char *version;
	time_t build_time;
	const char *kernel_version;
	const char *custom; /* JSON text, at most EIF_CUSTOM_METADATA_MAX; NULL: null */
	size_t custom_size;
};

/* Its JSON text, malloc'ed. EINVAL with the place if custom is no JSON or text is not UTF-8. */
int eif_metadata_make(const struct eif_metadata *metadata, char **json, struct nefs_error *err);

/* EINVAL with the place if this is no JSON object. */
int eif_metadata_check(const char *json, size_t size, struct nefs_error *err);

/*
 * The version that a bzImage carries ("6.12.0-cloud-amd64"), malloc'ed; "unknown" if it says none.
 * NULL if out of memory.
 */
char *eif_kernel_version(const struct eif_source *kernel);

#endif
