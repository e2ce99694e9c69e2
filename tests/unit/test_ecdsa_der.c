/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ECDSA signatures in DER: each has one form, GnuTLS's, and nothing else is taken. */
#include "../../backend/eif/ecdsa_der.h"
#include "cunit_main.h"
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

#define HALF_MAX 66

static const size_t halves[] = { 32, 48, 66 };

/* What GnuTLS writes for r|s; its size. */
static size_t encode(const uint8_t *raw, size_t half, uint8_t der[256])
{
	gnutls_datum_t r = { (unsigned char *)raw, (unsigned int)half };
	gnutls_datum_t s = { (unsigned char *)raw + half, (unsigned int)half };
	gnutls_datum_t result;
	size_t size;

	for (; r.size > 1 && r.data[0] == 0; r.size--)
		r.data++;
	for (; s.size > 1 && s.data[0] == 0; s.size--)
		s.data++;
	CU_ASSERT_EQUAL_FATAL(gnutls_encode_rs_value(&result, &r, &s), 0);
	size = result.size;
	CU_ASSERT_FATAL(size <= 256);
	memcpy(der, result.data, size);
	gnutls_free(result.data);
	return size;
}

/* Two numbers, of which each is not 0; zeros: how many bytes of it are 0 in front. */
static void random_raw(uint8_t *raw, size_t half, size_t zeros_r, size_t zeros_s)
{
	CU_ASSERT_EQUAL_FATAL(gnutls_rnd(GNUTLS_RND_NONCE, raw, 2 * half), 0);
	memset(raw, 0, zeros_r);
	memset(raw + half, 0, zeros_s);
	raw[half - 1] |= 1;
	raw[2 * half - 1] |= 1;
}

static void test_round_trip(void)
{
	for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++) {
		const size_t half = halves[i];

		for (size_t zeros = 0; zeros < half; zeros++) {
			uint8_t raw[2 * HALF_MAX], back[2 * HALF_MAX], der[256];
			size_t size;

			random_raw(raw, half, zeros, half - 1 - zeros);
			size = encode(raw, half, der);
			CU_ASSERT(ecdsa_raw_from_der(der, size, half, back));
			CU_ASSERT_EQUAL(memcmp(raw, back, 2 * half), 0);
			/* Neither less nor more. */
			for (size_t cut = 0; cut < size; cut++)
				CU_ASSERT_FALSE(ecdsa_raw_from_der(der, cut, half, back));
			der[size] = 0;
			CU_ASSERT_FALSE(ecdsa_raw_from_der(der, size + 1, half, back));
		}
	}
}

/* Whatever is changed: what is taken is what GnuTLS would have written for the same numbers. */
static void test_changed(void)
{
	for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++) {
		const size_t half = halves[i];
		uint8_t raw[2 * HALF_MAX], back[2 * HALF_MAX], der[256], again[256];
		size_t size, taken = 0;

		random_raw(raw, half, 1, 0);
		size = encode(raw, half, der);
		for (size_t at = 0; at < size; at++) {
			const uint8_t right = der[at];

			for (unsigned int byte = 0; byte <= UINT8_MAX; byte++) {
				der[at] = (uint8_t)byte;
				if (!ecdsa_raw_from_der(der, size, half, back))
					continue;
				taken++;
				CU_ASSERT_EQUAL(encode(back, half, again), size);
				CU_ASSERT_EQUAL(memcmp(der, again, size), 0);
			}
			der[at] = right;
		}
		CU_ASSERT(taken > size);
	}
}

static void test_refused(void)
{
	static const struct {
		size_t size;
		uint8_t der[12];
	} cases[] = {
		{ 0, { 0 } },
		{ 1, { 0x30 } },
		{ 2, { 0x30, 0 } },
		{ 5, { 0x30, 3, 2, 1, 1 } },		    /* one number */
		{ 8, { 0x30, 6, 2, 1, 0, 2, 1, 1 } },	    /* 0 */
		{ 8, { 0x30, 6, 2, 1, 1, 2, 1, 0x80 } },    /* below 0 */
		{ 9, { 0x30, 7, 2, 2, 0, 1, 2, 1, 1 } },    /* a zero too many */
		{ 7, { 0x30, 5, 2, 0, 2, 1, 1 } },	    /* no digits */
		{ 9, { 0x30, 0x81, 6, 2, 1, 1, 2, 1, 1 } }, /* a length that fits the short form */
		{ 10, { 0x30, 0x82, 0, 6, 2, 1, 1, 2, 1, 1 } },
		{ 10, { 0x30, 0x80, 2, 1, 1, 2, 1, 1, 0, 0 } }, /* no length: BER */
		{ 8, { 0x31, 6, 2, 1, 1, 2, 1, 1 } },
		{ 8, { 0x30, 6, 2, 1, 1, 4, 1, 1 } },
		{ 11, { 0x30, 9, 2, 1, 1, 2, 1, 1, 2, 1, 1 } }, /* three */
		{ 8, { 0x30, 7, 2, 1, 1, 2, 1, 1 } },
		{ 8, { 0x30, 6, 2, 1, 1, 2, 2, 1 } },
	};
	uint8_t raw[4], tall[9] = { 0x30, 7, 2, 2, 1, 1, 2, 1, 1 };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		/* A copy as long as it is: a sanitizer sees a read behind it. */
		uint8_t *der = malloc(cases[i].size + !cases[i].size);

		memcpy(der, cases[i].der, cases[i].size);
		CU_ASSERT_FALSE(ecdsa_raw_from_der(der, cases[i].size, 1, raw));
		free(der);
	}
	/* More digits than the curve has. */
	CU_ASSERT_FALSE(ecdsa_raw_from_der(tall, sizeof(tall), 1, raw));
	CU_ASSERT(ecdsa_raw_from_der(tall, sizeof(tall), 2, raw));
}

static const CU_TestInfo tests[] = {
	{ "from r|s to DER and back", test_round_trip },
	{ "each byte changed to each other", test_changed },
	{ "what is no signature in strict DER", test_refused },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("ecdsa_der", tests, NULL, NULL);
}
