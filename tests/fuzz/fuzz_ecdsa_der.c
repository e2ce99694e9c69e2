/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An ECDSA signature of unknown origin, as DER for each of the curves: what is taken must be in its one
 * form, so that no two texts are the same signature.
 */
#include "ecdsa_der.h"
#include "fuzz.h"
#include <gnutls/crypto.h>

static gnutls_datum_t without_zeros(uint8_t *number, size_t half)
{
	gnutls_datum_t datum = { number, (unsigned int)half };

	for (; datum.size > 1 && datum.data[0] == 0; datum.size--)
		datum.data++;
	return datum;
}

static void decode(const uint8_t *data, size_t size, size_t half)
{
	uint8_t *raw = malloc(2 * half);
	gnutls_datum_t r, s, der;

	if (raw && ecdsa_raw_from_der(data, size, half, raw)) {
		r = without_zeros(raw, half);
		s = without_zeros(raw + half, half);
		must(gnutls_encode_rs_value(&der, &r, &s) >= 0);
		must(der.size == size && memcmp(der.data, data, size) == 0);
		gnutls_free(der.data);
	}
	free(raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	decode(data, size, 32);
	decode(data, size, 48);
	decode(data, size, 66);
	return 0;
}
