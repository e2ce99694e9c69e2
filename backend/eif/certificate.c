/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "certificate.h"
#include "internal.h"
#include <errno.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>

static const struct eif_algorithm algorithms[] = {
	{ -7, "ES256", "P-256", GNUTLS_ECC_CURVE_SECP256R1, GNUTLS_SIGN_ECDSA_SHA256, 32 },
	{ -35, "ES384", "P-384", GNUTLS_ECC_CURVE_SECP384R1, GNUTLS_SIGN_ECDSA_SHA384, 48 },
	{ -36, "ES512", "P-521", GNUTLS_ECC_CURVE_SECP521R1, GNUTLS_SIGN_ECDSA_SHA512, 66 },
};

#define ALGORITHMS (sizeof(algorithms) / sizeof(algorithms[0]))

const struct eif_algorithm *eif_algorithm_by_cose(int64_t cose)
{
	for (size_t i = 0; i < ALGORITHMS; i++) {
		if (algorithms[i].cose == cose)
			return &algorithms[i];
	}
	return NULL;
}

const struct eif_algorithm *eif_algorithm_by_curve(gnutls_ecc_curve_t curve)
{
	for (size_t i = 0; i < ALGORITHMS; i++) {
		if (algorithms[i].curve == curve)
			return &algorithms[i];
	}
	return NULL;
}

const struct eif_algorithm *eif_certificate_algorithm(
	gnutls_x509_crt_t certificate, struct nefs_error *err)
{
	const struct eif_algorithm *algorithm = NULL;
	gnutls_ecc_curve_t curve;
	unsigned int bits = 0;
	int kind = gnutls_x509_crt_get_pk_algorithm(certificate, &bits);

	if (kind == GNUTLS_PK_ECDSA &&
		gnutls_x509_crt_get_pk_ecc_raw(certificate, &curve, NULL, NULL) >= 0)
		algorithm = eif_algorithm_by_curve(curve);
	if (!algorithm && kind == GNUTLS_E_MEMORY_ERROR)
		nefs_error_set(err, ENOMEM, "out of memory for a certificate");
	else if (!algorithm)
		nefs_error_set(err, EINVAL,
			"the certificate has a key of type %s with %u bits; images are signed with "
			"an EC key on P-256, P-384 or P-521",
			kind < 0 ? "unknown" : gnutls_pk_get_name((gnutls_pk_algorithm_t)kind),
			bits);
	return algorithm;
}

/* More than a certificate of the largest size takes, from its text to its verdict. */
#define MEMORY_FOR_CERTIFICATE (512U << 10)

/*
 * libtasn1, on which GnuTLS stands, takes what it allocates for granted, and GMP calls abort(3)
 * (docs/facts/memory.md): all enclaves would end with nefs. So there must be enough before they begin.
 */
static int check_memory(struct nefs_error *err)
{
	char *volatile probe = malloc(MEMORY_FOR_CERTIFICATE);

	if (!probe)
		return nefs_error_set(err, ENOMEM, "out of memory for a certificate");
	free(probe);
	return 0;
}

/* Does GnuTLS find fault with what it was given, or was there no memory to look at it? An errno. */
static int verdict(int failed)
{
	return failed == GNUTLS_E_MEMORY_ERROR ? ENOMEM : EINVAL;
}

int eif_certificate_load(const void *pem, size_t size, gnutls_x509_crt_t *result,
	const struct eif_algorithm **algorithm, struct nefs_error *err)
{
	const gnutls_datum_t datum = { (unsigned char *)pem, (unsigned int)size };
	struct nefs_error unfit = { 0 };
	gnutls_x509_crt_t certificate;
	int failed = check_memory(err);

	if (failed)
		return failed;
	failed = gnutls_x509_crt_init(&certificate);
	if (failed < 0)
		return nefs_error_set(
			err, ENOMEM, "cannot load a certificate: %s", gnutls_strerror(failed));
	failed = gnutls_x509_crt_import(certificate, &datum, GNUTLS_X509_FMT_PEM);
	if (failed < 0) {
		failed = nefs_error_set(err, verdict(failed),
			"the certificate (%zu bytes) is no X.509 certificate in PEM: %s", size,
			gnutls_strerror(failed));
		goto out;
	}
	*algorithm = eif_certificate_algorithm(certificate, &unfit);
	if (!*algorithm) {
		failed = nefs_error_set(err, unfit.code, "%s", unfit.text);
		goto out;
	}
	*result = certificate;
	return 0;
out:
	gnutls_x509_crt_deinit(certificate);
	return failed;
}

int eif_certificate_pcr8(
	gnutls_x509_crt_t certificate, uint8_t pcr8[EIF_PCR_SIZE], struct nefs_error *err)
{
	uint8_t digest[EIF_PCR_SIZE];
	gnutls_datum_t der;
	int failed;

	failed = gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_DER, &der);
	if (failed < 0)
		return nefs_error_set(err, verdict(failed), "the certificate has no DER form: %s",
			gnutls_strerror(failed));
	failed = gnutls_hash_fast(GNUTLS_DIG_SHA384, der.data, der.size, digest);
	gnutls_free(der.data);
	if (failed < 0)
		return eif_hash_failed(err, failed);
	return eif_extend(digest, pcr8, err);
}

void eif_date_text(time_t time, char *text, size_t size)
{
	struct tm tm;

	if (!gmtime_r(&time, &tm) || strftime(text, size, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		snprintf(text, size, "no known date");
}

int eif_certificate_check_dates(gnutls_x509_crt_t certificate, time_t now, struct nefs_error *err)
{
	time_t from = gnutls_x509_crt_get_activation_time(certificate);
	time_t until = gnutls_x509_crt_get_expiration_time(certificate);
	NEFS_AUTO_FREE char *subject = NULL;
	char date[32], today[32];

	if (from == (time_t)-1 || until == (time_t)-1)
		return nefs_error_set(
			err, EINVAL, "the certificate's dates of validity cannot be read");
	/* "No end" is a date in 2106 to GnuTLS: RFC 5280's 99991231235959Z. */
	if (now >= from && (now <= until || until == GNUTLS_X509_NO_WELL_DEFINED_EXPIRATION))
		return 0;
	subject = eif_certificate_subject(certificate);
	eif_date_text(now < from ? from : until, date, sizeof(date));
	eif_date_text(now, today, sizeof(today));
	if (now < from)
		return nefs_error_set(err, EINVAL,
			"the signing certificate %s is not valid before %s, and it is %s now; "
			"check the clock or wait",
			subject ? subject : "", date, today);
	return nefs_error_set(err, EINVAL,
		"the signing certificate %s expired on %s, and it is %s now; sign the image again "
		"with a valid one",
		subject ? subject : "", date, today);
}

/* An unsigned integer without its leading zero bytes, as DER wants it. */
static gnutls_datum_t trimmed(const uint8_t *data, size_t size)
{
	while (size > 1 && *data == 0) {
		data++;
		size--;
	}
	return (gnutls_datum_t){ (unsigned char *)data, (unsigned int)size };
}

int eif_certificate_verify(gnutls_x509_crt_t certificate, const struct eif_algorithm *algorithm,
	const gnutls_datum_t *data, const uint8_t *raw, size_t raw_size, struct nefs_error *err)
{
	gnutls_datum_t r, s, der = { NULL, 0 };
	gnutls_pubkey_t key = NULL;
	int failed = check_memory(err);

	if (failed)
		return failed;

	if (raw_size != 2 * algorithm->half)
		return nefs_error_set(err, EINVAL,
			"the %s signature has %zu bytes; it must have %zu", algorithm->name,
			raw_size, 2 * algorithm->half);
	r = trimmed(raw, algorithm->half);
	s = trimmed(raw + algorithm->half, algorithm->half);

	failed = gnutls_pubkey_init(&key);
	if (failed >= 0)
		failed = gnutls_pubkey_import_x509(key, certificate, 0);
	if (failed >= 0)
		failed = gnutls_encode_rs_value(&der, &r, &s);
	if (failed >= 0)
		failed = gnutls_pubkey_verify_data2(key, algorithm->sign, 0, data, &der);
	gnutls_free(der.data);
	gnutls_pubkey_deinit(key);
	if (failed < 0 && verdict(failed) == ENOMEM)
		return nefs_error_set(err, ENOMEM, "out of memory for verifying the signature");
	if (failed < 0)
		return nefs_error_set(err, EINVAL,
			"the %s signature was not made with its certificate's key: %s",
			algorithm->name, gnutls_strerror(failed));
	return 0;
}

/* A distinguished name, moved to memory that free() knows. */
static char *name_text(gnutls_x509_crt_t certificate,
	int (*get)(gnutls_x509_crt_t, gnutls_datum_t *, unsigned int))
{
	gnutls_datum_t name = { NULL, 0 };
	int failed = get(certificate, &name, 0);
	char *text;

	if (failed < 0 || !name.data) {
		gnutls_free(name.data);
		return failed == GNUTLS_E_MEMORY_ERROR ? NULL : strdup("");
	}
	text = strndup((const char *)name.data, name.size);
	gnutls_free(name.data);
	return text;
}

char *eif_certificate_subject(gnutls_x509_crt_t certificate)
{
	return name_text(certificate, gnutls_x509_crt_get_dn3);
}

char *eif_certificate_issuer(gnutls_x509_crt_t certificate)
{
	return name_text(certificate, gnutls_x509_crt_get_issuer_dn3);
}
