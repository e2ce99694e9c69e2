/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <nefs/number.h>

/* The digit's value, or 16 if it is none. Without <ctype.h>: locales have no say in it. */
static unsigned int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned int)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned int)(c - 'a') + 10;
	if (c >= 'A' && c <= 'F')
		return (unsigned int)(c - 'A') + 10;
	return 16;
}

size_t nefs_number_scan(
	const char *text, size_t size, enum number_base base, uint64_t *number, bool *overflow)
{
	unsigned int radix = 10;
	size_t at = 0, first;
	uint64_t sum = 0;
	bool too_big = false;

	if (size >= 2 && text[0] == '0') {
		if (base == NUMBER_HEX_TOO && (text[1] == 'x' || text[1] == 'X')) {
			radix = 16;
			at = 2;
		} else if (digit_of(text[1]) < 10) {
			return 0;
		}
	}
	first = at;
	for (; at < size && digit_of(text[at]) < radix; at++) {
		unsigned int digit = digit_of(text[at]);

		if (sum > (UINT64_MAX - digit) / radix)
			too_big = true;
		else
			sum = sum * radix + digit;
	}
	if (at == first)
		return 0;
	*number = too_big ? UINT64_MAX : sum;
	*overflow = too_big;
	return at;
}

int nefs_number_parse(const char *text, size_t size, enum number_base base, uint64_t min,
	uint64_t max, uint64_t *number)
{
	uint64_t value;
	bool overflow;
	size_t read = nefs_number_scan(text, size, base, &value, &overflow);

	if (read == 0 || (read < size && text[read]))
		return -EINVAL;
	if (overflow || value < min || value > max)
		return -ERANGE;
	*number = value;
	return 0;
}
