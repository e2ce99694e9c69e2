/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The signature section (docs/facts/eif.md §4): CBOR around a PEM certificate and a COSE_Sign1.
 */
#ifndef NEFS_EIF_SIGNATURE_H
#define NEFS_EIF_SIGNATURE_H

#include "certificate.h"
#include <nefs/eif.h>

/* A decoded section. Fixed in size: what a section claims decides nothing here. */
struct eif_signature {
	const struct eif_algorithm *algorithm; /* of the protected header; never NULL */
	/* These point into cose. */
	const uint8_t *protected_header;
	size_t protected_size;
	const uint8_t *payload;
	size_t payload_size;
	const uint8_t *raw; /* r|s */
	size_t raw_size;

	size_t certificate_size;
	size_t cose_size;
	uint8_t certificate[EIF_SIGNATURE_MAX]; /* PEM */
	uint8_t cose[EIF_SIGNATURE_MAX];
};

/* Reads and decodes the signature section. ENODATA if there is none; EINVAL, ENOMEM, EIO. */
int eif_signature_read(const struct eif_source *source, const struct eif *eif,
	struct eif_signature **signature, struct nefs_error *err);

/* Decodes the bytes of a section. The bytes are not needed afterwards. EINVAL. */
int eif_signature_decode(const uint8_t *section, size_t size, struct eif_signature *signature,
	struct nefs_error *err);

/*
 * Reads a signed image's section and loads the certificate in it, with what its key signs by. The caller
 * frees the signature with free(3) and the certificate with gnutls_x509_crt_deinit. ENODATA and EINVAL as
 * eif_signature_read and eif_certificate_load.
 */
int eif_signature_load(const struct eif_source *source, const struct eif *eif,
	struct eif_signature **signature, gnutls_x509_crt_t *certificate,
	const struct eif_algorithm **algorithm, struct nefs_error *err);

/* PCR8 of a signed image. EINVAL if its signature section cannot be decoded. */
int eif_signature_pcr8(const struct eif_source *source, const struct eif *eif,
	uint8_t pcr8[EIF_PCR_SIZE], struct nefs_error *err);

/* The checks of eif_verify on a decoded section, against the image's PCR0 and a time. */
int eif_signature_verify(const struct eif_signature *signature, gnutls_x509_crt_t certificate,
	const struct eif_algorithm *algorithm, const uint8_t pcr0[EIF_PCR_SIZE], time_t now,
	struct nefs_error *err);

/* ---- The CBOR texts that signing and verifying both need ---- */

/* Longest payload and longest signed text. */
#define EIF_PAYLOAD_MAX 256
#define EIF_TO_SIGN_MAX 512

/* The payload for a PCR0. Returns its size. */
size_t eif_encode_payload(const uint8_t pcr0[EIF_PCR_SIZE], uint8_t payload[EIF_PAYLOAD_MAX]);

/* What ECDSA signs. Returns its size, 0 if it does not fit. */
size_t eif_encode_to_sign(const uint8_t *protected_header, size_t protected_size,
	const uint8_t *payload, size_t payload_size, uint8_t text[EIF_TO_SIGN_MAX]);

/* What signs: a certificate, with its private key or with a signature that was made elsewhere. */
struct eif_signer;

/* Longest attached signature, in DER, and longest digest. */
#define EIF_ATTACHED_MAX 144
#define EIF_DIGEST_MAX	 64

/*
 * A signer with this certificate, which is the signer's on success. EINVAL if its key is none that signs
 * images; ENOMEM. It has yet to get one of the following.
 */
int eif_signer_new(
	gnutls_x509_crt_t certificate, struct eif_signer **signer, struct nefs_error *err);

/*
 * Lets it sign with this key, which is its own then, or freed. EINVAL with a sentence for a key that is not
 * the certificate's; from PEM, for anything else that cannot sign, too, an encrypted key among it.
 */
int eif_signer_set_key(struct eif_signer *signer, gnutls_privkey_t key, struct nefs_error *err);
int eif_signer_set_key_pem(
	struct eif_signer *signer, const void *pem, size_t size, struct nefs_error *err);

/*
 * Lets it attach this signature, in DER or r|s, copied. EINVAL if it is neither. Whose it is, and of what,
 * is told when an image is signed.
 */
int eif_signer_set_signature(
	struct eif_signer *signer, const void *data, size_t size, struct nefs_error *err);

/* A signer with both from PEM text; errors as above. */
int eif_signer_load(const void *key_pem, size_t key_size, const void *certificate_pem,
	size_t certificate_size, struct eif_signer **signer, struct nefs_error *err);

/* Is the signer's certificate valid at this time? EINVAL with the date. */
int eif_signer_check_dates(const struct eif_signer *signer, time_t now, struct nefs_error *err);

/*
 * Makes the section that signs this PCR0, malloc'ed. EINVAL if it would be too large, or if an attached
 * signature is not one of this PCR0 by the certificate's key.
 */
int eif_signer_sign(const struct eif_signer *signer, const uint8_t pcr0[EIF_PCR_SIZE],
	uint8_t **section, size_t *size, struct nefs_error *err);

/* What is to be signed for this PCR0. Returns its size. Needs neither key nor signature. */
size_t eif_signer_message(const struct eif_signer *signer, const uint8_t pcr0[EIF_PCR_SIZE],
	uint8_t text[EIF_TO_SIGN_MAX]);

/* Its digest by the hash of the signer's algorithm. EIO, ENOMEM. */
int eif_signer_digest(const struct eif_signer *signer, const uint8_t pcr0[EIF_PCR_SIZE],
	uint8_t digest[EIF_DIGEST_MAX], size_t *size, struct nefs_error *err);

/* NULL is allowed. */
void eif_signer_free(struct eif_signer *signer);

#endif
