/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "settings.h"
#include "values.h"
#include <errno.h>
#include <inttypes.h>
#include <nefs/ne_limits.h>
#include <stdlib.h>
#include <string.h>

/* How a setting is read. */
struct setting_kind {
	const char *unset; /* what its file reads as until it is written */
	uint64_t min, max; /* of a number */
	int (*parse)(const struct setting_kind *kind, const char *value,
		struct setting_value *parsed, struct nefs_error *err);
};

static int parse_number(const struct setting_kind *kind, const char *value,
	struct setting_value *parsed, struct nefs_error *err)
{
	return value_number(value, kind->min, kind->max, &parsed->number, err);
}

static int parse_memory(const struct setting_kind *kind, const char *value,
	struct setting_value *parsed, struct nefs_error *err)
{
	int failed = value_size(value, kind->min, kind->max, &parsed->number, err);

	if (!failed && parsed->number % NE_MEMORY_UNIT)
		failed = nefs_error_set(err, EINVAL,
			"'%.40s' is not a multiple of 2 MiB; the nearest below is %" PRIu64 "M",
			value, (uint64_t)(parsed->number / NE_MEMORY_UNIT * 2));
	return failed;
}

static int parse_cpus(const struct setting_kind *kind, const char *value,
	struct setting_value *parsed, struct nefs_error *err)
{
	return *value ? value_cpu_list(value, &parsed->cpus, &parsed->cpu_count, err) : 0;
}

static int parse_cid(const struct setting_kind *kind, const char *value,
	struct setting_value *parsed, struct nefs_error *err)
{
	int failed = value_number(value, kind->min, kind->max, &parsed->number, err);

	if (!failed && parsed->number && !ne_cid_is_valid(parsed->number))
		failed = nefs_error_set(err, ERANGE,
			"CID %" PRIu64 " is reserved; write 0 (the device chooses) or 4 to "
			"4294967294",
			parsed->number);
	return failed;
}

static const struct setting_kind kinds[SETTINGS] = {
	[SETTING_MEMORY] = { .unset = "",
		.min = NE_MEMORY_MIN,
		.max = UINT64_MAX,
		.parse = parse_memory },
	[SETTING_VCPUS] = { .unset = "", .min = 1, .max = NE_CPUS_MAX, .parse = parse_number },
	[SETTING_CPUS] = { .unset = "", .parse = parse_cpus },
	[SETTING_CID] = { .unset = "0\n", .max = NE_CID_LAST, .parse = parse_cid },
	[SETTING_DEBUG] = { .unset = "0\n", .max = 1, .parse = parse_number },
	[SETTING_BOOT_TIMEOUT] = { .unset = "0\n",
		.max = UINT32_MAX / 1000,
		.parse = parse_number },
};

int setting_parse(enum setting setting, const char *text, size_t size, struct setting_value *value,
	struct nefs_error *err)
{
	char trimmed[VALUE_MAX + 1];
	int failed = value_trim(text, size, trimmed, err);

	*value = (struct setting_value){ .size = size };
	if (!failed)
		failed = kinds[setting].parse(&kinds[setting], trimmed, value, err);
	if (failed)
		return failed;
	value->text = malloc(size);
	if (!value->text) {
		setting_release(value);
		return nefs_error_set(err, ENOMEM, "out of memory for the value");
	}
	memcpy(value->text, text, size);
	return 0;
}

bool setting_equal(const struct setting_value *a, const struct setting_value *b)
{
	return a->number == b->number && a->cpu_count == b->cpu_count &&
	       (!a->cpu_count || memcmp(a->cpus, b->cpus, a->cpu_count * sizeof(*a->cpus)) == 0);
}

void setting_release(struct setting_value *value)
{
	free(value->text);
	free(value->cpus);
	*value = (struct setting_value){ 0 };
}

int settings_copy(struct settings *to, const struct settings *from)
{
	for (int i = 0; i < SETTINGS; i++) {
		const struct setting_value *value = &from->values[i];
		struct setting_value *copy = &to->values[i];

		copy->number = value->number;
		if (!value->cpu_count)
			continue;
		copy->cpus = reallocarray(NULL, value->cpu_count, sizeof(*copy->cpus));
		if (!copy->cpus) {
			settings_release(to);
			return -ENOMEM;
		}
		memcpy(copy->cpus, value->cpus, value->cpu_count * sizeof(*copy->cpus));
		copy->cpu_count = value->cpu_count;
	}
	return 0;
}

void settings_take(struct settings *settings, enum setting setting, struct setting_value *value)
{
	setting_release(&settings->values[setting]);
	settings->values[setting] = *value;
	*value = (struct setting_value){ 0 };
}

void settings_show(const struct settings *settings, enum setting setting, FILE *out)
{
	const struct setting_value *value = &settings->values[setting];

	if (value->text)
		fwrite(value->text, 1, value->size, out);
	else
		fputs(kinds[setting].unset, out);
}

void settings_reset(struct settings *settings, enum setting setting)
{
	setting_release(&settings->values[setting]);
}

uint64_t settings_number(const struct settings *settings, enum setting setting)
{
	return settings->values[setting].number;
}

int settings_check(const struct settings *settings, struct nefs_error *err)
{
	uint64_t vcpus = settings_number(settings, SETTING_VCPUS);
	size_t cpus = settings->values[SETTING_CPUS].cpu_count;

	if (!settings_number(settings, SETTING_MEMORY))
		return nefs_error_set(
			err, EINVAL, "memory is not set; write it first: echo 512M > memory");
	if (!vcpus && !cpus)
		return nefs_error_set(err, EINVAL,
			"neither vcpus nor cpus is set; write one first: echo 2 > vcpus");
	if (vcpus && cpus && vcpus != cpus)
		return nefs_error_set(err, EINVAL,
			"vcpus says %" PRIu64
			", but cpus lists %zu; make them agree, or unset one of "
			"them",
			vcpus, cpus);
	return 0;
}

void settings_release(struct settings *settings)
{
	for (int setting = 0; setting < SETTINGS; setting++)
		settings_reset(settings, (enum setting)setting);
}
