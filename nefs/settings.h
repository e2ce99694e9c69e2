/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an enclave is asked to be: each setting as text, byte for byte as it was written, and as a
 * value. A numeric setting is a line here, a row in settings.c (how it is read), and a row in
 * enclave_files.c (its file). Loop thread.
 */
#ifndef NEFS_SETTINGS_H
#define NEFS_SETTINGS_H

#include <nefs/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum setting {
	SETTING_MEMORY, /* bytes; 0: unset */
	SETTING_VCPUS,	/* 0: unset */
	SETTING_CPUS,	/* a list; none: any */
	SETTING_CID,	/* 0: the device chooses */
	SETTING_DEBUG,
	SETTING_BOOT_TIMEOUT, /* seconds; 0: the default formula */
	SETTINGS,
};

struct setting_value {
	char *text; /* as written, not terminated; NULL: unset */
	size_t size;
	uint64_t number;
	uint32_t *cpus; /* ascending; NULL: none */
	size_t cpu_count;
};

struct settings {
	struct setting_value values[SETTINGS];
};

/*
 * Reads a value as it is written to the setting's file; it is the caller's then. 0, -EINVAL, -ERANGE,
 * -E2BIG or -ENOMEM.
 */
int setting_parse(enum setting setting, const char *text, size_t size, struct setting_value *value,
	struct nefs_error *err);

/* Do two values ask for the same, however they are written? */
bool setting_equal(const struct setting_value *a, const struct setting_value *b);

void setting_release(struct setting_value *value);

/* Copies what they ask for, not how it was written, to ones that hold nothing. -ENOMEM leaves nothing. */
int settings_copy(struct settings *to, const struct settings *from);

/* Takes a value over in place of the one there. */
void settings_take(struct settings *settings, enum setting setting, struct setting_value *value);

/* The text of a setting, its default included. */
void settings_show(const struct settings *settings, enum setting setting, FILE *out);

/* Back to the default. */
void settings_reset(struct settings *settings, enum setting setting);

uint64_t settings_number(const struct settings *settings, enum setting setting);

/* Is it complete and consistent enough to be launched? -EINVAL names what is missing. */
int settings_check(const struct settings *settings, struct nefs_error *err);

void settings_release(struct settings *settings);

#endif
