/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The X.509 certificate that an image is signed with, and ECDSA with it, by GnuTLS. */
#ifndef NEFS_EIF_CERTIFICATE_H
#define NEFS_EIF_CERTIFICATE_H

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <nefs/eif.h>
#include <time.h>

/* One of the three ways to sign (docs/facts/eif.md §4). */
struct eif_algorithm {
	int64_t cose;		/* its number in COSE: -7, -35, -36 */
	const char *name;	/* "ES256" */
	const char *curve_name; /* "P-256" */
	gnutls_ecc_curve_t curve;
	gnutls_sign_algorithm_t sign;
	size_t half; /* bytes of r, and of s */
};

/* Longest r|s. */
#define EIF_RAW_SIGNATURE_MAX 132

/* By COSE number, or by curve; NULL if there is none. */
const struct eif_algorithm *eif_algorithm_by_cose(int64_t cose);
const struct eif_algorithm *eif_algorithm_by_curve(gnutls_ecc_curve_t curve);

/*
 * Loads a PEM certificate whose public key is on one of the three curves. The caller frees
 * *certificate with gnutls_x509_crt_deinit. EINVAL, ENOMEM.
 */
int eif_certificate_load(const void *pem, size_t size, gnutls_x509_crt_t *certificate,
	const struct eif_algorithm **algorithm, struct nefs_error *err);

/* Which algorithm a certificate's key is for; NULL with a sentence if none. */
const struct eif_algorithm *eif_certificate_algorithm(
	gnutls_x509_crt_t certificate, struct nefs_error *err);

/* Its PCR8: SHA384(48 zero bytes | SHA384(DER)). */
int eif_certificate_pcr8(
	gnutls_x509_crt_t certificate, uint8_t pcr8[EIF_PCR_SIZE], struct nefs_error *err);

/* Is it valid at this time? EINVAL with the date if it has expired or is not valid yet. */
int eif_certificate_check_dates(gnutls_x509_crt_t certificate, time_t now, struct nefs_error *err);

/* Is raw (r|s) a signature of data by the certificate's key? EINVAL if not. */
int eif_certificate_verify(gnutls_x509_crt_t certificate, const struct eif_algorithm *algorithm,
	const gnutls_datum_t *data, const uint8_t *raw, size_t raw_size, struct nefs_error *err);

/* "2026-01-31 12:00:00 UTC"; text must hold 32 bytes. */
void eif_date_text(time_t time, char *text, size_t size);

/* The subject, or the issuer, as text ("CN=web,O=Example"), malloc'ed; NULL if out of memory. */
char *eif_certificate_subject(gnutls_x509_crt_t certificate);
char *eif_certificate_issuer(gnutls_x509_crt_t certificate);

#endif
