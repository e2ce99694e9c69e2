/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two forms of an ECDSA signature: SEQUENCE { INTEGER r, INTEGER s } in DER, and r|s. */
#ifndef NEFS_EIF_ECDSA_DER_H
#define NEFS_EIF_ECDSA_DER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Turns DER into r|s, each number right-aligned in half bytes: raw must hold twice that. Only strict
 * DER is taken, and numbers above zero; false, with raw undefined, for all else.
 */
bool ecdsa_raw_from_der(const uint8_t *der, size_t size, size_t half, uint8_t *raw);

#endif
