/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signature sections of people who mean harm. */
#include "build.h"
#include "cbor_cursor.h"
#include "cbor_writer.h"
#include "eif_image.h"
#include "eif_keys.h"
#include <malloc.h>
#include <sys/resource.h>

/* What a section is made of; each part can be left as it is or replaced. */
struct forgery {
	const uint8_t *certificate;
	size_t certificate_size;
	const uint8_t *cose;
	size_t cose_size;
};

static struct eif_signature decoded; /* too large for a stack frame */

/* Decodes a copy that ends where the bytes end. */
static int decode(const uint8_t *bytes, size_t size, struct nefs_error *err)
{
	uint8_t *exact = malloc(size > 0 ? size : 1);
	int result;

	memcpy(exact, bytes, size);
	result = eif_signature_decode(exact, size, &decoded, err);
	free(exact);
	return result;
}

static void decode_refused(const uint8_t *bytes, size_t size)
{
	struct nefs_error err = { 0 };

	CU_ASSERT_EQUAL(decode(bytes, size, &err), -EINVAL);
	CU_ASSERT_EQUAL(err.code, EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "signature section"));
}

/* A good section, and its parts in `decoded`. The caller frees it. */
static uint8_t *make_section(gnutls_ecc_curve_t curve, size_t *size)
{
	const uint8_t pcr0[EIF_PCR_SIZE] = { 1, 2, 3 };
	struct eif_signer *signer = NULL;
	uint8_t *section = NULL;
	struct pair pair;

	pair_make_ec(&pair, curve);
	CU_ASSERT_EQUAL_FATAL(eif_signer_load(pair.key.data, pair.key.size, pair.certificate.data,
				      pair.certificate.size, &signer, NULL),
		0);
	CU_ASSERT_EQUAL_FATAL(eif_signer_sign(signer, pcr0, &section, size, NULL), 0);
	eif_signer_free(signer);
	pair_free(&pair);
	CU_ASSERT_EQUAL_FATAL(decode(section, *size, NULL), 0);
	return section;
}

static size_t forge(const struct forgery *forgery, uint8_t *buffer, size_t room)
{
	struct cbor_writer writer = { .buffer = buffer, .room = room };

	cbor_write_array(&writer, 1);
	cbor_write_map(&writer, 2);
	cbor_write_text(&writer, "signing_certificate");
	cbor_write_byte_array(&writer, forgery->certificate, forgery->certificate_size);
	cbor_write_text(&writer, "signature");
	cbor_write_byte_array(&writer, forgery->cose, forgery->cose_size);
	CU_ASSERT_FALSE_FATAL(writer.overflow);
	return writer.used;
}

static void test_truncated(void)
{
	uint8_t *section;
	size_t size;

	section = make_section(GNUTLS_ECC_CURVE_SECP256R1, &size);
	for (size_t cut = 0; cut < size; cut++)
		decode_refused(section, cut);
	/* And one byte too many. */
	section = realloc(section, size + 1);
	section[size] = 0;
	decode_refused(section, size + 1);
	free(section);
}

#define BYTES(literal)                                                                             \
	{                                                                                          \
		(const uint8_t *)(literal), sizeof(literal) - 1                                    \
	}

static void test_shapes(void)
{
	static const struct {
		const uint8_t *bytes;
		size_t size;
	} cases[] = {
		BYTES(""),
		BYTES("\x00"),
		BYTES("\x80"), /* [] */
		BYTES("\xa0"),
		BYTES("\xf6"),
		BYTES("\xff"),
		BYTES("\x81\xa0"),     /* [{}] */
		BYTES("\x81\x80"),     /* [[]] */
		BYTES("\x81\xa1\x00"), /* a key that is no text */
		BYTES("\x81\xa1\x00\x00"),
		BYTES("\x81\xa1\x69signature\x80"),
		BYTES("\x81\xa2\x73signing_certificate\x80\x69signature\x80"),
		BYTES("\x81\xa2\x73signing_certificate\x80\x73signing_certificate\x80"),
		BYTES("\x81\xa2\x69signature\x80\x69signature\x80"),
		BYTES("\x81\xa2\x73signing_certificate\x40\x69signature\x40"), /* byte strings */
		BYTES("\x81\xa2\x73signing_certificate\x81\x20\x69signature\x80"),	   /* -1 */
		BYTES("\x81\xa2\x73signing_certificate\x81\x19\x01\x00\x69signature\x80"), /* 256 */
		BYTES("\x81\xa2\x73signing_certificate\x81\x1b\x01\0\0\0\0\0\0\0\x69signature\x80"),
		BYTES("\x81\xa2\x73signing_certificate\x9f\xff\x69signature\x80"), /* indefinite */
		BYTES("\x9f\xff"),
		BYTES("\xbf\xff"),
		BYTES("\x5f\xff"),
		BYTES("\x7f\xff"),
		/* Counts and lengths that nobody has memory for. */
		BYTES("\x9b\xff\xff\xff\xff\xff\xff\xff\xff"),
		BYTES("\x9b\x7f\xff\xff\xff\xff\xff\xff\xff\x00"),
		BYTES("\x9a\xff\xff\xff\xff\x00"),
		BYTES("\x81\xbb\xff\xff\xff\xff\xff\xff\xff\xff"),
		BYTES("\x81\xbb\x80\x00\x00\x00\x00\x00\x00\x00"),
		BYTES("\x81\xbb\x80\x00\x00\x00\x00\x00\x00\x01\x00"),
		BYTES("\x81\xa1\x7b\xff\xff\xff\xff\xff\xff\xff\xff"),
		BYTES("\x81\xa1\x7b\xff\xff\xff\xff\xff\xff\xff\xf0\x00"),
		BYTES("\x81\xa1\x5b\x00\x00\x00\xff\xff\xff\xff\xff"),
		BYTES("\x81\xa2\x73signing_certificate\x9b\x00\x00\x00\x10\x00\x00\x00\x00"),
		BYTES("\x81\xa2\x73signing_certificate\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x00"),
		/* Reserved additional information. */
		BYTES("\x1c"),
		BYTES("\x9c"),
		BYTES("\xfc"),
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		decode_refused(cases[i].bytes, cases[i].size);
}

/* Nesting that would end a recursive decoder's stack, and claims that would end the memory. */
static void test_bombs(void)
{
	static const uint8_t heads[] = { 0x81, 0xa1, 0xc1, 0x9f, 0xbf, 0x5f, 0x7f, 0xd8, 0x82 };
	uint8_t *bomb = malloc(EIF_SIGNATURE_MAX);
	struct mallinfo2 before = mallinfo2();

	for (size_t i = 0; i < sizeof(heads); i++) {
		memset(bomb, heads[i], EIF_SIGNATURE_MAX);
		decode_refused(bomb, EIF_SIGNATURE_MAX);
	}
	/* The same as a second entry, which is only skipped: that must not be slow either. */
	for (size_t i = 0; i < sizeof(heads); i++) {
		size_t size;
		uint8_t *section = make_section(GNUTLS_ECC_CURVE_SECP256R1, &size);

		memcpy(bomb, section, size);
		memset(bomb + size, heads[i], EIF_SIGNATURE_MAX - size);
		bomb[0] = 0x82;
		decode_refused(bomb, EIF_SIGNATURE_MAX);
		free(section);
	}
	/* 32767 zeros, each an item, in an array of 10 arrays...: more counts than bytes. */
	memset(bomb, 0x9a, EIF_SIGNATURE_MAX);
	decode_refused(bomb, EIF_SIGNATURE_MAX);
	CU_ASSERT(mallinfo2().uordblks <= before.uordblks + 65536);
	free(bomb);
}

static void test_later_entries(void)
{
	static const struct {
		const uint8_t *bytes;
		size_t size;
	} good[] = {
		BYTES("\x00"),
		BYTES("\xf6"),
		BYTES("\x82\xa1\x01\x02\x43xyz"),
		BYTES("\xc1\xc2\x20"),
		BYTES("\xfb\0\0\0\0\0\0\0\0"),
		BYTES("\xf5"),
		BYTES("\xf9\x3c\x00"),
		BYTES("\x3b\xff\xff\xff\xff\xff\xff\xff\xff"),
	};
	size_t size;
	uint8_t *section = make_section(GNUTLS_ECC_CURVE_SECP256R1, &size);

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		uint8_t *two = malloc(size + good[i].size);

		memcpy(two, section, size);
		memcpy(two + size, good[i].bytes, good[i].size);
		two[0] = 0x82;
		CU_ASSERT_EQUAL(decode(two, size + good[i].size, NULL), 0);
		/* One item fewer than there are said to be, and one more. */
		decode_refused(two, size + good[i].size - 1);
		two[0] = 0x81;
		decode_refused(two, size + good[i].size);
		free(two);
	}
	free(section);
}

/* Counts that are 0 again when they are added up in 64 bits. */
static void test_wrapping_counts(void)
{
	static const struct {
		const uint8_t *bytes;
		size_t size;
	} cases[] = {
		BYTES("\xbb\x80\x00\x00\x00\x00\x00\x00\x00"),	   /* 2^63 pairs */
		BYTES("\x82\x9b\xff\xff\xff\xff\xff\xff\xff\xff"), /* 1 and 2^64 - 1 items */
		BYTES("\x9b\xff\xff\xff\xff\xff\xff\xff\xff"),
	};
	size_t size;
	uint8_t *section = make_section(GNUTLS_ECC_CURVE_SECP256R1, &size);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *two = malloc(size + cases[i].size);

		memcpy(two, section, size);
		memcpy(two + size, cases[i].bytes, cases[i].size);
		two[0] = 0x82;
		decode_refused(two, size + cases[i].size);
		free(two);
	}
	free(section);
}

/* A byte value with bits above the byte. */
static void test_byte_values(void)
{
	/* Where the PEM's first character stands: [{"signing_certificate": [ with its length */
	const size_t at = 25;
	size_t size;
	uint8_t *section = make_section(GNUTLS_ECC_CURVE_SECP256R1, &size);
	uint8_t *wide = malloc(size + 1);

	CU_ASSERT_EQUAL_FATAL(memcmp(section + at, "\x18-\x18-", 4), 0);
	memcpy(wide, section, at);
	memcpy(wide + at, "\x19\x00-", 3);
	memcpy(wide + at + 3, section + at + 2, size - at - 2);
	CU_ASSERT_EQUAL(decode(wide, size + 1, NULL), 0);
	wide[at + 1] = 1;
	decode_refused(wide, size + 1);
	free(wide);
	free(section);
}

/* COSE_Sign1 in other shapes. */
static void test_cose(void)
{
	static const struct {
		const uint8_t *bytes;
		size_t size;
	} bad[] = {
		BYTES(""),
		BYTES("\xd2"),
		BYTES("\xd2\xd2\x84\x43\xa1\x01\x26\xa0\x40\x40"), /* two tags */
		BYTES("\xd1\x84\x43\xa1\x01\x26\xa0\x40\x40"),	   /* another tag */
		BYTES("\x83\x43\xa1\x01\x26\xa0\x40"),
		BYTES("\x85\x43\xa1\x01\x26\xa0\x40\x40\x40"),
		BYTES("\x84\x63\xa1\x01\x26\xa0\x40\x40"),	   /* text for bytes */
		BYTES("\x84\x43\xa1\x01\x26\x80\x40\x40"),	   /* unprotected: an array */
		BYTES("\x84\x43\xa1\x01\x26\xa1\x01\x02\x40\x40"), /* unprotected: not empty */
		BYTES("\x84\x43\xa1\x01\x26\xa0\xf6\x40"),	   /* detached payload */
		BYTES("\x84\x43\xa1\x01\x26\xa0\x40\xf6"),
		BYTES("\x84\x43\xa1\x01\x26\xa0\x40\x40\x00"),	   /* something behind it */
		BYTES("\x84\x40\xa0\x40\x40"),			   /* protected: nothing */
		BYTES("\x84\x41\xa0\xa0\x40\x40"),		   /* protected: {} */
		BYTES("\x84\x43\xa0\x01\x26\xa0\x40\x40"),	   /* {}, then 1: -7 */
		BYTES("\x84\x43\xa2\x01\x26\xa0\x40\x40"),	   /* fewer than it says */
		BYTES("\x84\x43\xa1\x02\x26\xa0\x40\x40"),	   /* {2: -7} */
		BYTES("\x84\x43\xa1\x01\x07\xa0\x40\x40"),	   /* {1: 7} */
		BYTES("\x84\x43\xa1\x01\x27\xa0\x40\x40"),	   /* {1: -8}, EdDSA */
		BYTES("\x84\x44\xa1\x01\x38\x24\xa0\x40\x40"),	   /* {1: -37}, PS256 */
		BYTES("\x84\x44\xa1\x01\x26\x00\xa0\x40\x40"),	   /* something behind {1: -7} */
		BYTES("\x84\x45\xa2\x01\x26\x01\x26\xa0\x40\x40"), /* twice */
		BYTES("\x84\x4b\xa1\x01\x3b\xff\xff\xff\xff\xff\xff\xff\xff\xa0\x40\x40"),
		BYTES("\x84\x4b\xa1\x01\x3b\x80\x00\x00\x00\x00\x00\x00\x06\xa0\x40\x40"),
		BYTES("\x84\x5b\xff\xff\xff\xff\xff\xff\xff\xff\xa1\x01\x26\xa0\x40\x40"),
		BYTES("\x84\x43\xa1\x01\x26\xa0\x40\x5a\xff\xff\xff\xff\x00"),
	};
	static const uint8_t minimal[] = "\xd2\x84\x43\xa1\x01\x26\xa0\x40\x40";
	static uint8_t buffer[EIF_SIGNATURE_MAX];
	struct forgery forgery = { .certificate = (const uint8_t *)"x", .certificate_size = 1 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		forgery.cose = bad[i].bytes;
		forgery.cose_size = bad[i].size;
		decode_refused(buffer, forge(&forgery, buffer, sizeof(buffer)));
	}
	/* The smallest that is one; its tag is tolerated. */
	forgery.cose = minimal;
	forgery.cose_size = sizeof(minimal) - 1;
	CU_ASSERT_EQUAL_FATAL(decode(buffer, forge(&forgery, buffer, sizeof(buffer)), NULL), 0);
	CU_ASSERT_EQUAL(decoded.raw_size, 0);
	CU_ASSERT_EQUAL(decoded.payload_size, 0);
	CU_ASSERT_STRING_EQUAL(decoded.algorithm->name, "ES256");
}

/* Keys in the other order. */
static void test_key_order(void)
{
	static uint8_t buffer[EIF_SIGNATURE_MAX];
	static uint8_t certificate[EIF_SIGNATURE_MAX], cose[EIF_SIGNATURE_MAX];
	struct cbor_writer writer = { .buffer = buffer, .room = sizeof(buffer) };
	size_t size, certificate_size, cose_size;
	uint8_t *section = make_section(GNUTLS_ECC_CURVE_SECP384R1, &size);

	certificate_size = decoded.certificate_size;
	cose_size = decoded.cose_size;
	memcpy(certificate, decoded.certificate, certificate_size);
	memcpy(cose, decoded.cose, cose_size);
	cbor_write_array(&writer, 1);
	cbor_write_map(&writer, 2);
	cbor_write_text(&writer, "signature");
	cbor_write_byte_array(&writer, cose, cose_size);
	cbor_write_text(&writer, "signing_certificate");
	cbor_write_byte_array(&writer, certificate, certificate_size);
	CU_ASSERT_EQUAL(decode(buffer, writer.used, NULL), 0);
	CU_ASSERT_EQUAL(decoded.certificate_size, certificate_size);
	CU_ASSERT_EQUAL(memcmp(decoded.certificate, certificate, certificate_size), 0);
	free(section);
}

/* A certificate with another curve than the signature's algorithm. */
static void test_other_curve(void)
{
	const uint8_t pcr0[EIF_PCR_SIZE] = { 1, 2, 3 };
	const struct eif_algorithm *algorithm;
	gnutls_x509_crt_t certificate;
	struct nefs_error err = { 0 };
	struct pair pair;
	uint8_t *section;
	size_t size;

	section = make_section(GNUTLS_ECC_CURVE_SECP256R1, &size);
	pair_make_ec(&pair, GNUTLS_ECC_CURVE_SECP384R1);
	CU_ASSERT_EQUAL_FATAL(eif_certificate_load(pair.certificate.data, pair.certificate.size,
				      &certificate, &algorithm, NULL),
		0);
	CU_ASSERT(image_refused(
		eif_signature_verify(&decoded, certificate, algorithm, pcr0, time(NULL), &err),
		&err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "P-256"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "P-384"));
	gnutls_x509_crt_deinit(certificate);
	pair_free(&pair);

	/* The same curve, another key. */
	pair_make_ec(&pair, GNUTLS_ECC_CURVE_SECP256R1);
	CU_ASSERT_EQUAL_FATAL(eif_certificate_load(pair.certificate.data, pair.certificate.size,
				      &certificate, &algorithm, NULL),
		0);
	CU_ASSERT_EQUAL(
		eif_signature_verify(&decoded, certificate, algorithm, pcr0, time(NULL), &err),
		-EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "not made with its certificate's key"));

	/* A signature cut by a byte, an empty one, and one of zeros. */
	decoded.raw_size--;
	CU_ASSERT(image_refused(
		eif_signature_verify(&decoded, certificate, algorithm, pcr0, time(NULL), &err),
		&err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "63 bytes; it must have 64"));
	decoded.raw_size = 0;
	CU_ASSERT_EQUAL(
		eif_signature_verify(&decoded, certificate, algorithm, pcr0, time(NULL), &err),
		-EINVAL);
	decoded.raw_size = 64;
	decoded.raw = (const uint8_t[64]){ 0 };
	CU_ASSERT_EQUAL(
		eif_signature_verify(&decoded, certificate, algorithm, pcr0, time(NULL), &err),
		-EINVAL);
	gnutls_x509_crt_deinit(certificate);
	pair_free(&pair);
	free(section);
}

/* Random damage: refused or decoded, never worse. Fixed seed: a failure can be repeated. */
static void test_random(void)
{
	uint8_t *section, *damaged;
	unsigned int refused = 0;
	unsigned short seed[3] = { 1, 2, 3 };
	size_t size;

	section = make_section(GNUTLS_ECC_CURVE_SECP256R1, &size);
	damaged = malloc(size);
	for (unsigned int round = 0; round < 20000; round++) {
		struct nefs_error err = { 0 };
		unsigned int changes = 1 + (unsigned int)nrand48(seed) % 8;
		int result;

		memcpy(damaged, section, size);
		for (unsigned int i = 0; i < changes; i++)
			damaged[(size_t)nrand48(seed) % size] = (uint8_t)nrand48(seed);
		result = decode(damaged, size, &err);
		if (result) {
			CU_ASSERT_EQUAL(result, -EINVAL);
			CU_ASSERT_NOT_EQUAL(err.text[0], 0);
			refused++;
		}
	}
	CU_ASSERT(refused > 10000);
	free(damaged);
	free(section);
}

/* A decodable section around a certificate that is none: no PCR8, no description. */
static void test_measure_refuses(void)
{
	static uint8_t buffer[EIF_SIGNATURE_MAX];
	const struct forgery forgery = {
		.certificate = (const uint8_t *)"-----BEGIN CERTIFICATE-----\nAAAA\n",
		.certificate_size = 33,
		.cose = (const uint8_t *)"\x84\x43\xa1\x01\x26\xa0\x40\x40",
		.cose_size = 8,
	};
	struct nefs_error err = { 0 };
	struct eif_source source;
	struct eif_pcrs pcrs;
	struct image image;
	struct eif eif;
	char *json = NULL;

	image_vector3(&image);
	image_add(&image, EIF_SIGNATURE, buffer, forge(&forgery, buffer, sizeof(buffer)));
	image_end(&image);
	eif_source_memory(&source, image.bytes, image.size);
	CU_ASSERT_EQUAL_FATAL(eif_read(&source, &eif, &err), 0);
	CU_ASSERT(image_refused(eif_read_measured(&source, &eif, &pcrs, &err), &err));
	CU_ASSERT_FALSE(pcrs.has_pcr8);
	CU_ASSERT_EQUAL(eif_describe(&source, &eif, &pcrs, &json, &err), -EINVAL);
	CU_ASSERT_PTR_NULL(json);
	CU_ASSERT_EQUAL(eif_verify(&source, &eif, &pcrs, &err), -EINVAL);
	image_free(&image);
}

static void test_writer(void)
{
	uint8_t buffer[8];
	struct cbor_writer writer = { .buffer = buffer, .room = sizeof(buffer) };

	cbor_write_text(&writer, "seven");
	CU_ASSERT_FALSE(writer.overflow);
	CU_ASSERT_EQUAL(writer.used, 6);
	cbor_write_bytes(&writer, buffer, 2);
	CU_ASSERT_TRUE(writer.overflow);
	/* It stays so, even if something small would fit. */
	cbor_write_uint(&writer, 0);
	CU_ASSERT_TRUE(writer.overflow);

	writer = (struct cbor_writer){ .buffer = buffer, .room = sizeof(buffer) };
	cbor_write_negative(&writer, -7);
	cbor_write_negative(&writer, -36);
	CU_ASSERT_EQUAL(writer.used, 3);
	CU_ASSERT_EQUAL(memcmp(buffer, "\x26\x38\x23", 3), 0);
}

static const CU_TestInfo tests[] = {
	{ "truncated at every length", test_truncated },
	{ "wrong shapes and huge claims", test_shapes },
	{ "nesting and size bombs", test_bombs },
	{ "later entries are skipped", test_later_entries },
	{ "counts that wrap", test_wrapping_counts },
	{ "byte values over 255", test_byte_values },
	{ "COSE_Sign1 in wrong shapes", test_cose },
	{ "the keys in any order", test_key_order },
	{ "another curve, another key, another length", test_other_curve },
	{ "random damage", test_random },
	{ "a certificate that is none", test_measure_refuses },
	{ "the writer's end", test_writer },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	/* Whoever allocates what CBOR claims fails here. ASan needs its shadow, and checks itself. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	const struct rlimit limit = { 256UL << 20, 256UL << 20 };

	if (setrlimit(RLIMIT_AS, &limit) < 0)
		return EXIT_FAILURE;
#endif
	return cunit_run("eif_cbor", tests, NULL, NULL);
}
