/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What people write into control files. The first byte says which setting, the rest is the text. What the
 * parsers make of it is compared with a second reading by strtoull(3), the text with what is read back.
 */
#include "fuzz.h"
#include "settings.h"
#include "values.h"
#include <ctype.h>
#include <errno.h>
#include <nefs/ne_limits.h>

/* A number at the beginning, as far as it goes; false if there is none. */
static bool read_number(const char **at, uint64_t *number, bool *too_big)
{
	char *end;

	if (!isdigit((unsigned char)(*at)[0]) ||
		((*at)[0] == '0' && isdigit((unsigned char)(*at)[1])))
		return false;
	errno = 0;
	*number = strtoull(*at, &end, 0);
	*too_big = errno == ERANGE;
	/* Of "0x" and no digit it would take the 0. */
	if (end == *at + 1 && (*at)[0] == '0' && tolower((unsigned char)*end) == 'x')
		return false;
	*at = end;
	return true;
}

/* The errno that is right for one number in a range, and the number. */
static int right_number(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
	bool too_big;

	if (!read_number(&text, number, &too_big) || *text)
		return EINVAL;
	return too_big || *number < min || *number > max ? ERANGE : 0;
}

static int right_memory(const char *text, uint64_t *number)
{
	static const char suffixes[] = "kmgt";
	bool too_big;

	if (!read_number(&text, number, &too_big))
		return EINVAL;
	if (*text) {
		const char *suffix = strchr(suffixes, tolower((unsigned char)*text));

		if (!suffix || text[1])
			return EINVAL;
		for (const char *c = suffixes; c <= suffix; c++)
			too_big |= __builtin_mul_overflow(*number, 1024, number);
	}
	if (too_big || *number < NE_MEMORY_MIN)
		return ERANGE;
	return *number % NE_MEMORY_UNIT ? EINVAL : 0;
}

/* The list's CPUs as a set. */
static int right_list(const char *text, bool set[VALUE_CPU_MAX + 1])
{
	for (;; text++) {
		uint64_t first, last;
		bool too_big, too_big_last = false;

		if (!read_number(&text, &first, &too_big))
			return EINVAL;
		last = first;
		if (*text == '-') {
			text++;
			if (!read_number(&text, &last, &too_big_last))
				return EINVAL;
		}
		if (too_big || too_big_last || first > VALUE_CPU_MAX || last > VALUE_CPU_MAX)
			return ERANGE;
		if (last < first || (*text && *text != ','))
			return EINVAL;
		for (uint64_t cpu = first; cpu <= last; cpu++)
			set[cpu] = true;
		if (!*text)
			return 0;
	}
}

static void check_list(int code, const char *text, const struct setting_value *value)
{
	static bool set[VALUE_CPU_MAX + 1];
	size_t count = 0;

	memset(set, 0, sizeof(set));
	must((*text ? right_list(text, set) : 0) == code);
	if (code)
		return;
	for (uint32_t cpu = 0; cpu <= VALUE_CPU_MAX; cpu++)
		if (set[cpu])
			must(count < value->cpu_count && value->cpus[count++] == cpu);
	must(count == value->cpu_count);
}

static void check_value(
	enum setting setting, int code, const char *text, const struct setting_value *value)
{
	uint64_t number = 0;
	int right = 0;

	switch (setting) {
	case SETTING_MEMORY:
		right = right_memory(text, &number);
		break;
	case SETTING_VCPUS:
		right = right_number(text, 1, NE_CPUS_MAX, &number);
		break;
	case SETTING_CID:
		right = right_number(text, 0, NE_CID_LAST, &number);
		if (!right && number && number < NE_CID_FIRST)
			right = ERANGE;
		break;
	case SETTING_DEBUG:
		right = right_number(text, 0, 1, &number);
		break;
	case SETTING_BOOT_TIMEOUT:
		right = right_number(text, 0, UINT32_MAX / 1000, &number);
		break;
	default:
		check_list(code, text, value);
		return;
	}
	must(right == code);
	must(code || (value->number == number && !value->cpu_count));
}

/* What a file of it reads as, and what a start would copy. */
static void keep(enum setting setting, struct setting_value *value, const void *text, size_t size)
{
	struct settings settings = { 0 }, copy = { 0 };
	char *shown = NULL;
	size_t shown_size;
	FILE *out = open_memstream(&shown, &shown_size);

	must(out);
	settings_take(&settings, setting, value);
	must(!value->text && !value->cpus);
	settings_show(&settings, setting, out);
	must(fclose(out) == 0);
	must(shown_size == size && memcmp(shown, text, size) == 0);
	must(settings_copy(&copy, &settings) == 0);
	must(setting_equal(&copy.values[setting], &settings.values[setting]));
	free(shown);
	settings_release(&copy);
	settings_release(&settings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	const enum setting setting = (enum setting)(number(&input, 1) % SETTINGS);
	const char *text = (const char *)input.data;
	struct setting_value value;
	struct nefs_error err = { 0 };
	char trimmed[VALUE_MAX + 1];
	int result = setting_parse(setting, text, input.size, &value, &err);

	must_tell(result, &err);
	must(result || value.size == input.size);
	if (input.size > VALUE_MAX) {
		must(result == -E2BIG);
	} else if (memchr(text, '\0', input.size)) {
		must(result == -EINVAL);
	} else {
		size_t begin = 0, end = input.size;

		for (; begin < end && strchr(" \t\n\v\f\r", text[begin]); begin++)
			continue;
		for (; end > begin && strchr(" \t\n\v\f\r", text[end - 1]); end--)
			continue;
		memcpy(trimmed, text + begin, end - begin);
		trimmed[end - begin] = '\0';
		check_value(setting, -result, trimmed, &value);
	}
	if (result == 0)
		keep(setting, &value, text, input.size);
	else
		must(!value.text && !value.cpus);
	return 0;
}
