/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading a signature section, and verifying it. signer.c makes them. */
#include "signature.h"
#include "cbor_cursor.h"
#include "cbor_writer.h"
#include "internal.h"
#include <errno.h>
#include <string.h>

#define KEY_CERTIFICATE "signing_certificate"
#define KEY_SIGNATURE	"signature"

#define COSE_SIGN1_TAG	18
#define COSE_HEADER_ALG 1

static int undecodable(struct nefs_error *err, const char *what)
{
	return nefs_error_set(err, EINVAL,
		"the signature section cannot be decoded: %s; sign the image again", what);
}

/* An array of integers that stands for bytes. At most room of them: the caller's buffer. */
static bool read_byte_array(struct cbor_cursor *cursor, uint8_t *bytes, size_t room, size_t *size)
{
	struct cbor_head head;
	size_t count;

	if (!cbor_cursor_expect(cursor, CBOR_KIND_ARRAY, &head) || head.value > room)
		return false;
	count = (size_t)head.value;
	for (size_t i = 0; i < count; i++) {
		if (!cbor_cursor_expect(cursor, CBOR_KIND_UINT, &head) || head.value > UINT8_MAX)
			return false;
		bytes[i] = (uint8_t)head.value;
	}
	*size = count;
	return true;
}

static bool text_is(const struct cbor_head *head, const char *text)
{
	return head->value == strlen(text) && memcmp(head->data, text, strlen(text)) == 0;
}

/* {"signing_certificate": bytes, "signature": bytes} */
static int decode_entry(
	struct cbor_cursor *cursor, struct eif_signature *signature, struct nefs_error *err)
{
	bool have_certificate = false, have_signature = false;
	struct cbor_head head;
	size_t pairs;

	if (!cbor_cursor_expect(cursor, CBOR_KIND_MAP, &head))
		return undecodable(err, "its first entry is no CBOR map");
	pairs = (size_t)head.value;
	for (size_t i = 0; i < pairs; i++) {
		if (!cbor_cursor_expect(cursor, CBOR_KIND_TEXT, &head))
			return undecodable(err, "a key of its first entry is no text");
		if (!have_certificate && text_is(&head, KEY_CERTIFICATE)) {
			have_certificate = true;
			if (!read_byte_array(cursor, signature->certificate,
				    sizeof(signature->certificate), &signature->certificate_size))
				return undecodable(
					err, "\"" KEY_CERTIFICATE "\" is no array of byte values");
		} else if (!have_signature && text_is(&head, KEY_SIGNATURE)) {
			have_signature = true;
			if (!read_byte_array(cursor, signature->cose, sizeof(signature->cose),
				    &signature->cose_size))
				return undecodable(
					err, "\"" KEY_SIGNATURE "\" is no array of byte values");
		} else {
			return undecodable(err,
				"its first entry has a key other than one \"" KEY_CERTIFICATE
				"\" and one \"" KEY_SIGNATURE "\"");
		}
	}
	if (!have_certificate || !have_signature)
		return undecodable(
			err, "\"" KEY_CERTIFICATE "\" or \"" KEY_SIGNATURE "\" is missing");
	return 0;
}

/* {1: algorithm} */
static int decode_protected(struct eif_signature *signature, struct nefs_error *err)
{
	struct cbor_cursor cursor = { signature->protected_header, signature->protected_size };
	struct cbor_head head;

	if (!cbor_cursor_expect(&cursor, CBOR_KIND_MAP, &head) || head.value != 1 ||
		!cbor_cursor_expect(&cursor, CBOR_KIND_UINT, &head) ||
		head.value != COSE_HEADER_ALG)
		return undecodable(err, "its protected header has more or less than an algorithm");
	/* All the algorithms have negative numbers; none is near the end of the range. */
	if (!cbor_cursor_expect(&cursor, CBOR_KIND_NEGINT, &head) || cursor.left != 0 ||
		head.value > INT32_MAX)
		return undecodable(err, "its algorithm is none of ES256, ES384 and ES512");
	signature->algorithm = eif_algorithm_by_cose(-1 - (int64_t)head.value);
	if (!signature->algorithm)
		return undecodable(err, "its algorithm is none of ES256, ES384 and ES512");
	return 0;
}

/* [protected, {}, payload, signature], with or without its tag */
static int decode_cose(struct eif_signature *signature, struct nefs_error *err)
{
	struct cbor_cursor cursor = { signature->cose, signature->cose_size };
	struct cbor_head head;

	if (!cbor_cursor_next(&cursor, &head))
		return undecodable(err, "its COSE_Sign1 is empty or malformed");
	if (head.kind == CBOR_KIND_TAG && head.value == COSE_SIGN1_TAG &&
		!cbor_cursor_next(&cursor, &head))
		return undecodable(err, "its COSE_Sign1 ends after its tag");
	if (head.kind != CBOR_KIND_ARRAY || head.value != 4)
		return undecodable(err, "its COSE_Sign1 is no array of 4");
	if (!cbor_cursor_expect(&cursor, CBOR_KIND_BYTES, &head))
		return undecodable(err, "its protected header is no byte string");
	signature->protected_header = head.data;
	signature->protected_size = (size_t)head.value;
	if (!cbor_cursor_expect(&cursor, CBOR_KIND_MAP, &head) || head.value != 0)
		return undecodable(err, "its unprotected header is no empty map");
	if (!cbor_cursor_expect(&cursor, CBOR_KIND_BYTES, &head))
		return undecodable(err, "its payload is no byte string");
	signature->payload = head.data;
	signature->payload_size = (size_t)head.value;
	if (!cbor_cursor_expect(&cursor, CBOR_KIND_BYTES, &head))
		return undecodable(err, "its signature proper is no byte string");
	signature->raw = head.data;
	signature->raw_size = (size_t)head.value;
	if (cursor.left != 0)
		return undecodable(err, "there are bytes behind its COSE_Sign1");
	return decode_protected(signature, err);
}

int eif_signature_decode(const uint8_t *section, size_t size, struct eif_signature *signature,
	struct nefs_error *err)
{
	struct cbor_cursor cursor = { section, size };
	struct cbor_head head;
	size_t entries;
	int failed;

	if (!cbor_cursor_expect(&cursor, CBOR_KIND_ARRAY, &head) || head.value < 1)
		return undecodable(err, "it is no CBOR array of 1 or more");
	entries = (size_t)head.value;
	failed = decode_entry(&cursor, signature, err);
	if (failed)
		return failed;
	/* Only the first counts; the others must be CBOR all the same. */
	for (size_t i = 1; i < entries; i++) {
		if (!cbor_cursor_skip(&cursor))
			return undecodable(err, "a later entry is malformed");
	}
	if (cursor.left != 0)
		return undecodable(err, "there are bytes behind its end");
	return decode_cose(signature, err);
}

int eif_signature_read(const struct eif_source *source, const struct eif *eif,
	struct eif_signature **result, struct nefs_error *err)
{
	const struct eif_section *section = eif_find(eif, EIF_SIGNATURE);
	NEFS_AUTO_FREE struct eif_signature *signature = NULL;
	NEFS_AUTO_FREE uint8_t *bytes = NULL;
	int failed;

	if (!section)
		return nefs_error_set(err, ENODATA, "the image is not signed");
	if (section->size > EIF_SIGNATURE_MAX)
		return nefs_error_set(err, EINVAL,
			"the signature has %llu bytes; it may have at most %d",
			(unsigned long long)section->size, EIF_SIGNATURE_MAX);
	signature = calloc(1, sizeof(*signature));
	bytes = malloc(EIF_SIGNATURE_MAX);
	if (!signature || !bytes)
		return nefs_error_set(err, ENOMEM, "out of memory for the signature");
	failed = eif_source_get(source, bytes, (size_t)section->size, section->offset, err);
	if (!failed)
		failed = eif_signature_decode(bytes, (size_t)section->size, signature, err);
	if (failed)
		return failed;
	*result = nefs_take_ptr(signature);
	return 0;
}

int eif_signature_load(const struct eif_source *source, const struct eif *eif,
	struct eif_signature **result, gnutls_x509_crt_t *certificate,
	const struct eif_algorithm **algorithm, struct nefs_error *err)
{
	NEFS_AUTO_FREE struct eif_signature *signature = NULL;
	int failed = eif_signature_read(source, eif, &signature, err);

	if (!failed)
		failed = eif_certificate_load(signature->certificate, signature->certificate_size,
			certificate, algorithm, err);
	if (!failed)
		*result = nefs_take_ptr(signature);
	return failed;
}

int eif_signature_pcr8(const struct eif_source *source, const struct eif *eif,
	uint8_t pcr8[EIF_PCR_SIZE], struct nefs_error *err)
{
	NEFS_AUTO_FREE struct eif_signature *signature = NULL;
	const struct eif_algorithm *algorithm;
	gnutls_x509_crt_t certificate;
	int failed;

	failed = eif_signature_load(source, eif, &signature, &certificate, &algorithm, err);
	if (failed)
		return failed;
	failed = eif_certificate_pcr8(certificate, pcr8, err);
	gnutls_x509_crt_deinit(certificate);
	return failed;
}

size_t eif_encode_payload(const uint8_t pcr0[EIF_PCR_SIZE], uint8_t payload[EIF_PAYLOAD_MAX])
{
	struct cbor_writer writer = { .buffer = payload, .room = EIF_PAYLOAD_MAX };

	cbor_write_map(&writer, 2);
	cbor_write_text(&writer, "register_index");
	cbor_write_uint(&writer, 0);
	cbor_write_text(&writer, "register_value");
	cbor_write_byte_array(&writer, pcr0, EIF_PCR_SIZE);
	return writer.used;
}

size_t eif_encode_to_sign(const uint8_t *protected_header, size_t protected_size,
	const uint8_t *payload, size_t payload_size, uint8_t text[EIF_TO_SIGN_MAX])
{
	struct cbor_writer writer = { .buffer = text, .room = EIF_TO_SIGN_MAX };

	cbor_write_array(&writer, 4);
	cbor_write_text(&writer, "Signature1");
	cbor_write_bytes(&writer, protected_header, protected_size);
	cbor_write_bytes(&writer, NULL, 0);
	cbor_write_bytes(&writer, payload, payload_size);
	return writer.overflow ? 0 : writer.used;
}

int eif_signature_verify(const struct eif_signature *signature, gnutls_x509_crt_t certificate,
	const struct eif_algorithm *algorithm, const uint8_t pcr0[EIF_PCR_SIZE], time_t now,
	struct nefs_error *err)
{
	uint8_t payload[EIF_PAYLOAD_MAX], text[EIF_TO_SIGN_MAX];
	gnutls_datum_t data;
	size_t payload_size;
	int failed;

	if (signature->algorithm != algorithm)
		return nefs_error_set(err, EINVAL,
			"the signature is %s, which needs a key on %s, but its certificate has one "
			"on %s",
			signature->algorithm->name, signature->algorithm->curve_name,
			algorithm->curve_name);
	payload_size = eif_encode_payload(pcr0, payload);
	if (signature->payload_size != payload_size ||
		memcmp(signature->payload, payload, payload_size) != 0) {
		char hex[2 * EIF_PCR_SIZE + 1];

		eif_hex(hex, pcr0, EIF_PCR_SIZE);
		return nefs_error_set(err, EINVAL,
			"the signature is not for this image, whose PCR0 is %s; the image was "
			"changed after signing: sign it again",
			hex);
	}
	data.data = text;
	data.size = (unsigned int)eif_encode_to_sign(signature->protected_header,
		signature->protected_size, signature->payload, signature->payload_size, text);
	if (data.size == 0)
		return undecodable(err, "its protected header is too long");
	failed = eif_certificate_verify(
		certificate, algorithm, &data, signature->raw, signature->raw_size, err);
	if (failed)
		return failed;
	return eif_certificate_check_dates(certificate, now, err);
}

int eif_verify(const struct eif_source *source, const struct eif *eif, const struct eif_pcrs *pcrs,
	struct nefs_error *err)
{
	NEFS_AUTO_FREE struct eif_signature *signature = NULL;
	const struct eif_algorithm *algorithm;
	gnutls_x509_crt_t certificate;
	int failed;

	failed = eif_signature_load(source, eif, &signature, &certificate, &algorithm, err);
	if (failed)
		return failed;
	failed = eif_signature_verify(
		signature, certificate, algorithm, pcrs->pcr[0], time(NULL), err);
	gnutls_x509_crt_deinit(certificate);
	return failed;
}
