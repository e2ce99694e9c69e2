/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "settings.h"
#include "values.h"
#include <errno.h>
#include <inttypes.h>
#include <nefs/ne_limits.h>
#include <stdlib.h>
#include <string.h>

static const char *const defaults[SETTINGS] = {
	[SETTING_MEMORY] = "",
	[SETTING_VCPUS] = "",
	[SETTING_CPUS] = "",
	[SETTING_CID] = "0\n",
	[SETTING_DEBUG] = "0\n",
	[SETTING_BOOT_TIMEOUT] = "0\n",
};

/* A parsed value before it is taken over. */
struct parsed {
	uint64_t number;
	uint32_t *cpus;
	size_t cpu_count;
};

void settings_show(const struct settings *settings, enum setting setting, FILE *out)
{
	if (settings->texts[setting].text)
		fwrite(settings->texts[setting].text, 1, settings->texts[setting].size, out);
	else
		fputs(defaults[setting], out);
}

static int parse(
	enum setting setting, const char *value, struct parsed *parsed, struct nefs_error *err)
{
	int failed;

	switch (setting) {
	case SETTING_MEMORY:
		failed = value_size(value, NE_MEMORY_MIN, UINT64_MAX, &parsed->number, err);
		if (!failed && parsed->number % NE_MEMORY_UNIT)
			failed = nefs_error_set(err, EINVAL,
				"'%.40s' is not a multiple of 2 MiB; the nearest below is %" PRIu64
				"M",
				value, (uint64_t)(parsed->number / NE_MEMORY_UNIT * 2));
		return failed;
	case SETTING_VCPUS:
		return value_number(value, 1, VALUE_CPU_MAX + 1, &parsed->number, err);
	case SETTING_CPUS:
		return *value ? value_cpu_list(value, &parsed->cpus, &parsed->cpu_count, err) : 0;
	case SETTING_CID:
		failed = value_number(value, 0, NE_CID_LAST, &parsed->number, err);
		if (!failed && parsed->number && !ne_cid_is_valid(parsed->number))
			failed = nefs_error_set(err, ERANGE,
				"CID %" PRIu64 " is reserved; write 0 (the device chooses) or 4 to "
				"4294967294",
				parsed->number);
		return failed;
	case SETTING_DEBUG:
		return value_number(value, 0, 1, &parsed->number, err);
	case SETTING_BOOT_TIMEOUT:
		return value_number(value, 0, UINT32_MAX / 1000, &parsed->number, err);
	default:
		return nefs_error_set(err, EINVAL, "no such setting");
	}
}

static bool is_same(
	const struct settings *settings, enum setting setting, const struct parsed *parsed)
{
	switch (setting) {
	case SETTING_MEMORY:
		return settings->memory == parsed->number;
	case SETTING_VCPUS:
		return settings->vcpus == parsed->number;
	case SETTING_CPUS:
		return settings->cpu_count == parsed->cpu_count &&
		       (!parsed->cpu_count ||
			       memcmp(settings->cpus, parsed->cpus,
				       parsed->cpu_count * sizeof(*parsed->cpus)) == 0);
	case SETTING_CID:
		return settings->cid == parsed->number;
	case SETTING_DEBUG:
		return settings->debug == (parsed->number != 0);
	case SETTING_BOOT_TIMEOUT:
		return settings->boot_timeout == parsed->number;
	default:
		return false;
	}
}

static void take(struct settings *settings, enum setting setting, struct parsed *parsed)
{
	switch (setting) {
	case SETTING_MEMORY:
		settings->memory = parsed->number;
		break;
	case SETTING_VCPUS:
		settings->vcpus = (uint32_t)parsed->number;
		break;
	case SETTING_CPUS:
		free(settings->cpus);
		settings->cpus = parsed->cpus;
		settings->cpu_count = parsed->cpu_count;
		parsed->cpus = NULL;
		break;
	case SETTING_CID:
		settings->cid = parsed->number;
		break;
	case SETTING_DEBUG:
		settings->debug = parsed->number != 0;
		break;
	case SETTING_BOOT_TIMEOUT:
		settings->boot_timeout = (unsigned int)parsed->number;
		break;
	default:
		break;
	}
}

int settings_store(struct settings *settings, enum setting setting, const char *text, size_t size,
	bool dry, bool *same, struct nefs_error *err)
{
	char value[VALUE_MAX + 1];
	struct parsed parsed = { 0 };
	char *copy = NULL;
	int failed;

	failed = value_trim(text, size, value, err);
	if (!failed)
		failed = parse(setting, value, &parsed, err);
	if (failed)
		return failed;
	*same = is_same(settings, setting, &parsed);
	if (!dry) {
		copy = malloc(size);
		if (!copy) {
			free(parsed.cpus);
			return nefs_error_set(err, ENOMEM, "out of memory for the value");
		}
		memcpy(copy, text, size);
		free(settings->texts[setting].text);
		settings->texts[setting].text = copy;
		settings->texts[setting].size = size;
		take(settings, setting, &parsed);
	}
	free(parsed.cpus);
	return 0;
}

void settings_reset(struct settings *settings, enum setting setting)
{
	struct parsed unset = { 0 };

	free(settings->texts[setting].text);
	settings->texts[setting].text = NULL;
	take(settings, setting, &unset);
}

int settings_check(const struct settings *settings, struct nefs_error *err)
{
	if (!settings->memory)
		return nefs_error_set(
			err, EINVAL, "memory is not set; write it first: echo 512M > memory");
	if (!settings->vcpus && !settings->cpu_count)
		return nefs_error_set(err, EINVAL,
			"neither vcpus nor cpus is set; write one first: echo 2 > vcpus");
	if (settings->vcpus && settings->cpu_count && settings->vcpus != settings->cpu_count)
		return nefs_error_set(err, EINVAL,
			"vcpus says %u, but cpus lists %zu; make them agree, or unset one of them",
			settings->vcpus, settings->cpu_count);
	return 0;
}

void settings_release(struct settings *settings)
{
	for (int setting = 0; setting < SETTINGS; setting++)
		settings_reset(settings, (enum setting)setting);
}
