/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every PCR is made by, and how its value is written. */
#include "internal.h"
#include <errno.h>
#include <gnutls/crypto.h>
#include <string.h>

int eif_hash_failed(struct nefs_error *err, int code)
{
	return nefs_error_set(err, code == GNUTLS_E_MEMORY_ERROR ? ENOMEM : EIO,
		"cannot compute SHA-384: %s", gnutls_strerror(code));
}

int eif_extend(
	const uint8_t digest[EIF_PCR_SIZE], uint8_t pcr[EIF_PCR_SIZE], struct nefs_error *err)
{
	uint8_t input[2 * EIF_PCR_SIZE] = { 0 };
	int failed;

	memcpy(input + EIF_PCR_SIZE, digest, EIF_PCR_SIZE);
	failed = gnutls_hash_fast(GNUTLS_DIG_SHA384, input, sizeof(input), pcr);
	return failed < 0 ? eif_hash_failed(err, failed) : 0;
}

void eif_hex(char *text, const uint8_t *data, size_t size)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < size; i++) {
		*text++ = digits[data[i] >> 4];
		*text++ = digits[data[i] & 0xf];
	}
	*text = '\0';
}
