/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Numbers as people write them, one way for all of nefs: digits and nothing else, or 0x and hexadecimal
 * ones where that is allowed. No sign, no white space, and no leading 0, which to some means octal.
 * Any thread.
 */
#ifndef NEFS_NUMBER_H
#define NEFS_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum number_base {
	NUMBER_DECIMAL,
	NUMBER_HEX_TOO, /* 0x or 0X says so */
};

/*
 * Reads the number that text begins with; at most size bytes are looked at, and none behind a NUL,
 * so that SIZE_MAX stands for "terminated". Returns the bytes that it has; 0 if there is none, and
 * *number is left alone then. One that is too big for *number is all read, too: it gives UINT64_MAX,
 * and *overflow says so.
 */
size_t nefs_number_scan(
	const char *text, size_t size, enum number_base base, uint64_t *number, bool *overflow);

/*
 * Reads text as one number within [min, max]; size as above. Returns 0, -EINVAL if it is none, or
 * -ERANGE; *number is left alone then.
 */
int nefs_number_parse(const char *text, size_t size, enum number_base base, uint64_t min,
	uint64_t max, uint64_t *number);

#endif
