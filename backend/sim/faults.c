/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "faults.h"
#include <ctype.h>
#include <errno.h>
#include <nefs/ne_pci.h>
#include <nefs/number.h>
#include <stdio.h>
#include <string.h>

#define WORDS_MAX 5

static const char *const command_names[NE_CMD_MAX] = {
	[NE_CMD_ENCLAVE_START] = "ENCLAVE_START",
	[NE_CMD_ENCLAVE_GET_SLOT] = "ENCLAVE_GET_SLOT",
	[NE_CMD_ENCLAVE_STOP] = "ENCLAVE_STOP",
	[NE_CMD_SLOT_ALLOC] = "SLOT_ALLOC",
	[NE_CMD_SLOT_FREE] = "SLOT_FREE",
	[NE_CMD_SLOT_ADD_MEM] = "SLOT_ADD_MEM",
	[NE_CMD_SLOT_ADD_VCPU] = "SLOT_ADD_VCPU",
	[NE_CMD_SLOT_COUNT] = "SLOT_COUNT",
	[NE_CMD_NEXT_SLOT] = "NEXT_SLOT",
	[NE_CMD_SLOT_INFO] = "SLOT_INFO",
	[NE_CMD_SLOT_ADD_BULK_VCPUS] = "SLOT_ADD_BULK_VCPUS",
};

/* The kinds of rules: their word, and what their value may be. */
static const struct fault_word {
	const char *word;
	const char *value; /* name of the value, NULL if it has none */
	uint32_t lowest;
	uint32_t highest;
} kinds[FAULT_KINDS] = {
	[FAULT_FAIL] = { "fail", "ERRNO", 1, FAULT_ERRNO_MAX },
	[FAULT_DELAY] = { "delay", "MS", 0, FAULT_DELAY_MAX },
	[FAULT_DROP] = { "drop", NULL, 0, 0 },
};

/* A word of a line: not terminated. */
struct word {
	const char *start;
	size_t size;
};

static bool word_is(const struct word *word, const char *text)
{
	return word->size == strlen(text) && memcmp(word->start, text, word->size) == 0;
}

/* Splits a line at white space. Returns the number of words, WORDS_MAX at most. */
static size_t split(const char *line, size_t size, struct word *words)
{
	size_t count = 0;

	for (size_t i = 0; i < size && count < WORDS_MAX; i++) {
		if (isspace((unsigned char)line[i]))
			continue;
		words[count].start = line + i;
		while (i < size && !isspace((unsigned char)line[i]))
			i++;
		words[count].size = (size_t)(line + i - words[count].start);
		count++;
	}
	return count;
}

/* A decimal number, -EINVAL, or -ERANGE outside lowest..highest. */
static int take_number(const struct word *word, const char *what, uint32_t lowest, uint32_t highest,
	unsigned int line, uint32_t *value, struct nefs_error *err)
{
	uint64_t number;
	int failed = nefs_number_parse(
		word->start, word->size, NUMBER_DECIMAL, lowest, highest, &number);

	if (!failed) {
		*value = (uint32_t)number;
		return 0;
	}
	return nefs_error_set(err, -failed,
		"line %u: %s is %.*s; it must be a decimal number from %u to %u", line, what,
		(int)(word->size < 32 ? word->size : 32), word->start, lowest, highest);
}

static int parse_command(
	const struct word *word, unsigned int line, uint32_t *command, struct nefs_error *err)
{
	char names[256] = "";
	size_t used = 0;

	for (uint32_t i = 1; i < NE_CMD_MAX; i++) {
		if (word_is(word, command_names[i])) {
			*command = i;
			return 0;
		}
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
			i > 1 ? ", " : "", command_names[i]);
	}
	return nefs_error_set(err, EINVAL,
		"line %u: %.*s is no command of the device; write one of %s, or event", line,
		(int)(word->size < 32 ? word->size : 32), word->start, names);
}

static int parse_rule(const struct word *words, size_t count, unsigned int line,
	struct fault_rule *rule, struct nefs_error *err)
{
	const struct fault_word *kind = NULL;
	size_t at = 2;
	int failed;

	failed = parse_command(&words[0], line, &rule->command, err);
	if (failed)
		return failed;
	for (int i = 0; count > 1 && i < FAULT_KINDS; i++) {
		if (word_is(&words[1], kinds[i].word)) {
			rule->kind = (enum fault_kind)i;
			kind = &kinds[i];
		}
	}
	if (!kind)
		return nefs_error_set(err, EINVAL,
			"line %u: a command must be followed by fail ERRNO, delay MS or drop, and "
			"then, if it is not to last, by a count",
			line);
	if (kind->value) {
		if (count <= at)
			return nefs_error_set(err, EINVAL,
				"line %u: %s lacks its %s, a number from %u to %u", line,
				kind->word, kind->value, kind->lowest, kind->highest);
		failed = take_number(&words[at++], kind->value, kind->lowest, kind->highest, line,
			&rule->value, err);
		if (failed)
			return failed;
	}
	rule->forever = count <= at;
	if (!rule->forever) {
		failed = take_number(
			&words[at++], "the count", 1, FAULT_COUNT_MAX, line, &rule->left, err);
		if (failed)
			return failed;
	}
	if (count > at)
		return nefs_error_set(
			err, EINVAL, "line %u: there is something behind the count", line);
	return 0;
}

/* Reads one line into the plan. */
static int parse_line(const char *text, size_t size, unsigned int line, struct fault_plan *plan,
	unsigned int *spurious, struct nefs_error *err)
{
	struct word words[WORDS_MAX];
	size_t count = split(text, size, words);
	int failed;

	if (count == 0)
		return 0;
	if (word_is(&words[0], "event")) {
		if (count != 2 || !word_is(&words[1], "spurious"))
			return nefs_error_set(err, EINVAL,
				"line %u: an event can only be spurious: write event spurious",
				line);
		++*spurious;
		return 0;
	}
	if (plan->count == FAULT_RULES_MAX)
		return nefs_error_set(err, E2BIG, "line %u: a fault plan has at most %d rules",
			line, FAULT_RULES_MAX);
	plan->rules[plan->count] = (struct fault_rule){ 0 };
	failed = parse_rule(words, count, line, &plan->rules[plan->count], err);
	if (!failed)
		plan->count++;
	return failed;
}

int fault_plan_parse(const char *text, size_t size, struct fault_plan *result,
	unsigned int *result_spurious, struct nefs_error *err)
{
	struct fault_plan plan = { 0 };
	unsigned int spurious = 0;
	unsigned int line = 0;

	if (size > FAULT_TEXT_MAX)
		return nefs_error_set(err, E2BIG,
			"the fault plan has %zu bytes; it may have at most %d", size,
			FAULT_TEXT_MAX);
	while (size > 0) {
		const char *end = memchr(text, '\n', size);
		size_t length = end ? (size_t)(end - text) : size;
		int failed = parse_line(text, length, ++line, &plan, &spurious, err);

		if (failed)
			return failed;
		if (end)
			length++;
		text += length;
		size -= length;
	}
	*result = plan;
	*result_spurious = spurious;
	return 0;
}

struct fault_effect fault_plan_strike(struct fault_plan *plan, uint32_t command)
{
	struct fault_effect effect = { 0 };
	bool struck[FAULT_KINDS] = { false };

	for (size_t i = 0; i < plan->count; i++) {
		struct fault_rule *rule = &plan->rules[i];

		if (rule->command != command || struck[rule->kind] ||
			(!rule->forever && rule->left == 0))
			continue;
		struck[rule->kind] = true;
		if (!rule->forever)
			rule->left--;
		switch (rule->kind) {
		case FAULT_FAIL:
			effect.fail = (int)rule->value;
			break;
		case FAULT_DELAY:
			effect.delay_ms = rule->value;
			break;
		default:
			effect.drop = true;
			break;
		}
	}
	return effect;
}
