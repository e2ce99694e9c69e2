/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a signature section. */
#include "cbor_writer.h"
#include "internal.h"
#include "signature.h"
#include <errno.h>
#include <gnutls/crypto.h>
#include <string.h>

struct eif_signer {
	gnutls_x509_crt_t certificate;
	gnutls_privkey_t key;
	const struct eif_algorithm *algorithm;
};

void eif_signer_free(struct eif_signer *signer)
{
	if (!signer)
		return;
	gnutls_privkey_deinit(signer->key);
	if (signer->certificate)
		gnutls_x509_crt_deinit(signer->certificate);
	free(signer);
}

static int load_key(struct eif_signer *signer, const void *pem, size_t size, struct nefs_error *err)
{
	const gnutls_datum_t datum = { (unsigned char *)pem, (unsigned int)size };
	int failed;

	failed = gnutls_privkey_init(&signer->key);
	if (failed < 0)
		return nefs_error_set(
			err, ENOMEM, "cannot load the key: %s", gnutls_strerror(failed));
	failed = gnutls_privkey_import_x509_raw(signer->key, &datum, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (failed == GNUTLS_E_DECRYPTION_FAILED)
		return nefs_error_set(err, EINVAL,
			"the key is encrypted; give it without a pass phrase "
			"(openssl pkey -in KEY -out PLAIN)");
	if (failed < 0)
		return nefs_error_set(err, EINVAL,
			"the key (%zu bytes) is no private key in PEM: %s", size,
			gnutls_strerror(failed));
	return 0;
}

/* The id of a public key: equal for equal keys. */
static int key_id(gnutls_pubkey_t key, uint8_t id[32], struct nefs_error *err)
{
	size_t size = 32;
	int failed = gnutls_pubkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, id, &size);

	if (failed < 0)
		return nefs_error_set(
			err, EINVAL, "cannot identify a public key: %s", gnutls_strerror(failed));
	return 0;
}

static int check_pair(const struct eif_signer *signer, struct nefs_error *err)
{
	gnutls_pubkey_t of_key = NULL, of_certificate = NULL;
	uint8_t id_key[32], id_certificate[32];
	int failed;

	failed = gnutls_pubkey_init(&of_key);
	if (failed >= 0)
		failed = gnutls_pubkey_init(&of_certificate);
	if (failed >= 0)
		failed = gnutls_pubkey_import_privkey(of_key, signer->key, 0, 0);
	if (failed >= 0)
		failed = gnutls_pubkey_import_x509(of_certificate, signer->certificate, 0);
	if (failed < 0)
		failed = nefs_error_set(err, EINVAL,
			"cannot compare the key and the certificate: %s", gnutls_strerror(failed));
	else
		failed = key_id(of_key, id_key, err);
	if (!failed)
		failed = key_id(of_certificate, id_certificate, err);
	if (!failed && memcmp(id_key, id_certificate, sizeof(id_key)) != 0)
		failed = nefs_error_set(err, EINVAL,
			"the key does not belong to the certificate: their public keys differ");
	gnutls_pubkey_deinit(of_key);
	gnutls_pubkey_deinit(of_certificate);
	return failed;
}

int eif_signer_load(const void *key_pem, size_t key_size, const void *certificate_pem,
	size_t certificate_size, struct eif_signer **result, struct nefs_error *err)
{
	struct eif_signer *signer = calloc(1, sizeof(*signer));
	int failed;

	if (!signer)
		return nefs_error_set(err, ENOMEM, "out of memory for the signing key");
	failed = eif_certificate_load(
		certificate_pem, certificate_size, &signer->certificate, &signer->algorithm, err);
	if (!failed)
		failed = load_key(signer, key_pem, key_size, err);
	if (!failed)
		failed = check_pair(signer, err);
	if (failed) {
		eif_signer_free(signer);
		return failed;
	}
	*result = signer;
	return 0;
}

int eif_signer_check_dates(const struct eif_signer *signer, time_t now, struct nefs_error *err)
{
	return eif_certificate_check_dates(signer->certificate, now, err);
}

/* An integer of DER, right-aligned in half bytes. */
static bool put_half(uint8_t *to, size_t half, const gnutls_datum_t *number)
{
	const uint8_t *from = number->data;
	size_t size = number->size;

	while (size > 0 && *from == 0) {
		from++;
		size--;
	}
	if (size > half)
		return false;
	memset(to, 0, half - size);
	memcpy(to + half - size, from, size);
	return true;
}

/* ECDSA over text, as r|s. */
static int sign_raw(const struct eif_signer *signer, const gnutls_datum_t *text,
	uint8_t raw[EIF_RAW_SIGNATURE_MAX], struct nefs_error *err)
{
	gnutls_datum_t der = { NULL, 0 }, r = { NULL, 0 }, s = { NULL, 0 };
	const size_t half = signer->algorithm->half;
	int failed;

	failed = gnutls_privkey_sign_data2(signer->key, signer->algorithm->sign, 0, text, &der);
	if (failed >= 0)
		failed = gnutls_decode_rs_value(&der, &r, &s);
	if (failed >= 0 && (!put_half(raw, half, &r) || !put_half(raw + half, half, &s)))
		failed = GNUTLS_E_INTERNAL_ERROR;
	gnutls_free(der.data);
	gnutls_free(r.data);
	gnutls_free(s.data);
	if (failed < 0)
		return nefs_error_set(
			err, EIO, "cannot sign with the key: %s", gnutls_strerror(failed));
	return 0;
}

/* The COSE_Sign1 that signs this PCR0. */
static int make_cose(const struct eif_signer *signer, const uint8_t pcr0[EIF_PCR_SIZE],
	struct cbor_writer *cose, struct nefs_error *err)
{
	uint8_t header[16], payload[EIF_PAYLOAD_MAX], text[EIF_TO_SIGN_MAX];
	struct cbor_writer protected = { .buffer = header, .room = sizeof(header) };
	uint8_t raw[EIF_RAW_SIGNATURE_MAX];
	gnutls_datum_t to_sign;
	size_t payload_size;
	int failed;

	cbor_write_map(&protected, 1);
	cbor_write_uint(&protected, 1);
	cbor_write_negative(&protected, signer->algorithm->cose);
	payload_size = eif_encode_payload(pcr0, payload);
	to_sign.data = text;
	to_sign.size = (unsigned int)eif_encode_to_sign(
		header, protected.used, payload, payload_size, text);
	failed = sign_raw(signer, &to_sign, raw, err);
	if (failed)
		return failed;
	cbor_write_array(cose, 4);
	cbor_write_bytes(cose, header, protected.used);
	cbor_write_map(cose, 0);
	cbor_write_bytes(cose, payload, payload_size);
	cbor_write_bytes(cose, raw, 2 * signer->algorithm->half);
	return 0;
}

int eif_signer_sign(const struct eif_signer *signer, const uint8_t pcr0[EIF_PCR_SIZE],
	uint8_t **section, size_t *size, struct nefs_error *err)
{
	uint8_t cose_buffer[EIF_TO_SIGN_MAX];
	struct cbor_writer cose = { .buffer = cose_buffer, .room = sizeof(cose_buffer) };
	struct cbor_writer writer = { .room = EIF_SIGNATURE_MAX };
	gnutls_datum_t pem;
	int failed;

	failed = make_cose(signer, pcr0, &cose, err);
	if (failed)
		return failed;
	/*
	 * The certificate alone, whatever else its file holds: people keep private keys in the
	 * same file, and the image is public.
	 */
	failed = gnutls_x509_crt_export2(signer->certificate, GNUTLS_X509_FMT_PEM, &pem);
	if (failed < 0)
		return nefs_error_set(err, EINVAL, "the certificate has no PEM form: %s",
			gnutls_strerror(failed));
	writer.buffer = malloc(writer.room);
	if (!writer.buffer) {
		gnutls_free(pem.data);
		return nefs_error_set(err, ENOMEM, "out of memory for the signature");
	}
	cbor_write_array(&writer, 1);
	cbor_write_map(&writer, 2);
	cbor_write_text(&writer, "signing_certificate");
	cbor_write_byte_array(&writer, pem.data, pem.size);
	cbor_write_text(&writer, "signature");
	cbor_write_byte_array(&writer, cose.buffer, cose.used);
	if (cose.overflow || writer.overflow) {
		failed = nefs_error_set(err, EINVAL,
			"the certificate is too large: with its %u bytes of PEM the signature "
			"section would have more than %d bytes",
			pem.size, EIF_SIGNATURE_MAX);
		free(writer.buffer);
	} else {
		*section = writer.buffer;
		*size = writer.used;
	}
	gnutls_free(pem.data);
	return failed;
}
