/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the targets share: what must hold, and an input as a list of operands. */
#ifndef NEFS_FUZZ_H
#define NEFS_FUZZ_H

#include <nefs/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What does not hold is a finding, in every build: assert(3) is for those without NDEBUG. */
#define must(holds)                                                                                \
	do {                                                                                       \
		if (!(holds)) {                                                                    \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #holds);        \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* What is left of the input; whatever is missing at its end reads as 0. */
struct input {
	const uint8_t *data;
	size_t size;
};

/* The next bytes as a number, at most 8 of them, the lowest first. */
static inline uint64_t number(struct input *input, size_t bytes)
{
	uint64_t value = 0;
	size_t taken = bytes < input->size ? bytes : input->size;

	memcpy(&value, input->data, taken);
	input->data += taken;
	input->size -= taken;
	return value;
}

/* The next bytes as they are; how many of `most` there were. */
static inline size_t bytes(struct input *input, const uint8_t **data, size_t most)
{
	size_t taken = most < input->size ? most : input->size;

	*data = input->data;
	input->data += taken;
	input->size -= taken;
	return taken;
}

/*
 * These bytes as text, up to a NUL among them, to be freed. Not strndup(3): AddressSanitizer may hold that to a
 * NUL behind them.
 */
static inline char *text_of(const uint8_t *data, size_t size)
{
	char *text = calloc(1, size + 1);

	must(text != NULL);
	if (size)
		memcpy(text, data, size);
	return text;
}

/* A refusal without a sentence, or a success with one, is as wrong as a crash; so is a line that is none. */
static inline void must_tell(int result, const struct nefs_error *err)
{
	must(result <= 0);
	must((result < 0) == (err->text[0] != '\0'));
	must(err->code == -result);
	for (const char *c = err->text; *c; c++)
		must(*c >= ' ' && *c <= '~');
}

#endif
