/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Measurements (docs/facts/eif.md §3): SHA-384 over section data, in the order of the sections. */
#include "internal.h"
#include "signature.h"
#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>

/* The three digests that are extended into PCR0, PCR1 and PCR2. */
struct measuring {
	gnutls_hash_hd_t hash[3];
	bool into[3]; /* which of them the current section goes into */
};

static int sink_hash(void *context, const uint8_t *data, size_t size, struct nefs_error *err)
{
	struct measuring *measuring = context;

	for (size_t i = 0; i < 3; i++) {
		int failed;

		if (!measuring->into[i])
			continue;
		failed = gnutls_hash(measuring->hash[i], data, size);
		if (failed < 0)
			return eif_hash_failed(err, failed);
	}
	return 0;
}

/* Which digests the next section goes into; ramdisks are counted as they come. */
static void choose(struct measuring *measuring, unsigned int type, unsigned int *ramdisks)
{
	bool boot = type == EIF_KERNEL || type == EIF_CMDLINE;
	bool ramdisk = type == EIF_RAMDISK;
	bool first = ramdisk && *ramdisks == 0;

	measuring->into[0] = boot || ramdisk;
	measuring->into[1] = boot || first;
	measuring->into[2] = ramdisk && !first;
	*ramdisks += ramdisk;
}

int eif_measure_sections(const struct eif_source *source, const struct eif_section *sections,
	size_t count, struct eif_pcrs *pcrs, struct nefs_error *err)
{
	struct measuring measuring = { 0 };
	unsigned int ramdisks = 0;
	size_t hashes;
	int failed = 0;

	memset(pcrs, 0, sizeof(*pcrs));
	for (hashes = 0; hashes < 3; hashes++) {
		failed = gnutls_hash_init(&measuring.hash[hashes], GNUTLS_DIG_SHA384);
		if (failed < 0) {
			failed = eif_hash_failed(err, failed);
			goto out;
		}
	}
	for (size_t i = 0; i < count; i++) {
		choose(&measuring, sections[i].type, &ramdisks);
		if (!measuring.into[0])
			continue;
		failed = eif_source_stream(
			source, sections[i].offset, sections[i].size, sink_hash, &measuring, err);
		if (failed)
			goto out;
	}
	for (size_t i = 0; i < 3; i++) {
		uint8_t digest[EIF_PCR_SIZE];

		gnutls_hash_output(measuring.hash[i], digest);
		failed = eif_extend(digest, pcrs->pcr[i], err);
		if (failed)
			goto out;
	}
out:
	while (hashes-- > 0)
		gnutls_hash_deinit(measuring.hash[hashes], NULL);
	return failed;
}

int eif_measure(const struct eif_source *source, const struct eif *eif, struct eif_pcrs *pcrs,
	struct nefs_error *err)
{
	int failed;

	failed = eif_measure_sections(source, eif->sections, eif->section_count, pcrs, err);
	if (failed || !eif_find(eif, EIF_SIGNATURE))
		return failed;
	failed = eif_signature_pcr8(source, eif, pcrs->pcr8, err);
	pcrs->has_pcr8 = !failed;
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
	size = asprintf(&text, "PCR0 %s\nPCR1 %s\nPCR2 %s\n%s%s%s", hex[0], hex[1], hex[2],
		pcrs->has_pcr8 ? "PCR8 " : "", pcrs->has_pcr8 ? hex[3] : "",
		pcrs->has_pcr8 ? "\n" : "");
	return size < 0 ? NULL : text;
}
