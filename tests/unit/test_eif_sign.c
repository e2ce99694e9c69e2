/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signing and verifying. */
#include "build.h"
#include "eif_image.h"
#include "eif_keys.h"
#include <sys/mman.h>
#include <unistd.h>

static const struct {
	gnutls_ecc_curve_t curve;
	const char *name;
	int64_t cose;
	size_t half;
} curves[] = {
	{ GNUTLS_ECC_CURVE_SECP256R1, "ES256", -7, 32 },
	{ GNUTLS_ECC_CURVE_SECP384R1, "ES384", -35, 48 },
	{ GNUTLS_ECC_CURVE_SECP521R1, "ES512", -36, 66 },
};

#define CURVES (sizeof(curves) / sizeof(curves[0]))

static struct eif_signer *load(const struct pair *pair)
{
	struct nefs_error err = { 0 };
	struct eif_signer *signer = NULL;

	CU_ASSERT_EQUAL(eif_signer_load(pair->key.data, pair->key.size, pair->certificate.data,
				pair->certificate.size, &signer, &err),
		0);
	CU_ASSERT_STRING_EQUAL(err.text, "");
	CU_ASSERT_PTR_NOT_NULL_FATAL(signer);
	return signer;
}

/* Signs an image: *signed_image is the new one. */
static void sign(const struct image *image, const struct pair *pair, struct image *signed_image)
{
	struct eif_signer *signer = load(pair);
	struct nefs_error err = { 0 };
	struct eif_source source;
	struct eif from, eif;
	struct eif_pcrs pcrs;
	int fd = memfd_create("signed", MFD_CLOEXEC);

	eif_source_memory(&source, image->bytes, image->size);
	CU_ASSERT_EQUAL_FATAL(eif_read(&source, &from, &err), 0);
	CU_ASSERT_EQUAL(eif_sign(&source, &from, signer, fd, &eif, &pcrs, &err), 0);
	CU_ASSERT_STRING_EQUAL(err.text, "");
	CU_ASSERT_TRUE(pcrs.has_pcr8);
	image_begin(signed_image, 0, 0);
	signed_image->size = eif.size;
	signed_image->sections = (unsigned int)eif.section_count;
	CU_ASSERT_EQUAL_FATAL(eif.size <= IMAGE_ROOM, true);
	CU_ASSERT_EQUAL_FATAL(
		pread(fd, signed_image->bytes, eif.size, 0), (ssize_t)signed_image->size);
	eif_signer_free(signer);
	close(fd);
}

static void sign_vector3(const struct pair *pair, struct image *signed_image)
{
	struct image image;

	image_vector3(&image);
	sign(&image, pair, signed_image);
	image_free(&image);
}

/* Reads, measures and verifies. Returns the first failure. */
static int check(
	const struct image *image, struct eif *eif, struct eif_pcrs *pcrs, struct nefs_error *err)
{
	struct eif_source source;
	int failed;

	eif_source_memory(&source, image->bytes, image->size);
	failed = eif_read_measured(&source, eif, pcrs, err);
	if (!failed)
		failed = eif_verify(&source, eif, pcrs, err);
	return failed;
}

static void expected_pcr8(const struct pair *pair, uint8_t pcr8[48])
{
	uint8_t input[96] = { 0 };

	gnutls_hash_fast(GNUTLS_DIG_SHA384, pair->der.data, pair->der.size, input + 48);
	gnutls_hash_fast(GNUTLS_DIG_SHA384, input, sizeof(input), pcr8);
}

static void test_curves(void)
{
	for (size_t i = 0; i < CURVES; i++) {
		struct nefs_error err = { 0 };
		struct eif_pcrs before, pcrs;
		struct eif_source source;
		struct image plain, image;
		uint8_t pcr8[48];
		struct pair pair;
		struct eif eif;

		pair_make_ec(&pair, curves[i].curve);
		image_vector3(&plain);
		eif_source_memory(&source, plain.bytes, plain.size);
		CU_ASSERT_EQUAL(eif_read_measured(&source, &eif, &before, NULL), 0);
		sign(&plain, &pair, &image);
		CU_ASSERT_EQUAL(check(&image, &eif, &pcrs, &err), 0);
		CU_ASSERT_STRING_EQUAL(err.text, "");
		CU_ASSERT_EQUAL(memcmp(before.pcr, pcrs.pcr, sizeof(pcrs.pcr)), 0);
		CU_ASSERT_FALSE(before.has_pcr8);
		CU_ASSERT_TRUE(pcrs.has_pcr8);
		expected_pcr8(&pair, pcr8);
		CU_ASSERT_EQUAL(memcmp(pcr8, pcrs.pcr8, sizeof(pcr8)), 0);
		CU_ASSERT_EQUAL(eif.section_count, 6);
		CU_ASSERT_EQUAL(eif.sections[5].type, EIF_SIGNATURE);
		image_free(&image);
		image_free(&plain);
		pair_free(&pair);
	}
}

/* The bytes of the section, against docs/facts/eif.md §4. */
static void test_section_bytes(void)
{
	for (size_t i = 0; i < CURVES; i++) {
		static struct eif_signature signature;
		struct nefs_error err = { 0 };
		struct eif_signer *signer;
		const uint8_t pcr0[48] = { 0, 1, 23, 24, 255 };
		struct pair pair;
		uint8_t *section;
		size_t size;

		pair_make_ec(&pair, curves[i].curve);
		signer = load(&pair);
		CU_ASSERT_EQUAL_FATAL(eif_signer_sign(signer, pcr0, &section, &size, &err), 0);
		/* [{"signing_certificate": [ */
		CU_ASSERT_EQUAL(memcmp(section, "\x81\xa2\x73signing_certificate\x99", 23), 0);
		/* '-' is 45 = 0x2d, in two bytes: an array of integers and no byte string */
		CU_ASSERT_EQUAL(memcmp(section + 25, "\x18\x2d\x18\x2d\x18\x2d", 6), 0);
		CU_ASSERT_EQUAL_FATAL(eif_signature_decode(section, size, &signature, &err), 0);
		CU_ASSERT_EQUAL(signature.certificate_size, pair.certificate.size);
		CU_ASSERT_EQUAL(
			memcmp(signature.certificate, pair.certificate.data, pair.certificate.size),
			0);
		CU_ASSERT_EQUAL(signature.cose[0], 0x84); /* untagged */
		CU_ASSERT_EQUAL(signature.raw_size, 2 * curves[i].half);
		CU_ASSERT_EQUAL(signature.algorithm->cose, curves[i].cose);
		CU_ASSERT_STRING_EQUAL(signature.algorithm->name, curves[i].name);
		CU_ASSERT_EQUAL(
			memcmp(signature.payload,
				"\xa2\x6eregister_index\x00\x6eregister_value\x98\x30\x00\x01\x17"
				"\x18\x18\x18\xff\x00",
				42),
			0);
		free(section);
		eif_signer_free(signer);
		pair_free(&pair);
	}
}

/* r or s begins with a zero byte once in 128 signatures: none may fail for it. */
static void test_leading_zeros(void)
{
	static struct eif_signature signature;
	const uint8_t pcr0[48] = { 7 };
	const struct eif_algorithm *algorithm;
	struct eif_signer *signer;
	gnutls_x509_crt_t certificate;
	unsigned int seen = 0;
	struct pair pair;

	pair_make_ec(&pair, GNUTLS_ECC_CURVE_SECP256R1);
	signer = load(&pair);
	CU_ASSERT_EQUAL_FATAL(eif_certificate_load(pair.certificate.data, pair.certificate.size,
				      &certificate, &algorithm, NULL),
		0);
	for (unsigned int i = 0; i < 5000 && seen < 4; i++) {
		struct nefs_error err = { 0 };
		uint8_t *section;
		size_t size;

		CU_ASSERT_EQUAL_FATAL(eif_signer_sign(signer, pcr0, &section, &size, &err), 0);
		CU_ASSERT_EQUAL_FATAL(eif_signature_decode(section, size, &signature, &err), 0);
		seen += signature.raw[0] == 0;
		seen += signature.raw[32] == 0;
		CU_ASSERT_EQUAL(eif_signature_verify(
					&signature, certificate, algorithm, pcr0, time(NULL), &err),
			0);
		free(section);
	}
	CU_ASSERT(seen >= 4);
	gnutls_x509_crt_deinit(certificate);
	eif_signer_free(signer);
	pair_free(&pair);
}

/* Whatever bit is flipped, wherever: the image is refused. */
static void test_flipped(void)
{
	struct image image;
	struct pair pair;

	pair_make_ec(&pair, GNUTLS_ECC_CURVE_SECP384R1);
	sign_vector3(&pair, &image);
	for (size_t bit = 0; bit < 8 * image.size; bit++) {
		struct nefs_error err = { 0 };
		struct eif_pcrs pcrs;
		struct eif eif;

		image.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		CU_ASSERT(image_refused(check(&image, &eif, &pcrs, &err), &err));
		image.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	image_free(&image);
	pair_free(&pair);
}

/* Neither metadata nor the sections' own headers are signed. */
static bool is_signed_data(const struct eif *eif, size_t at)
{
	for (size_t i = 0; i < eif->section_count; i++) {
		const struct eif_section *section = &eif->sections[i];

		if (section->type != EIF_METADATA && at >= section->offset &&
			at - section->offset < section->size)
			return true;
	}
	return false;
}

/*
 * The same by somebody who mends the CRC. Kernel, command line, ramdisks and the COSE_Sign1 are
 * covered by the signature; the certificate is by PCR8, which must differ if it still verifies.
 */
static void test_flipped_sealed(void)
{
	for (size_t curve = 0; curve < CURVES; curve++) {
		size_t signature_start, cose_start = 0;
		unsigned int refused = 0, other_certificate = 0, same = 0;
		struct eif_pcrs before, pcrs;
		struct eif eif, changed;
		struct image image;
		struct pair pair;

		pair_make_ec(&pair, curves[curve].curve);
		sign_vector3(&pair, &image);
		CU_ASSERT_EQUAL_FATAL(check(&image, &eif, &before, NULL), 0);
		signature_start = eif.sections[5].offset;
		for (size_t at = signature_start; at + 10 < image.size && !cose_start; at++) {
			if (memcmp(image.bytes + at, "\x69signature", 10) == 0)
				cose_start = at;
		}
		CU_ASSERT_FATAL(cose_start > 0);
		for (size_t bit = 8 * 560; bit < 8 * image.size; bit += bit < 8 * 646 ? 1 : 7) {
			struct nefs_error err = { 0 };
			const size_t at = bit / 8;
			int result;

			if (!is_signed_data(&eif, at))
				continue;
			image.bytes[at] ^= (uint8_t)(1U << bit % 8);
			image_seal(&image);
			result = check(&image, &changed, &pcrs, &err);
			image.bytes[at] ^= (uint8_t)(1U << bit % 8);
			if (result) {
				CU_ASSERT_EQUAL(result, -EINVAL);
				CU_ASSERT_NOT_EQUAL(err.text[0], 0);
				refused++;
				continue;
			}
			/* Only the certificate's text may change unnoticed. */
			CU_ASSERT(at >= signature_start && at < cose_start);
			if (memcmp(before.pcr8, pcrs.pcr8, sizeof(pcrs.pcr8)) != 0)
				other_certificate++;
			else
				same++;
		}
		CU_ASSERT(refused > 8 * 40);
		/* The same DER from another PEM: white space, the unused bits of base64's end. */
		CU_ASSERT(same < 40);
		CU_ASSERT(other_certificate < refused);
		image_free(&image);
		pair_free(&pair);
	}
}

static void test_dates(void)
{
	static const struct {
		time_t from, until;
		const char *says; /* NULL: valid */
	} cases[] = {
		{ 1577934245, 1580612645, "expired on 2020-02-02 03:04:05 UTC" },
		{ 4102455845, 4105134245, "not valid before 2100-01-01 03:04:05 UTC" },
		{ 1577934245, 4102455845, NULL },
		{ 1577934245, (time_t)-1, NULL }, /* 99991231235959Z: no end */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct nefs_error err = { 0 };
		struct eif_pcrs pcrs;
		struct image image;
		struct pair pair;
		struct eif eif;
		int result;

		pair_make(&pair, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1),
			"CN=dated", cases[i].from,
			cases[i].until == (time_t)-1 ? GNUTLS_X509_NO_WELL_DEFINED_EXPIRATION
						     : cases[i].until);
		sign_vector3(&pair, &image);
		result = check(&image, &eif, &pcrs, &err);
		if (!cases[i].says) {
			CU_ASSERT_EQUAL(result, 0);
			CU_ASSERT_STRING_EQUAL(err.text, "");
		} else {
			CU_ASSERT(image_refused(result, &err));
			CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].says));
			CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "CN=dated"));
			CU_ASSERT_PTR_NULL(strchr(err.text, '\n'));
		}
		image_free(&image);
		pair_free(&pair);
	}
}

static void test_date_edges(void)
{
	const struct eif_algorithm *algorithm;
	gnutls_x509_crt_t certificate;
	struct pair pair;

	pair_make(&pair, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1),
		"CN=edge", 1000000000, 1000000100);
	CU_ASSERT_EQUAL_FATAL(eif_certificate_load(pair.certificate.data, pair.certificate.size,
				      &certificate, &algorithm, NULL),
		0);
	CU_ASSERT_EQUAL(eif_certificate_check_dates(certificate, 999999999, NULL), -EINVAL);
	CU_ASSERT_EQUAL(eif_certificate_check_dates(certificate, 1000000000, NULL), 0);
	CU_ASSERT_EQUAL(eif_certificate_check_dates(certificate, 1000000100, NULL), 0);
	CU_ASSERT_EQUAL(eif_certificate_check_dates(certificate, 1000000101, NULL), -EINVAL);
	gnutls_x509_crt_deinit(certificate);
	pair_free(&pair);
}

static void test_resign(void)
{
	struct image plain, first, second, gapped;
	struct eif_pcrs pcrs;
	struct pair pair, other;
	uint8_t pcr8[48];
	struct eif eif;

	pair_make_ec(&pair, GNUTLS_ECC_CURVE_SECP256R1);
	pair_make_ec(&other, GNUTLS_ECC_CURVE_SECP384R1);
	image_vector3(&plain);
	sign(&plain, &pair, &first);
	sign(&first, &other, &second);
	CU_ASSERT_EQUAL(check(&second, &eif, &pcrs, NULL), 0);
	CU_ASSERT_EQUAL(eif.section_count, 6);
	expected_pcr8(&other, pcr8);
	CU_ASSERT_EQUAL(memcmp(pcr8, pcrs.pcr8, sizeof(pcr8)), 0);
	/* Everything else is as it was. */
	CU_ASSERT_EQUAL(memcmp(plain.bytes + 548, second.bytes + 548, plain.size - 548), 0);
	CU_ASSERT_EQUAL(memcmp(plain.bytes, second.bytes, 26), 0);
	image_free(&first);
	image_free(&second);
	image_free(&plain);

	/* Odd flags are kept; gaps are not; a signature before the ramdisks moves to the end. */
	image_begin(&gapped, 4, 0x41);
	image_add_text(&gapped, EIF_SIGNATURE, "no signature at all");
	image_add_text(&gapped, EIF_KERNEL, "K");
	gapped.size += 3;
	image_add_text(&gapped, EIF_CMDLINE, "c");
	image_add_text(&gapped, EIF_METADATA, "{}");
	image_add_text(&gapped, EIF_RAMDISK, "R");
	image_put16(&gapped, 560 + 19 + 2, 9); /* the kernel section's flags */
	image_end(&gapped);
	sign(&gapped, &pair, &first);
	CU_ASSERT_EQUAL(check(&first, &eif, &pcrs, NULL), 0);
	CU_ASSERT_EQUAL(eif.flags, 0x41);
	CU_ASSERT_EQUAL(eif.section_count, 5);
	CU_ASSERT_EQUAL(eif.sections[0].flags, 9);
	CU_ASSERT_EQUAL(eif.sections[4].type, EIF_SIGNATURE);
	CU_ASSERT_EQUAL(eif.warnings, EIF_WARN_FLAGS | EIF_WARN_SECTION_FLAGS | EIF_WARN_KERNEL);
	image_free(&first);
	image_free(&gapped);

	/* Version 2 knows no signature. */
	image_begin(&plain, 2, 0);
	image_add_text(&plain, EIF_KERNEL, "K");
	image_add_text(&plain, EIF_CMDLINE, "c");
	image_end(&plain);
	sign(&plain, &pair, &first);
	CU_ASSERT_EQUAL(check(&first, &eif, &pcrs, NULL), 0);
	CU_ASSERT_EQUAL(eif.version, 3);
	image_free(&first);
	image_free(&plain);
	pair_free(&pair);
	pair_free(&other);
}

static void test_no_room(void)
{
	struct nefs_error err = { 0 };
	struct eif_signer *signer;
	struct eif_source source;
	struct eif_pcrs pcrs;
	struct image image;
	struct pair pair;
	struct eif from, eif;
	int fd = memfd_create("full", MFD_CLOEXEC);

	image_begin(&image, 4, 0);
	image_add_text(&image, EIF_KERNEL, "K");
	image_add_text(&image, EIF_CMDLINE, "c");
	image_add_text(&image, EIF_METADATA, "{}");
	while (image.sections < 32)
		image_add_text(&image, EIF_RAMDISK, "R");
	image_end(&image);
	pair_make_ec(&pair, GNUTLS_ECC_CURVE_SECP256R1);
	signer = load(&pair);
	eif_source_memory(&source, image.bytes, image.size);
	CU_ASSERT_EQUAL(eif_read(&source, &from, NULL), 0);
	CU_ASSERT(image_refused(eif_sign(&source, &from, signer, fd, &eif, &pcrs, &err), &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "32"));
	eif_signer_free(signer);
	pair_free(&pair);
	image_free(&image);
	close(fd);
}

/* Loading must fail, in a sentence with this in it. */
static void load_refused(
	const gnutls_datum_t *key, const gnutls_datum_t *certificate, const char *because)
{
	struct eif_signer *signer = NULL;
	struct nefs_error err = { 0 };

	CU_ASSERT_EQUAL(eif_signer_load(key->data, key->size, certificate->data, certificate->size,
				&signer, &err),
		-EINVAL);
	CU_ASSERT_PTR_NULL(signer);
	if (!strstr(err.text, because))
		printf("\n    \"%s\" does not say \"%s\"\n", err.text, because);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, because));
}

static void test_bad_keys(void)
{
	const gnutls_datum_t junk = { (unsigned char *)"junk", 4 };
	const gnutls_datum_t empty = { (unsigned char *)"", 0 };
	gnutls_datum_t encrypted;
	gnutls_x509_privkey_t key;
	struct pair a, b, c, rsa, small;

	pair_make_ec(&a, GNUTLS_ECC_CURVE_SECP256R1);
	pair_make_ec(&b, GNUTLS_ECC_CURVE_SECP256R1);
	pair_make_ec(&c, GNUTLS_ECC_CURVE_SECP384R1);
	pair_make(&rsa, GNUTLS_PK_RSA, 2048, "CN=rsa", time(NULL) - 10, time(NULL) + 1000);
	pair_make(&small, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP224R1),
		"CN=small", time(NULL) - 10, time(NULL) + 1000);
	load_refused(&a.key, &b.certificate, "does not belong");
	load_refused(&a.key, &c.certificate, "does not belong");
	load_refused(&rsa.key, &a.certificate, "does not belong");
	load_refused(&rsa.key, &rsa.certificate, "RSA with 2048 bits");
	load_refused(&small.key, &small.certificate, "P-256, P-384 or P-521");
	load_refused(&junk, &a.certificate, "no private key in PEM");
	load_refused(&empty, &a.certificate, "no private key in PEM");
	load_refused(&a.certificate, &a.certificate, "no private key in PEM");
	load_refused(&a.key, &junk, "no X.509 certificate in PEM");
	load_refused(&a.key, &empty, "no X.509 certificate in PEM");
	load_refused(&a.key, &a.key, "no X.509 certificate in PEM");

	gnutls_x509_privkey_init(&key);
	gnutls_x509_privkey_import(key, &a.key, GNUTLS_X509_FMT_PEM);
	gnutls_x509_privkey_export2_pkcs8(
		key, GNUTLS_X509_FMT_PEM, "secret", GNUTLS_PKCS_PBES2_AES_256, &encrypted);
	load_refused(&encrypted, &a.certificate, "is encrypted");
	gnutls_free(encrypted.data);
	gnutls_x509_privkey_deinit(key);
	pair_free(&a);
	pair_free(&b);
	pair_free(&c);
	pair_free(&rsa);
	pair_free(&small);
}

/* Signs with the pair's key what a signer of its certificate says, as somebody else would: DER. */
static void sign_elsewhere(const struct pair *pair, const struct eif_signer *signer,
	const uint8_t pcr0[EIF_PCR_SIZE], gnutls_digest_algorithm_t hash, gnutls_datum_t *der)
{
	uint8_t text[EIF_TO_SIGN_MAX], digest[EIF_DIGEST_MAX], expected[EIF_DIGEST_MAX];
	const gnutls_datum_t message = { text,
		(unsigned int)eif_signer_message(signer, pcr0, text) };
	gnutls_privkey_t key;
	size_t size = 0;

	CU_ASSERT(message.size > 0);
	CU_ASSERT_EQUAL(eif_signer_digest(signer, pcr0, digest, &size, NULL), 0);
	CU_ASSERT_EQUAL(size, gnutls_hash_get_len(hash));
	CU_ASSERT_EQUAL(gnutls_hash_fast(hash, text, message.size, expected), 0);
	CU_ASSERT_EQUAL(memcmp(digest, expected, size), 0);
	CU_ASSERT_EQUAL_FATAL(gnutls_privkey_init(&key), 0);
	CU_ASSERT_EQUAL_FATAL(
		gnutls_privkey_import_x509_raw(key, &pair->key, GNUTLS_X509_FMT_PEM, NULL, 0), 0);
	CU_ASSERT_EQUAL_FATAL(gnutls_privkey_sign_data(key, hash, 0, &message, der), 0);
	gnutls_privkey_deinit(key);
}

static struct eif_signer *without_key(const struct pair *pair)
{
	const struct eif_algorithm *algorithm;
	struct eif_signer *signer = NULL;
	gnutls_x509_crt_t certificate;

	CU_ASSERT_EQUAL_FATAL(eif_certificate_load(pair->certificate.data, pair->certificate.size,
				      &certificate, &algorithm, NULL),
		0);
	CU_ASSERT_EQUAL_FATAL(eif_signer_new(certificate, &signer, NULL), 0);
	return signer;
}

/* Makes a section around this signature. Returns what eif_signer_sign did, or the refusal before. */
static int attach(const struct pair *pair, const void *signature, size_t size,
	const uint8_t pcr0[EIF_PCR_SIZE], struct nefs_error *err)
{
	struct eif_signer *signer = without_key(pair);
	static struct eif_signature decoded;
	uint8_t *section = NULL;
	size_t section_size;
	int failed;

	nefs_error_clear(err);
	failed = eif_signer_set_signature(signer, signature, size, err);
	if (!failed)
		failed = eif_signer_sign(signer, pcr0, &section, &section_size, err);
	CU_ASSERT_EQUAL(failed ? -err->code : 0, failed);
	if (!failed)
		CU_ASSERT_EQUAL(eif_signature_decode(section, section_size, &decoded, NULL), 0);
	free(section);
	eif_signer_free(signer);
	return failed;
}

/* Signing in two steps, between which somebody else has the key. */
static void test_attached(void)
{
	static const gnutls_digest_algorithm_t hashes[] = { GNUTLS_DIG_SHA256, GNUTLS_DIG_SHA384,
		GNUTLS_DIG_SHA512 };

	for (size_t i = 0; i < CURVES; i++) {
		const size_t half = curves[i].half;
		uint8_t pcr0[EIF_PCR_SIZE] = { 1, 2, 3 }, other_pcr0[EIF_PCR_SIZE] = { 1, 2, 4 };
		uint8_t raw[EIF_RAW_SIGNATURE_MAX + 1] = { 0 };
		struct nefs_error err = { 0 };
		struct eif_signer *signer;
		gnutls_datum_t der, r, s;
		struct pair pair, other;
		size_t skip;

		pair_make_ec(&pair, curves[i].curve);
		pair_make_ec(&other, curves[i].curve);
		signer = without_key(&pair);
		sign_elsewhere(&pair, signer, pcr0, hashes[i], &der);
		CU_ASSERT_EQUAL(gnutls_decode_rs_value(&der, &r, &s), 0);
		skip = r.size > half ? r.size - half : 0;
		memcpy(raw + half - (r.size - skip), r.data + skip, r.size - skip);
		skip = s.size > half ? s.size - half : 0;
		memcpy(raw + 2 * half - (s.size - skip), s.data + skip, s.size - skip);

		CU_ASSERT_EQUAL(attach(&pair, der.data, der.size, pcr0, &err), 0);
		CU_ASSERT_EQUAL(attach(&pair, raw, 2 * half, pcr0, &err), 0);
		/* Another image's, another key's, a damaged one. */
		CU_ASSERT_EQUAL(attach(&pair, der.data, der.size, other_pcr0, &err), -EINVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "or not of this image"));
		CU_ASSERT_EQUAL(attach(&other, raw, 2 * half, pcr0, &err), -EINVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "or not of this image"));
		raw[half] ^= 1;
		CU_ASSERT_EQUAL(attach(&pair, raw, 2 * half, pcr0, &err), -EINVAL);
		/* What is in no form. */
		CU_ASSERT_EQUAL(attach(&pair, raw, 2 * half + 1, pcr0, &err), -EINVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "neither DER nor"));
		CU_ASSERT_EQUAL(attach(&pair, raw, 0, pcr0, &err), -EINVAL);
		CU_ASSERT_EQUAL(attach(&pair, "TUVZ\n", 5, pcr0, &err), -EINVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "base64 -d"));
		gnutls_free(der.data);
		gnutls_free(r.data);
		gnutls_free(s.data);
		eif_signer_free(signer);
		pair_free(&pair);
		pair_free(&other);
	}
}

/* People keep key and certificate in one file: the key must not get into the image. */
static void test_key_stays_out(void)
{
	const uint8_t pcr0[48] = { 0 };
	static struct eif_signature signature;
	struct eif_signer *signer = NULL;
	struct pair pair;
	uint8_t *section;
	char *both;
	size_t size;

	pair_make_ec(&pair, GNUTLS_ECC_CURVE_SECP256R1);
	size = pair.key.size + pair.certificate.size;
	both = malloc(size);
	memcpy(both, pair.key.data, pair.key.size);
	memcpy(both + pair.key.size, pair.certificate.data, pair.certificate.size);
	CU_ASSERT_EQUAL_FATAL(eif_signer_load(both, size, both, size, &signer, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(eif_signer_sign(signer, pcr0, &section, &size, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(eif_signature_decode(section, size, &signature, NULL), 0);
	CU_ASSERT_EQUAL(signature.certificate_size, pair.certificate.size);
	CU_ASSERT_PTR_NULL(memmem(
		signature.certificate, signature.certificate_size, "PRIVATE", strlen("PRIVATE")));
	free(section);
	free(both);
	eif_signer_free(signer);
	pair_free(&pair);
}

static const CU_TestInfo tests[] = {
	{ "P-256, P-384, P-521: sign, verify, PCR8", test_curves },
	{ "the section's bytes", test_section_bytes },
	{ "r and s with leading zeros", test_leading_zeros },
	{ "every bit flipped", test_flipped },
	{ "bits flipped, CRC made to fit", test_flipped_sealed },
	{ "expired and not yet valid", test_dates },
	{ "the first and the last second of a certificate", test_date_edges },
	{ "signing again", test_resign },
	{ "no room for a signature", test_no_room },
	{ "keys and certificates that cannot sign", test_bad_keys },
	{ "a signature that was made elsewhere", test_attached },
	{ "a private key beside the certificate stays out", test_key_stays_out },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("eif_sign", tests, NULL, NULL);
}
