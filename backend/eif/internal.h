/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the EIF library share. Nothing outside backend/eif includes this.
 */
#ifndef NEFS_EIF_INTERNAL_H
#define NEFS_EIF_INTERNAL_H

#include <nefs/cleanup.h>
#include <nefs/eif.h>

/* Images are read in pieces of at most this size: all the memory that reading one takes. */
#define EIF_BUFFER_SIZE (256U << 10)

/* Longest metadata that an image is built with. */
#define EIF_METADATA_MAX (1U << 20)

/* Where things stand in the header (docs/facts/eif.md §1); all integers are big-endian. */
enum eif_header_offset {
	EIF_AT_MAGIC = 0,
	EIF_AT_VERSION = 4,
	EIF_AT_FLAGS = 6,
	EIF_AT_DEFAULT_MEM = 8,
	EIF_AT_DEFAULT_CPUS = 16,
	EIF_AT_RESERVED = 24,
	EIF_AT_NUM_SECTIONS = 26,
	EIF_AT_OFFSETS = 28,
	EIF_AT_SIZES = 284,
	EIF_AT_UNUSED = 540,
	EIF_AT_CRC = 544,
};

#define EIF_MAGIC	 ".eif"
#define EIF_FLAG_ARCH	 0x1
#define EIF_VERSION_MIN	 2
#define EIF_VERSION_MAX	 4
#define EIF_SECTIONS_MIN 2

static inline uint16_t eif_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t eif_get32(const uint8_t *p)
{
	return (uint32_t)eif_get16(p) << 16 | eif_get16(p + 2);
}

static inline uint64_t eif_get64(const uint8_t *p)
{
	return (uint64_t)eif_get32(p) << 32 | eif_get32(p + 4);
}

static inline void eif_put16(uint8_t *p, uint16_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static inline void eif_put32(uint8_t *p, uint32_t value)
{
	eif_put16(p, (uint16_t)(value >> 16));
	eif_put16(p + 2, (uint16_t)value);
}

static inline void eif_put64(uint8_t *p, uint64_t value)
{
	eif_put32(p, (uint32_t)(value >> 32));
	eif_put32(p + 4, (uint32_t)value);
}

/* Reads size bytes at offset, the range checked against the source. EIO with a sentence. */
int eif_source_get(const struct eif_source *source, void *buffer, size_t size, uint64_t offset,
	struct nefs_error *err);

/* Takes the next size bytes (at most EIF_BUFFER_SIZE) of a stream; 0 or a negative errno. */
typedef int eif_sink(void *context, const uint8_t *data, size_t size, struct nefs_error *err);

/* Passes size bytes from offset on to sink, in pieces. EIO, ENOMEM, ECANCELED, or what sink returned. */
int eif_source_stream(const struct eif_source *source, uint64_t offset, uint64_t size,
	eif_sink *sink, void *context, struct nefs_error *err);

/* CRC-32 of an image of size bytes: all of them except the CRC field itself. */
int eif_crc(const struct eif_source *source, uint64_t size, uint32_t *crc, struct nefs_error *err);

/*
 * The CRC-32, and PCR0 to PCR2 (has_pcr8 false), of an image whose table has been read: its sections
 * follow each other. One pass: what is inside [0, eif->size) is read once.
 */
int eif_crc_and_pcrs(const struct eif_source *source, const struct eif *eif, uint32_t *crc,
	struct eif_pcrs *pcrs, struct nefs_error *err);

/* Offset of a section's own header in the file. */
static inline uint64_t eif_section_start(const struct eif_section *section)
{
	return section->offset - EIF_SECTION_HEADER_SIZE;
}

/* The first section of a type, or NULL. */
const struct eif_section *eif_find(const struct eif *eif, enum eif_section_type type);

/* Does a kernel of this many bytes, read from offset of source, fit the architecture? */
int eif_check_kernel_at(const struct eif_source *source, uint64_t offset, uint64_t size,
	enum eif_arch arch, struct nefs_error *err);

/* A GnuTLS code of a hash as ENOMEM or EIO, with a sentence. */
int eif_hash_failed(struct nefs_error *err, int code);

/* PCRn = SHA384(48 zero bytes | digest). */
int eif_extend(
	const uint8_t digest[EIF_PCR_SIZE], uint8_t pcr[EIF_PCR_SIZE], struct nefs_error *err);

/* Measures sections in their order: PCR0 to PCR2 only, has_pcr8 false. */
int eif_measure_sections(const struct eif_source *source, const struct eif_section *sections,
	size_t count, struct eif_pcrs *pcrs, struct nefs_error *err);

/* Lower-case hex, with a NUL: text must hold 2 * size + 1. */
void eif_hex(char *text, const uint8_t *data, size_t size);

#endif
