/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an enclave is asked to be: each setting as text, byte for byte as it was written, and as a
 * value. Loop thread.
 */
#ifndef NEFS_SETTINGS_H
#define NEFS_SETTINGS_H

#include <nefs/backend.h>
#include <stdio.h>

enum setting {
	SETTING_MEMORY,
	SETTING_VCPUS,
	SETTING_CPUS,
	SETTING_CID,
	SETTING_DEBUG,
	SETTING_BOOT_TIMEOUT,
	SETTINGS,
};

struct settings {
	struct {
		char *text; /* NULL: the default */
		size_t size;
	} texts[SETTINGS];
	uint64_t memory; /* 0: unset */
	uint32_t vcpus;	 /* 0: unset */
	uint32_t *cpus;	 /* NULL: any */
	size_t cpu_count;
	uint64_t cid;
	bool debug;
	unsigned int boot_timeout; /* seconds */
};

/* The text of a setting, its default included. */
void settings_show(const struct settings *settings, enum setting setting, FILE *out);

/*
 * Sets one. *same says whether the new value equals the old one, in which case only the text
 * changes; dry: checks and compares only. 0, -EINVAL, -ERANGE, -E2BIG, -ENOMEM.
 */
int settings_store(struct settings *settings, enum setting setting, const char *text, size_t size,
	bool dry, bool *same, struct nefs_error *err);

/* Back to the default. */
void settings_reset(struct settings *settings, enum setting setting);

/* Is it complete and consistent enough to be launched? -EINVAL names what is missing. */
int settings_check(const struct settings *settings, struct nefs_error *err);

void settings_release(struct settings *settings);

#endif
