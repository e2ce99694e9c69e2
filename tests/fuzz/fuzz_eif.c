/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image of unknown origin, through everything that nefs does with one: read, check, measure,
 * verify, describe. Input that is no image, because its CRC does not fit or for any other reason,
 * is tried a second time with its CRC made to fit, and as a bare signature section.
 *
 * With libFuzzer (clang -fsanitize=fuzzer) this is its target; without, fuzz_main.c replays files.
 */
#include "fuzz.h"
#include "heap.h"
#include "signature.h"
#include <nefs/eif.h>
#include <zlib.h>

/*
 * What an image may cost at once, in bytes: "{}," as JSON values takes some seventy times its text, and the
 * description, keys and certificates have bounds of their own.
 */
#define HEAP_PER_BYTE 96
#define HEAP_FIXED    (1UL << 20)

/* The ways to read an image must agree on it. */
static void compare(const struct eif *one, const struct eif *other)
{
	must(memcmp(one, other, sizeof(*one)) == 0);
}

static void use_image(const struct eif_source *source)
{
	struct nefs_error err = { 0 }, measuring = { 0 }, table = { 0 };
	struct eif eif, measured, structure;
	struct eif_pcrs pcrs;
	char *text = NULL;
	int result, result_measured, result_table;

	result = eif_read(source, &eif, &err);
	must_tell(result, &err);
	result_measured = eif_read_measured(source, &measured, &pcrs, &measuring);
	must_tell(result_measured, &measuring);
	result_table = eif_read_table(source, &structure, &table);
	must_tell(result_table, &table);
	must(!result || (result_measured == result && strcmp(measuring.text, err.text) == 0));
	if (result)
		return;
	must(!result_table);
	compare(&eif, &measured);
	compare(&eif, &structure);
	must(eif.size <= source->size && eif.section_count <= EIF_SECTIONS_MAX);
	for (size_t i = 0; i < eif.section_count; i++) {
		must(eif.sections[i].offset <= source->size);
		must(source->size - eif.sections[i].offset >= eif.sections[i].size);
	}
	result = eif_check_kernel(source, &eif, &err);
	must_tell(result, &err);
	nefs_error_clear(&err);

	if (result_measured)
		return;
	text = eif_pcrs_text(&pcrs);
	must(text);
	free(text);
	result = eif_verify(source, &eif, &pcrs, &err);
	must_tell(result, &err);
	nefs_error_clear(&err);
	text = NULL;
	result = eif_describe(source, &eif, &pcrs, &text, &err);
	must_tell(result, &err);
	must(result || strlen(text) <= EIF_DESCRIPTION_MAX);
	free(text);
}

/* A bare signature section, as far as it goes. */
static void use_signature(const uint8_t *data, size_t size)
{
	static const uint8_t pcr0[EIF_PCR_SIZE];
	struct eif_signature *signature = malloc(sizeof(*signature));
	const struct eif_algorithm *algorithm;
	gnutls_x509_crt_t certificate;
	struct nefs_error err = { 0 };
	int result;

	must(signature);
	result = eif_signature_decode(data, size, signature, &err);
	must_tell(result, &err);
	if (result == 0) {
		result = eif_certificate_load(signature->certificate, signature->certificate_size,
			&certificate, &algorithm, &err);
		must_tell(result, &err);
	}
	if (result == 0) {
		result = eif_signature_verify(
			signature, certificate, algorithm, pcr0, 1577934245, &err);
		must_tell(result, &err);
		gnutls_x509_crt_deinit(certificate);
	}
	free(signature);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct eif_source source;
	uint8_t *sealed;

	heap_begin();
	eif_source_memory(&source, data, size);
	use_image(&source);
	source.open_ended = true;
	use_image(&source);
	if (size <= EIF_SIGNATURE_MAX)
		use_signature(data, size);
	must(heap_peak() <= HEAP_FIXED + HEAP_PER_BYTE * size);
	if (size < EIF_HEADER_SIZE)
		return 0;

	sealed = malloc(size);
	must(sealed);
	memcpy(sealed, data, size);
	/* Magic and version, too: mutations should not be spent on them. */
	memcpy(sealed, ".eif\0", 5);

	uLong crc = crc32(crc32(0, sealed, 544), sealed + 548, (uInt)(size - 548));

	for (int i = 0; i < 4; i++)
		sealed[544 + i] = (uint8_t)(crc >> (24 - 8 * i));
	eif_source_memory(&source, sealed, size);
	use_image(&source);
	must(heap_peak() <= HEAP_FIXED + HEAP_PER_BYTE * size);
	free(sealed);
	return 0;
}
