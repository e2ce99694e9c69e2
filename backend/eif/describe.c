/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An image as JSON: the text of image_info and of `nefs-eif describe`. */
#include "internal.h"
#include "json_memory.h"
#include "signature.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* Warnings as words; bit i is words[i]. */
static const char *const warning_words[] = {
	"unknown-flags",
	"unknown-section-flags",
	"gap",
	"reserved-not-zero",
	"kernel-format",
	"cmdline-too-long",
	"cmdline-not-one-line",
};

/* Longest text of a certificate that is shown. */
#define NAME_MAX_SHOWN 1024

/* JSON numbers of jansson are signed: what does not fit is written as text. */
static json_t *number(uint64_t value)
{
	char text[24];

	if (value <= INT64_MAX)
		return json_integer((json_int_t)value);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return json_string(text);
}

/* Text from a certificate need not be UTF-8. */
static json_t *string(const char *text)
{
	NEFS_AUTO_FREE char *ascii = NULL;
	json_t *json = NULL;

	if (!text)
		return NULL;
	if (strlen(text) <= NAME_MAX_SHOWN)
		json = json_string(text);
	if (json)
		return json;
	ascii = strndup(text, NAME_MAX_SHOWN);
	for (char *c = ascii; c && *c; c++) {
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	}
	return json_string(ascii ? ascii : "");
}

static json_t *hex_string(const uint8_t *data, size_t size)
{
	NEFS_AUTO_FREE char *text = malloc(2 * size + 1);

	if (!text)
		return NULL;
	eif_hex(text, data, size);
	return json_string(text);
}

/* The value, unless some of it found no memory: then none is better than half of it. */
static json_t *whole(json_t *value, int failed)
{
	if (!failed)
		return value;
	json_decref(value);
	return NULL;
}

static json_t *describe_header(const struct eif *eif)
{
	return json_pack("{s:i, s:s, s:i, s:o, s:o, s:i}", "version", (int)eif->version, "arch",
		eif_arch_name(eif->arch), "flags", (int)eif->flags, "default_mem",
		number(eif->default_mem), "default_cpus", number(eif->default_cpus), "sections",
		(int)eif->section_count);
}

static json_t *describe_sections(const struct eif *eif)
{
	json_t *sections = json_array();
	int failed = 0;

	for (size_t i = 0; sections && i < eif->section_count; i++) {
		const struct eif_section *section = &eif->sections[i];

		failed |= json_array_append_new(
			sections, json_pack("{s:s, s:o, s:o, s:o, s:i}", "type",
					  eif_section_name(section->type), "offset",
					  number(eif_section_start(section)), "data_offset",
					  number(section->offset), "size", number(section->size),
					  "flags", (int)section->flags));
	}
	return whole(sections, failed);
}

static json_t *describe_warnings(uint32_t warnings)
{
	json_t *words = json_array();
	int failed = 0;

	for (size_t i = 0; i < sizeof(warning_words) / sizeof(warning_words[0]); i++) {
		if (warnings & (1U << i))
			failed |= json_array_append_new(words, json_string(warning_words[i]));
	}
	return whole(words, failed);
}

static json_t *describe_pcrs(const struct eif_pcrs *pcrs)
{
	json_t *object = json_object();
	int failed;

	failed = json_object_set_new(object, "PCR0",
		pcrs->pcr0_flags ? json_null() : hex_string(pcrs->pcr[0], EIF_PCR_SIZE));
	failed |= json_object_set_new(object, "PCR1", hex_string(pcrs->pcr[1], EIF_PCR_SIZE));
	failed |= json_object_set_new(object, "PCR2", hex_string(pcrs->pcr[2], EIF_PCR_SIZE));
	if (pcrs->has_pcr8)
		failed |= json_object_set_new(object, "PCR8", hex_string(pcrs->pcr8, EIF_PCR_SIZE));
	return whole(object, failed);
}

static int out_of_memory(struct nefs_error *err)
{
	return nefs_error_set(err, ENOMEM, "out of memory for the description");
}

/*
 * Sets "metadata" (null if there is none), and "metadata_error" if it cannot be shown. Metadata is
 * not measured and decides nothing, so an image with a bad one is still described.
 */
static int describe_metadata(const struct eif_source *source, const struct eif *eif, json_t *root,
	struct nefs_error *err)
{
	const struct eif_section *section = eif_find(eif, EIF_METADATA);
	NEFS_AUTO_FREE char *text = NULL;
	json_t *metadata = NULL;
	json_error_t unfit;
	char reason[256] = "";
	int failed;

	if (section && section->size > EIF_DESCRIPTION_MAX) {
		snprintf(reason, sizeof(reason), "it has %llu bytes; at most %u are looked into",
			(unsigned long long)section->size, EIF_DESCRIPTION_MAX);
	} else if (section) {
		text = malloc((size_t)section->size + 1);
		if (!text)
			return nefs_error_set(err, ENOMEM, "out of memory for the metadata");
		failed = eif_source_get(source, text, (size_t)section->size, section->offset, err);
		if (failed)
			return failed;
		metadata = json_loadb(text, (size_t)section->size, JSON_DECODE_ANY, &unfit);
		/* Without memory it finds a fault with the text, or even none. */
		if (json_memory_failed()) {
			json_decref(metadata);
			return nefs_error_set(err, ENOMEM, "out of memory for the metadata");
		}
		/* jansson's own sentence quotes the text, which may be anything: place only. */
		if (!metadata)
			snprintf(reason, sizeof(reason),
				"it is no JSON: line %d, column %d, byte %d", unfit.line,
				unfit.column, unfit.position);
	}
	failed = json_object_set_new(root, "metadata", metadata ? metadata : json_null());
	if (reason[0])
		failed |= json_object_set_new(root, "metadata_error", json_string(reason));
	return failed ? out_of_memory(err) : 0;
}

static json_t *date(time_t time)
{
	char text[32];
	struct tm tm;

	if (time == GNUTLS_X509_NO_WELL_DEFINED_EXPIRATION)
		return json_string("9999-12-31T23:59:59Z");
	if (time == (time_t)-1 || !gmtime_r(&time, &tm) ||
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		return json_null();
	return json_string(text);
}

static json_t *describe_certificate(
	gnutls_x509_crt_t certificate, const struct eif_algorithm *algorithm)
{
	NEFS_AUTO_FREE char *subject = eif_certificate_subject(certificate);
	NEFS_AUTO_FREE char *issuer = eif_certificate_issuer(certificate);
	uint8_t serial[64];
	size_t serial_size = sizeof(serial);

	if (gnutls_x509_crt_get_serial(certificate, serial, &serial_size) < 0)
		serial_size = 0;
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:s}", "subject", string(subject), "issuer",
		string(issuer), "serial", hex_string(serial, serial_size), "not_before",
		date(gnutls_x509_crt_get_activation_time(certificate)), "not_after",
		date(gnutls_x509_crt_get_expiration_time(certificate)), "curve",
		algorithm->curve_name);
}

/* Sets "signature": null if the image is not signed. */
static int describe_signature(const struct eif_source *source, const struct eif *eif,
	const struct eif_pcrs *pcrs, json_t *root, struct nefs_error *err)
{
	NEFS_AUTO_FREE struct eif_signature *signature = NULL;
	const struct eif_algorithm *algorithm;
	struct nefs_error unfit = { 0 };
	gnutls_x509_crt_t certificate;
	bool valid;
	int failed;

	failed = eif_signature_load(source, eif, &signature, &certificate, &algorithm, err);
	if (failed == -ENODATA) {
		if (err)
			nefs_error_clear(err);
		return json_object_set_new(root, "signature", json_null()) ? out_of_memory(err) : 0;
	}
	if (failed)
		return failed;
	valid = eif_signature_verify(
			signature, certificate, algorithm, pcrs->pcr[0], time(NULL), &unfit) == 0;
	failed = json_object_set_new(root, "signature",
		json_pack("{s:s, s:o, s:b, s:o}", "algorithm", signature->algorithm->name,
			"certificate", describe_certificate(certificate, algorithm), "valid",
			(int)valid, "reason", valid ? json_null() : string(unfit.text)));
	gnutls_x509_crt_deinit(certificate);
	/* That it could not be verified is no word against it. */
	return failed || unfit.code == ENOMEM ? out_of_memory(err) : 0;
}

/* A text that is being made, and how long it may become. */
struct dump {
	char *text;
	size_t size, room;
	bool full; /* there was more */
};

/* Gives up where the bound is: what would follow may be a thousand times as long as the metadata. */
static int add_piece(const char *piece, size_t size, void *data)
{
	struct dump *dump = data;

	dump->full = size > dump->room - dump->size;
	if (dump->full)
		return -1;
	memcpy(dump->text + dump->size, piece, size);
	dump->size += size;
	return 0;
}

/* As text with a final newline, malloc'ed; NULL if that is too long (*full), or out of memory. */
static char *dump(const json_t *root, bool *full)
{
	struct dump dump = { .room = EIF_DESCRIPTION_MAX };
	char *text;

	dump.text = malloc(dump.room + 1);
	if (!dump.text || json_dump_callback(root, add_piece, &dump, JSON_INDENT(2)) ||
		add_piece("\n", 1, &dump)) {
		free(dump.text);
		*full = dump.full;
		return NULL;
	}
	dump.text[dump.size] = '\0';
	text = realloc(dump.text, dump.size + 1);
	return text ? text : dump.text;
}

static int leave_metadata_out(json_t *root)
{
	char reason[96];

	snprintf(reason, sizeof(reason), "it is left out: a description has at most %u bytes",
		EIF_DESCRIPTION_MAX);
	return json_object_set_new(root, "metadata", json_null()) |
	       json_object_set_new(root, "metadata_error", json_string(reason));
}

int eif_describe(const struct eif_source *source, const struct eif *eif,
	const struct eif_pcrs *pcrs, char **json, struct nefs_error *err)
{
	bool full = false;
	json_t *root;
	char crc[9];
	int failed;

	json_memory_begin();
	root = json_object();
	/* What cannot be allocated is NULL, and to set a member to that fails. */
	snprintf(crc, sizeof(crc), "%08x", eif->crc);
	failed = json_object_set_new(root, "header", describe_header(eif));
	failed |= json_object_set_new(root, "size", number(eif->size));
	failed |= json_object_set_new(root, "crc32", json_string(crc));
	failed |= json_object_set_new(root, "sections", describe_sections(eif));
	failed |= json_object_set_new(root, "warnings", describe_warnings(eif->warnings));
	failed |= json_object_set_new(root, "measurements", describe_pcrs(pcrs));
	if (failed)
		failed = out_of_memory(err);
	if (!failed)
		failed = describe_metadata(source, eif, root, err);
	if (!failed)
		failed = describe_signature(source, eif, pcrs, root, err);
	if (failed)
		goto out;
	*json = dump(root, &full);
	if (!*json && full && !leave_metadata_out(root))
		*json = dump(root, &full);
	if (!*json || json_memory_failed()) {
		free(nefs_take_ptr(*json));
		failed = out_of_memory(err);
	}
out:
	json_decref(root);
	return failed;
}
