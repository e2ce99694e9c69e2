/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What passes over an image: its CRC-32, over all of it but the CRC itself, and its measurements
 * (docs/facts/eif.md §3), SHA-384 over section data, in the order of the sections.
 */
#include "internal.h"
#include <errno.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

/*
 * The three digests that are extended into PCR0, PCR1 and PCR2. Until a second ramdisk comes, PCR1
 * takes just what PCR0 takes, wherever the command line stands: one state does for both, and is
 * copied then. So only further ramdisks are hashed twice, as PCR0 and PCR2 must.
 */
struct measuring {
	gnutls_hash_hd_t hash[3]; /* [1]: NULL while it would be as [0] */
	bool into[3];		  /* which of them the current section goes into */
	unsigned int ramdisks;	  /* so far */
};

/* One pass. */
struct pass {
	uLong crc;
	struct measuring measuring;
};

static void measuring_free(struct measuring *measuring)
{
	for (size_t i = 0; i < 3; i++) {
		if (measuring->hash[i])
			gnutls_hash_deinit(measuring->hash[i], NULL);
		measuring->hash[i] = NULL;
	}
}

/* What GnuTLS leaves in *hash when it has no memory is no digest, and must not be ended. */
static int begin_hash(gnutls_hash_hd_t *hash)
{
	int failed = gnutls_hash_init(hash, GNUTLS_DIG_SHA384);

	if (failed < 0)
		*hash = NULL;
	return failed;
}

/* Whatever it returns, measuring_free is to be called. */
static int measuring_init(struct measuring *measuring, struct nefs_error *err)
{
	gnutls_hash_hd_t copy;
	int failed;

	memset(measuring, 0, sizeof(*measuring));
	failed = begin_hash(&measuring->hash[0]);
	if (failed >= 0)
		failed = begin_hash(&measuring->hash[2]);
	if (failed < 0)
		return eif_hash_failed(err, failed);
	/* Not every implementation behind GnuTLS can copy a state: then there are two all along. */
	copy = gnutls_hash_copy(measuring->hash[0]);
	if (copy) {
		gnutls_hash_deinit(copy, NULL);
		return 0;
	}
	failed = begin_hash(&measuring->hash[1]);
	return failed < 0 ? eif_hash_failed(err, failed) : 0;
}

/* The next section begins: which digests does it go into? */
static int measuring_section(struct measuring *measuring, unsigned int type, struct nefs_error *err)
{
	bool boot = type == EIF_KERNEL || type == EIF_CMDLINE;
	bool ramdisk = type == EIF_RAMDISK;
	bool first = ramdisk && measuring->ramdisks == 0;

	measuring->into[0] = boot || ramdisk;
	measuring->into[1] = boot || first;
	measuring->into[2] = ramdisk && !first;
	measuring->ramdisks += ramdisk;
	if (measuring->into[2] && !measuring->hash[1]) {
		measuring->hash[1] = gnutls_hash_copy(measuring->hash[0]);
		if (!measuring->hash[1])
			return eif_hash_failed(err, GNUTLS_E_MEMORY_ERROR);
	}
	return 0;
}

static int sink_hash(void *context, const uint8_t *data, size_t size, struct nefs_error *err)
{
	struct measuring *measuring = context;

	for (size_t i = 0; i < 3; i++) {
		int failed;

		if (!measuring->into[i] || !measuring->hash[i])
			continue;
		failed = gnutls_hash(measuring->hash[i], data, size);
		if (failed < 0)
			return eif_hash_failed(err, failed);
	}
	return 0;
}

/* The results, after the last section. */
static int measuring_end(struct measuring *measuring, struct eif_pcrs *pcrs, struct nefs_error *err)
{
	memset(pcrs, 0, sizeof(*pcrs));
	for (size_t i = 0; i < 3; i++) {
		uint8_t digest[EIF_PCR_SIZE];
		int failed;

		if (!measuring->hash[i]) {
			memcpy(pcrs->pcr[i], pcrs->pcr[0], EIF_PCR_SIZE);
			continue;
		}
		gnutls_hash_output(measuring->hash[i], digest);
		failed = eif_extend(digest, pcrs->pcr[i], err);
		if (failed)
			return failed;
	}
	return 0;
}

int eif_measure_sections(const struct eif_source *source, const struct eif_section *sections,
	size_t count, struct eif_pcrs *pcrs, struct nefs_error *err)
{
	struct measuring measuring;
	int failed;

	failed = measuring_init(&measuring, err);
	for (size_t i = 0; !failed && i < count; i++) {
		failed = measuring_section(&measuring, sections[i].type, err);
		if (!failed && measuring.into[0])
			failed = eif_source_stream(source, sections[i].offset, sections[i].size,
				sink_hash, &measuring, err);
	}
	if (!failed)
		failed = measuring_end(&measuring, pcrs, err);
	measuring_free(&measuring);
	return failed;
}

static int sink_crc(void *context, const uint8_t *data, size_t size, struct nefs_error *err)
{
	uLong *crc = context;

	*crc = crc32_z(*crc, data, size);
	return 0;
}

static int sink_pass(void *context, const uint8_t *data, size_t size, struct nefs_error *err)
{
	struct pass *pass = context;

	pass->crc = crc32_z(pass->crc, data, size);
	return sink_hash(&pass->measuring, data, size, err);
}

int eif_crc(
	const struct eif_source *source, uint64_t size, uint32_t *result, struct nefs_error *err)
{
	uLong crc = crc32(0, NULL, 0);
	int failed;

	failed = eif_source_stream(source, 0, EIF_AT_CRC, sink_crc, &crc, err);
	if (!failed)
		failed = eif_source_stream(
			source, EIF_HEADER_SIZE, size - EIF_HEADER_SIZE, sink_crc, &crc, err);
	*result = (uint32_t)crc;
	return failed;
}

int eif_crc_and_pcrs(const struct eif_source *source, const struct eif *eif, uint32_t *crc,
	struct eif_pcrs *pcrs, struct nefs_error *err)
{
	uint64_t done = EIF_HEADER_SIZE;
	struct pass pass;
	int failed;

	pass.crc = crc32(0, NULL, 0);
	failed = measuring_init(&pass.measuring, err);
	if (!failed)
		failed = eif_source_stream(source, 0, EIF_AT_CRC, sink_crc, &pass.crc, err);
	for (size_t i = 0; !failed && i < eif->section_count; i++) {
		const struct eif_section *section = &eif->sections[i];

		/* Its header, and any gap before that, are not measured. */
		failed = eif_source_stream(
			source, done, section->offset - done, sink_crc, &pass.crc, err);
		if (!failed)
			failed = measuring_section(&pass.measuring, section->type, err);
		if (!failed)
			failed = eif_source_stream(
				source, section->offset, section->size, sink_pass, &pass, err);
		done = section->offset + section->size;
	}
	if (!failed)
		failed =
			eif_source_stream(source, done, eif->size - done, sink_crc, &pass.crc, err);
	if (!failed)
		failed = measuring_end(&pass.measuring, pcrs, err);
	*crc = (uint32_t)pass.crc;
	measuring_free(&pass.measuring);
	return failed;
}

char *eif_pcrs_text(const struct eif_pcrs *pcrs)
{
	char hex[4][2 * EIF_PCR_SIZE + 1];
	char *text;
	int size;

	for (size_t i = 0; i < 3; i++)
		eif_hex(hex[i], pcrs->pcr[i], EIF_PCR_SIZE);
	eif_hex(hex[3], pcrs->pcr8, EIF_PCR_SIZE);
	if (pcrs->pcr0_flags)
		snprintf(hex[0], sizeof(hex[0]), "unknown (header flags 0x%04x are part of it)",
			pcrs->pcr0_flags);
	size = asprintf(&text, "PCR0 %s\nPCR1 %s\nPCR2 %s\n%s%s%s", hex[0], hex[1], hex[2],
		pcrs->has_pcr8 ? "PCR8 " : "", pcrs->has_pcr8 ? hex[3] : "",
		pcrs->has_pcr8 ? "\n" : "");
	return size < 0 ? NULL : text;
}
