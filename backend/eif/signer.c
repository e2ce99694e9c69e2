/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a signature section: with a key, or around a signature that was made elsewhere. */
#include "cbor_writer.h"
#include "ecdsa_der.h"
#include "internal.h"
#include "signature.h"
#include <errno.h>
#include <gnutls/crypto.h>
#include <string.h>

struct eif_signer {
	gnutls_x509_crt_t certificate;
	const struct eif_algorithm *algorithm;
	/* One of the two. */
	gnutls_privkey_t key;
	uint8_t attached[EIF_ATTACHED_MAX];
	size_t attached_size;
};

void eif_signer_free(struct eif_signer *signer)
{
	if (!signer)
		return;
	if (signer->key)
		gnutls_privkey_deinit(signer->key);
	gnutls_x509_crt_deinit(signer->certificate);
	free(signer);
}

int eif_signer_new(
	gnutls_x509_crt_t certificate, struct eif_signer **result, struct nefs_error *err)
{
	struct eif_signer *signer = calloc(1, sizeof(*signer));

	if (!signer)
		return nefs_error_set(err, ENOMEM, "out of memory for the signing certificate");
	signer->algorithm = eif_certificate_algorithm(certificate, err);
	if (!signer->algorithm) {
		free(signer);
		return -EINVAL;
	}
	signer->certificate = certificate;
	*result = signer;
	return 0;
}

static int load_key(gnutls_privkey_t *key, const void *pem, size_t size, struct nefs_error *err)
{
	const gnutls_datum_t datum = { (unsigned char *)pem, (unsigned int)size };
	int failed;

	failed = gnutls_privkey_init(key);
	if (failed < 0)
		return nefs_error_set(
			err, ENOMEM, "cannot load the key: %s", gnutls_strerror(failed));
	failed = gnutls_privkey_import_x509_raw(*key, &datum, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (failed >= 0)
		return 0;
	gnutls_privkey_deinit(*key);
	if (failed == GNUTLS_E_DECRYPTION_FAILED)
		return nefs_error_set(err, EINVAL,
			"the key is encrypted; give it without a pass phrase "
			"(openssl pkey -in KEY -out PLAIN)");
	return nefs_error_set(err, EINVAL, "the key (%zu bytes) is no private key in PEM: %s", size,
		gnutls_strerror(failed));
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

/*
 * Are these a pair? A token need not tell the public half of a key; then the signature will show it,
 * as each is verified before an image has it.
 */
static int check_pair(gnutls_privkey_t key, gnutls_x509_crt_t certificate, struct nefs_error *err)
{
	gnutls_pubkey_t of_key = NULL, of_certificate = NULL;
	uint8_t id_key[32], id_certificate[32];
	bool unknown = false;
	int failed;

	failed = gnutls_pubkey_init(&of_key);
	if (failed >= 0)
		failed = gnutls_pubkey_init(&of_certificate);
	if (failed >= 0) {
		failed = gnutls_pubkey_import_privkey(of_key, key, 0, 0);
		unknown = failed < 0 && gnutls_privkey_get_type(key) == GNUTLS_PRIVKEY_PKCS11;
	}
	if (failed >= 0)
		failed = gnutls_pubkey_import_x509(of_certificate, certificate, 0);
	if (unknown)
		failed = 0;
	else if (failed < 0)
		failed = nefs_error_set(err, EINVAL,
			"cannot compare the key and the certificate: %s", gnutls_strerror(failed));
	else
		failed = key_id(of_key, id_key, err);
	if (!failed && !unknown)
		failed = key_id(of_certificate, id_certificate, err);
	if (!failed && !unknown && memcmp(id_key, id_certificate, sizeof(id_key)) != 0)
		failed = nefs_error_set(err, EINVAL,
			"the key does not belong to the certificate: their public keys differ");
	gnutls_pubkey_deinit(of_key);
	gnutls_pubkey_deinit(of_certificate);
	return failed;
}

int eif_signer_set_key(struct eif_signer *signer, gnutls_privkey_t key, struct nefs_error *err)
{
	int failed = check_pair(key, signer->certificate, err);

	if (failed)
		gnutls_privkey_deinit(key);
	else
		signer->key = key;
	return failed;
}

int eif_signer_set_key_pem(
	struct eif_signer *signer, const void *pem, size_t size, struct nefs_error *err)
{
	gnutls_privkey_t key;
	int failed;

	failed = load_key(&key, pem, size, err);
	if (failed)
		return failed;
	return eif_signer_set_key(signer, key, err);
}

/* Is it text? Then somebody has forgotten to decode it. */
static bool is_text(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (data[i] >= 0x7f || (data[i] < ' ' && !strchr("\t\r\n", data[i])))
			return false;
	}
	return size > 0;
}

static int no_signature(
	const struct eif_signer *signer, const void *data, size_t size, struct nefs_error *err)
{
	return nefs_error_set(err, EINVAL,
		"the signature has %zu bytes and is neither DER nor the %zu bytes r|s of %s%s",
		size, 2 * signer->algorithm->half, signer->algorithm->name,
		is_text(data, size) ? "; it is text: decode it first (base64 -d)" : "");
}

int eif_signer_set_signature(
	struct eif_signer *signer, const void *data, size_t size, struct nefs_error *err)
{
	uint8_t raw[EIF_RAW_SIGNATURE_MAX];
	const size_t half = signer->algorithm->half;

	if (size != 2 * half && !ecdsa_raw_from_der(data, size, half, raw))
		return no_signature(signer, data, size, err);
	/* A signature in either form fits. */
	if (size > sizeof(signer->attached))
		return no_signature(signer, data, size, err);
	memcpy(signer->attached, data, size);
	signer->attached_size = size;
	return 0;
}

int eif_signer_load(const void *key_pem, size_t key_size, const void *certificate_pem,
	size_t certificate_size, struct eif_signer **result, struct nefs_error *err)
{
	const struct eif_algorithm *algorithm;
	struct eif_signer *signer = NULL;
	gnutls_x509_crt_t certificate;
	int failed;

	failed = eif_certificate_load(
		certificate_pem, certificate_size, &certificate, &algorithm, err);
	if (failed)
		return failed;
	failed = eif_signer_new(certificate, &signer, err);
	if (failed)
		gnutls_x509_crt_deinit(certificate);
	else
		failed = eif_signer_set_key_pem(signer, key_pem, key_size, err);
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

/* ECDSA over text by the key, as r|s. */
static int sign_raw(const struct eif_signer *signer, const gnutls_datum_t *text,
	uint8_t raw[EIF_RAW_SIGNATURE_MAX], struct nefs_error *err)
{
	gnutls_datum_t der = { NULL, 0 };
	int failed;

	failed = gnutls_privkey_sign_data2(signer->key, signer->algorithm->sign, 0, text, &der);
	if (failed >= 0 && !ecdsa_raw_from_der(der.data, der.size, signer->algorithm->half, raw))
		failed = GNUTLS_E_INTERNAL_ERROR;
	gnutls_free(der.data);
	if (failed < 0)
		return nefs_error_set(
			err, EIO, "cannot sign with the key: %s", gnutls_strerror(failed));
	return 0;
}

/*
 * The attached signature as r|s. By chance r|s may read as DER, and DER may have the size of r|s: which
 * one it is, is what verifies.
 */
static int attach_raw(const struct eif_signer *signer, const gnutls_datum_t *text,
	uint8_t raw[EIF_RAW_SIGNATURE_MAX], struct nefs_error *err)
{
	const size_t size = 2 * signer->algorithm->half;
	int failed = -EINVAL;

	if (ecdsa_raw_from_der(
		    signer->attached, signer->attached_size, signer->algorithm->half, raw))
		failed = eif_certificate_verify(
			signer->certificate, signer->algorithm, text, raw, size, NULL);
	if (failed == -EINVAL && signer->attached_size == size) {
		memcpy(raw, signer->attached, size);
		failed = eif_certificate_verify(
			signer->certificate, signer->algorithm, text, raw, size, NULL);
	}
	if (failed == -EINVAL)
		return nefs_error_set(err, EINVAL,
			"this signature was not made by the certificate's key, or not of this "
			"image: sign what --print-message gives for this image and this "
			"certificate, by ECDSA with SHA-%u",
			(unsigned int)(signer->algorithm->half == 66
					       ? 512
					       : signer->algorithm->half * 8));
	return failed ? nefs_error_set(
				err, -failed, "cannot verify the signature: %s", strerror(-failed))
		      : 0;
}

static void write_protected(const struct eif_signer *signer, struct cbor_writer *protected)
{
	cbor_write_map(protected, 1);
	cbor_write_uint(protected, 1);
	cbor_write_negative(protected, signer->algorithm->cose);
}

size_t eif_signer_message(const struct eif_signer *signer, const uint8_t pcr0[EIF_PCR_SIZE],
	uint8_t text[EIF_TO_SIGN_MAX])
{
	uint8_t header[16], payload[EIF_PAYLOAD_MAX];
	struct cbor_writer protected = { .buffer = header, .room = sizeof(header) };
	size_t payload_size = eif_encode_payload(pcr0, payload);

	write_protected(signer, &protected);
	return eif_encode_to_sign(header, protected.used, payload, payload_size, text);
}

int eif_signer_digest(const struct eif_signer *signer, const uint8_t pcr0[EIF_PCR_SIZE],
	uint8_t digest[EIF_DIGEST_MAX], size_t *size, struct nefs_error *err)
{
	const gnutls_digest_algorithm_t hash =
		gnutls_sign_get_hash_algorithm(signer->algorithm->sign);
	uint8_t text[EIF_TO_SIGN_MAX];
	int failed;

	failed = gnutls_hash_fast(hash, text, eif_signer_message(signer, pcr0, text), digest);
	if (failed < 0)
		return eif_hash_failed(err, failed);
	*size = gnutls_hash_get_len(hash);
	return 0;
}

/* The COSE_Sign1 that signs this PCR0. */
static int make_cose(const struct eif_signer *signer, const uint8_t pcr0[EIF_PCR_SIZE],
	struct cbor_writer *cose, struct nefs_error *err)
{
	uint8_t header[16], payload[EIF_PAYLOAD_MAX], text[EIF_TO_SIGN_MAX];
	struct cbor_writer protected = { .buffer = header, .room = sizeof(header) };
	const size_t payload_size = eif_encode_payload(pcr0, payload);
	uint8_t raw[EIF_RAW_SIGNATURE_MAX];
	const gnutls_datum_t to_sign = { text,
		(unsigned int)eif_signer_message(signer, pcr0, text) };
	int failed;

	failed = signer->key ? sign_raw(signer, &to_sign, raw, err)
			     : attach_raw(signer, &to_sign, raw, err);
	if (failed)
		return failed;
	write_protected(signer, &protected);
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
