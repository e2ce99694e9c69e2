/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fresh keys and certificates for the tests of signing. */
#ifndef NEFS_TEST_EIF_KEYS_H
#define NEFS_TEST_EIF_KEYS_H

#include "cunit_main.h"
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <time.h>

/* A key and a certificate for it, in PEM. */
struct pair {
	gnutls_datum_t key;
	gnutls_datum_t certificate;
	gnutls_datum_t der; /* of the certificate */
};

static inline void pair_free(struct pair *pair)
{
	gnutls_free(pair->key.data);
	gnutls_free(pair->certificate.data);
	gnutls_free(pair->der.data);
	memset(pair, 0, sizeof(*pair));
}

/* A self-signed certificate that is valid from one time to another. bits: a curve, or RSA bits. */
static inline void pair_make(struct pair *pair, gnutls_pk_algorithm_t algorithm, unsigned int bits,
	const char *subject, time_t from, time_t until)
{
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t certificate;

	memset(pair, 0, sizeof(*pair));
	CU_ASSERT_EQUAL_FATAL(gnutls_x509_privkey_init(&key), 0);
	CU_ASSERT_EQUAL_FATAL(gnutls_x509_privkey_generate(key, algorithm, bits, 0), 0);
	CU_ASSERT_EQUAL_FATAL(gnutls_x509_crt_init(&certificate), 0);
	gnutls_x509_crt_set_version(certificate, 3);
	gnutls_x509_crt_set_serial(certificate, "\x12\x34\x56", 3);
	CU_ASSERT_EQUAL_FATAL(gnutls_x509_crt_set_dn(certificate, subject, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(gnutls_x509_crt_set_issuer_dn(certificate, subject, NULL), 0);
	gnutls_x509_crt_set_activation_time(certificate, from);
	gnutls_x509_crt_set_expiration_time(certificate, until);
	gnutls_x509_crt_set_key(certificate, key);
	CU_ASSERT_EQUAL_FATAL(
		gnutls_x509_crt_sign2(certificate, certificate, key, GNUTLS_DIG_SHA256, 0), 0);
	gnutls_x509_privkey_export2_pkcs8(
		key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &pair->key);
	gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &pair->certificate);
	gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_DER, &pair->der);
	CU_ASSERT_PTR_NOT_NULL_FATAL(pair->key.data);
	CU_ASSERT_PTR_NOT_NULL_FATAL(pair->certificate.data);
	CU_ASSERT_PTR_NOT_NULL_FATAL(pair->der.data);
	gnutls_x509_crt_deinit(certificate);
	gnutls_x509_privkey_deinit(key);
}

/* An EC pair that is valid now. */
static inline void pair_make_ec(struct pair *pair, gnutls_ecc_curve_t curve)
{
	pair_make(pair, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(curve), "CN=nefs test,O=Example",
		time(NULL) - 86400, time(NULL) + 86400);
}

#endif
