/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Enclave Image Format: reading, checking, measuring, building, signing.
 *
 * Facts: docs/facts/eif.md (layout §1-2, PCRs §3, signature §4, metadata §5, validation order §6).
 * Nothing here keeps state; every function may be called from any thread. Sizes are bytes.
 */
#ifndef NEFS_EIF_H
#define NEFS_EIF_H

#include <nefs/error.h>
#include <nefs/pace.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EIF_HEADER_SIZE		548
#define EIF_SECTION_HEADER_SIZE 12
#define EIF_SECTIONS_MAX	32
#define EIF_SIGNATURE_MAX	32768
#define EIF_PCR_SIZE		48
#define EIF_LOAD_OFFSET		(8ULL << 20) /* where the hypervisor expects it in memory */

enum eif_section_type {
	EIF_KERNEL = 1,
	EIF_CMDLINE = 2,
	EIF_RAMDISK = 3,
	EIF_SIGNATURE = 4,
	EIF_METADATA = 5,
};

enum eif_arch {
	EIF_X86_64 = 0,
	EIF_AARCH64 = 1,
};

/*
 * Where an image is read from: a file, or the memory of an enclave. read fills all of size bytes
 * from offset or returns a negative errno; it is only called inside [0, size).
 */
struct eif_source {
	int (*read)(const struct eif_source *source, void *buffer, size_t size, uint64_t offset);
	uint64_t size;
	/*
	 * The image may end before size does (enclave memory): it then ends with its last section.
	 * Otherwise bytes behind the last section belong to the file and to its CRC.
	 */
	bool open_ended;
	/* Of reading all of it, which so may end with ECANCELED; NULL, as both functions below leave it: none. */
	struct nefs_pace *pace;
	int fd;		    /* eif_source_fd; else -1 */
	bool in_memory;	    /* the same: reading it waits for no disk */
	const void *memory; /* eif_source_memory */
	void *context;	    /* other readers */
};

/* A source over a regular file, its size taken by fstat; the fd stays the caller's. */
int eif_source_fd(struct eif_source *source, int fd, struct nefs_error *err);

/* A source over bytes in memory, which stay the caller's. */
void eif_source_memory(struct eif_source *source, const void *memory, uint64_t size);

struct eif_section {
	uint16_t type;	 /* enum eif_section_type */
	uint16_t flags;	 /* as found */
	uint64_t offset; /* of the data, behind the section header */
	uint64_t size;	 /* of the data */
};

/* Oddities that do not make an image invalid (docs/facts/eif.md §1, §2): a bit each. */
#define EIF_WARN_FLAGS	       0x01 /* unknown header flags */
#define EIF_WARN_SECTION_FLAGS 0x02
#define EIF_WARN_GAP	       0x04 /* bytes between sections, or behind the last */
#define EIF_WARN_RESERVED      0x08 /* reserved header fields or unused table entries not 0 */
#define EIF_WARN_KERNEL	       0x10 /* the kernel's format does not fit the architecture */
#define EIF_WARN_CMDLINE_LONG  0x20 /* more than EIF_CMDLINE_MAX bytes */
#define EIF_WARN_CMDLINE_LINES 0x40 /* a NUL or a newline: the kernel stops there */

/* What a kernel reads of its command line: x86_64 and aarch64 keep 2048 bytes with a NUL. */
#define EIF_CMDLINE_MAX 2047

/* A validated image: what its header and section table say. */
struct eif {
	uint16_t version;
	uint16_t flags;
	enum eif_arch arch;
	uint64_t default_mem;
	uint64_t default_cpus;
	uint32_t crc;
	uint64_t size; /* of the image */
	uint32_t warnings;
	size_t section_count;
	struct eif_section sections[EIF_SECTIONS_MAX];
};

/*
 * Reads and validates an image in the order of docs/facts/eif.md §6, its CRC included. The signature
 * section's content is not looked into (eif_verify does), and a kernel of the wrong format is only
 * a warning here: what boots an image calls eif_check_kernel, too. EINVAL with the reason and the
 * figures; EIO if reading fails; ECANCELED. Allocates nothing that the image asks for.
 */
int eif_read(const struct eif_source *source, struct eif *eif, struct nefs_error *err);

/*
 * The same without the CRC, for an image that has been found whole: reads the header, the sections'
 * own headers and a few bytes of the kernel, and checks all that they say.
 */
int eif_read_table(const struct eif_source *source, struct eif *eif, struct nefs_error *err);

/*
 * Is the kernel of a validated image what its architecture boots: a bzImage ("HdrS" at 0x202) for
 * x86_64, an Image ("ARM\x64" at 0x38) for aarch64? 0, or EINVAL with the reason; EIO.
 */
int eif_check_kernel(
	const struct eif_source *source, const struct eif *eif, struct nefs_error *err);

/* "kernel", "cmdline", "ramdisk", "signature", "metadata"; "unknown" for anything else. */
const char *eif_section_name(unsigned int type);

/* "x86_64", "aarch64". */
const char *eif_arch_name(enum eif_arch arch);

/* Do these first bytes (as many as there are) fit an EIF? */
bool eif_plausible(const void *head, size_t size);

/*
 * How long an image with this beginning is by its header: up to the end of its last section (there may be
 * more behind that, which its CRC covers then). 0 while size bytes are no whole header. EINVAL, with the
 * figures, for a table that no image has, or one of more than max bytes.
 */
int eif_length(
	const void *head, size_t size, uint64_t max, uint64_t *length, struct nefs_error *err);

struct eif_pcrs {
	uint8_t pcr[3][EIF_PCR_SIZE]; /* PCR0, PCR1, PCR2 */
	bool has_pcr8;
	uint8_t pcr8[EIF_PCR_SIZE]; /* the signing certificate's */
	/*
	 * Header flags that are measured into PCR0 in a way that is not public (docs/facts/eif.md): pcr[0] is
	 * not what will be attested. 0: it is.
	 */
	uint16_t pcr0_flags;
};

/*
 * eif_read, and the image's measurements from the same pass: each byte is read once. EINVAL for an
 * undecodable signature section, too; ENOMEM; ECANCELED. Only a success leaves anything of use in *pcrs.
 */
int eif_read_measured(const struct eif_source *source, struct eif *eif, struct eif_pcrs *pcrs,
	struct nefs_error *err);

/*
 * Checks the signature: decodes it, checks that it signs this image's PCR0, the ECDSA signature
 * against its certificate, and the certificate's dates against now. 0 if valid; ENODATA if the
 * image is not signed; EINVAL for anything wrong, with a plain sentence (dates for an expired
 * certificate).
 */
int eif_verify(const struct eif_source *source, const struct eif *eif, const struct eif_pcrs *pcrs,
	struct nefs_error *err);

/* "PCR0 <hex>\n" and so on, malloc'ed; NULL if out of memory. */
char *eif_pcrs_text(const struct eif_pcrs *pcrs);

/* Longest description: bytes. Metadata that makes it longer is left out of it. */
#define EIF_DESCRIPTION_MAX (256U << 10)

/*
 * All of it as JSON (header, sections, CRC, warnings, measurements, metadata, signing
 * certificate and whether it verifies), malloc'ed, with a final newline; at most EIF_DESCRIPTION_MAX bytes,
 * whatever the image says.
 */
int eif_describe(const struct eif_source *source, const struct eif *eif,
	const struct eif_pcrs *pcrs, char **json, struct nefs_error *err);

#endif
