/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What people write into control files: sizes, numbers, cpu-lists (docs/interface.md §2).
 *
 * All parsers take one value, already trimmed and NUL-terminated, and change *result only on
 * success. They return 0, -EINVAL (malformed) or -ERANGE, with a sentence. Any thread.
 */
#ifndef NEFS_VALUES_H
#define NEFS_VALUES_H

#include <nefs/error.h>
#include <nefs/ne_limits.h>
#include <stddef.h>
#include <stdint.h>

/* Longest text that a control file takes; more is E2BIG, as in kernfs. */
#define VALUE_MAX 4096

/* Highest CPU number in a cpu-list. */
#define VALUE_CPU_MAX (NE_CPUS_MAX - 1)

/*
 * Copies text without the white space around it into value and terminates it. EINVAL if a NUL
 * byte is inside, E2BIG if it is longer than VALUE_MAX.
 */
int value_trim(const char *text, size_t size, char value[VALUE_MAX + 1], struct nefs_error *err);

/* Decimal or 0x; no sign, no leading 0 (octal is a trap), in [min, max]. */
int value_number(
	const char *value, uint64_t min, uint64_t max, uint64_t *result, struct nefs_error *err);

/* A number of bytes with an optional K, M, G or T (binary, either case), in [min, max]. */
int value_size(
	const char *value, uint64_t min, uint64_t max, uint64_t *result, struct nefs_error *err);

/* A cpu-list such as "2-3,8"; gives its CPUs ascending, each once, malloc'ed. */
int value_cpu_list(const char *value, uint32_t **cpus, size_t *count, struct nefs_error *err);

#endif
