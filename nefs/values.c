/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "values.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <nefs/cleanup.h>
#include <nefs/number.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int value_trim(const char *text, size_t size, char value[VALUE_MAX + 1], struct nefs_error *err)
{
	if (size > VALUE_MAX)
		return nefs_error_set(err, E2BIG, "%zu bytes were written, a value has at most %d",
			size, VALUE_MAX);
	if (memchr(text, '\0', size))
		return nefs_error_set(
			err, EINVAL, "the value contains a NUL byte; write plain text");
	while (size > 0 && isspace((unsigned char)text[size - 1]))
		size--;
	while (size > 0 && isspace((unsigned char)text[0])) {
		text++;
		size--;
	}
	memcpy(value, text, size);
	value[size] = '\0';
	return 0;
}

/* Reads the number at *cursor and moves it behind; says what is too big, as that is ERANGE, not EINVAL. */
static bool scan_number(const char **cursor, uint64_t *number, bool *overflow)
{
	size_t size = nefs_number_scan(*cursor, SIZE_MAX, NUMBER_HEX_TOO, number, overflow);

	*cursor += size;
	return size > 0;
}

static int check_range(const char *value, bool overflow, uint64_t number, uint64_t min,
	uint64_t max, struct nefs_error *err)
{
	if (overflow || number < min || number > max)
		return nefs_error_set(err, ERANGE,
			"'%.40s' is out of range: it may be %" PRIu64 " to %" PRIu64, value, min,
			max);
	return 0;
}

int value_number(
	const char *value, uint64_t min, uint64_t max, uint64_t *result, struct nefs_error *err)
{
	const char *cursor = value;
	uint64_t number;
	bool overflow;
	int failed;

	if (!scan_number(&cursor, &number, &overflow) || *cursor)
		return nefs_error_set(err, EINVAL,
			"'%.40s' is not a number; write it in decimal or as 0x..., without a leading 0",
			value);
	failed = check_range(value, overflow, number, min, max, err);
	if (failed)
		return failed;
	*result = number;
	return 0;
}

int value_size(
	const char *value, uint64_t min, uint64_t max, uint64_t *result, struct nefs_error *err)
{
	static const char suffixes[] = "KMGT";
	const char *cursor = value;
	const char *suffix = NULL;
	uint64_t number;
	bool overflow;
	int failed;

	if (scan_number(&cursor, &number, &overflow) && *cursor) {
		suffix = strchr(suffixes, toupper((unsigned char)*cursor));
		cursor = suffix ? cursor + 1 : value;
	}
	if (cursor == value || *cursor)
		return nefs_error_set(err, EINVAL,
			"'%.40s' is not a size; write bytes, or a whole number with K, M, G or T, such as "
			"512M",
			value);
	if (suffix) {
		unsigned int shift = 10 * (unsigned int)(suffix - suffixes + 1);

		if (number > UINT64_MAX >> shift)
			overflow = true;
		else
			number <<= shift;
	}
	failed = check_range(value, overflow, number, min, max, err);
	if (failed)
		return failed;
	*result = number;
	return 0;
}

/* One "N" or "N-M" at *cursor, marked in the set. */
static int scan_range(const char **cursor, const char *value, uint8_t *set, struct nefs_error *err)
{
	uint64_t first, last;
	bool overflow, overflow_last = false;

	if (!scan_number(cursor, &first, &overflow))
		goto malformed;
	last = first;
	if (**cursor == '-') {
		++*cursor;
		if (!scan_number(cursor, &last, &overflow_last))
			goto malformed;
	}
	if (overflow || overflow_last || first > VALUE_CPU_MAX || last > VALUE_CPU_MAX)
		return nefs_error_set(
			err, ERANGE, "'%.40s' names a CPU above %d", value, VALUE_CPU_MAX);
	if (last < first)
		goto malformed;
	for (uint64_t cpu = first; cpu <= last; cpu++)
		set[cpu] = 1;
	return 0;
malformed:
	return nefs_error_set(err, EINVAL,
		"'%.40s' is not a cpu-list; write CPUs and ranges, such as 2-3,8", value);
}

int value_cpu_list(const char *value, uint32_t **cpus, size_t *count, struct nefs_error *err)
{
	NEFS_AUTO_FREE uint8_t *set = calloc(VALUE_CPU_MAX + 1, 1);
	NEFS_AUTO_FREE uint32_t *list = NULL;
	const char *cursor = value;
	size_t found = 0, used = 0;

	if (!set)
		return nefs_error_set(err, ENOMEM, "out of memory while reading a cpu-list");
	for (;;) {
		int failed = scan_range(&cursor, value, set, err);

		if (failed)
			return failed;
		if (!*cursor)
			break;
		if (*cursor != ',')
			return nefs_error_set(err, EINVAL,
				"'%.40s' is not a cpu-list; write CPUs and ranges, such as 2-3,8",
				value);
		cursor++;
	}
	for (size_t cpu = 0; cpu <= VALUE_CPU_MAX; cpu++)
		found += set[cpu];
	list = calloc(found, sizeof(*list));
	if (!list)
		return nefs_error_set(err, ENOMEM, "out of memory while reading a cpu-list");
	for (size_t cpu = 0; cpu <= VALUE_CPU_MAX; cpu++)
		if (set[cpu])
			list[used++] = (uint32_t)cpu;
	*cpus = nefs_take_ptr(list);
	*count = found;
	return 0;
}
