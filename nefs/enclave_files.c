/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control files of an enclave: the table, and the callbacks that are a few lines each. */
#include "control.h"
#include "enclave.h"
#include "image.h"
#include "streams.h"
#include "values.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct enclave *of(struct node *node)
{
	return enclave_of(node->directory);
}

/* ---- settings ---- */

static int store_setting(struct node *node, enum setting setting, const char *text, size_t size,
	struct nefs_error *err)
{
	struct enclave *enclave = of(node);
	bool active = enclave_active(enclave), same;
	int failed;

	/* An identical value is accepted at any time: configuration tools write what is there. */
	failed = settings_store(&enclave->settings, setting, text, size, active, &same, err);
	if (!failed && active && !same)
		failed = nefs_error_set(err, EBUSY,
			"%s is %s and keeps its settings until it is stopped: echo 0 > %s/start",
			enclave->name, enclave_state_name(enclave->state), enclave->name);
	/* Its value is what it was; its text is what was written last. */
	if (!failed && active)
		failed = settings_store(&enclave->settings, setting, text, size, false, &same, err);
	return failed;
}

#define SETTING(identifier, setting)                                                               \
	static void show_##identifier(struct node *node, FILE *out)                                \
	{                                                                                          \
		settings_show(&of(node)->settings, setting, out);                                  \
	}                                                                                          \
	static int store_##identifier(                                                             \
		struct node *node, const char *text, size_t size, struct nefs_error *err)          \
	{                                                                                          \
		return store_setting(node, setting, text, size, err);                              \
	}                                                                                          \
	static void reset_##identifier(struct node *node)                                          \
	{                                                                                          \
		settings_reset(&of(node)->settings, setting);                                      \
	}

SETTING(memory, SETTING_MEMORY)
SETTING(vcpus, SETTING_VCPUS)
SETTING(cpus, SETTING_CPUS)
SETTING(cid, SETTING_CID)
SETTING(debug, SETTING_DEBUG)
SETTING(boot_timeout, SETTING_BOOT_TIMEOUT)

/* ---- start ---- */

static bool is_started(const struct enclave *enclave)
{
	return enclave->start_queued || enclave->state == STATE_STARTING ||
	       enclave->state == STATE_RUNNING;
}

static void show_start(struct node *node, FILE *out)
{
	struct enclave *enclave = of(node);
	char value[VALUE_MAX + 1];
	uint64_t number;

	if (enclave->start_text &&
		value_trim(enclave->start_text, enclave->start_size, value, NULL) == 0 &&
		value_number(value, 0, 1, &number, NULL) == 0 &&
		(number == 1) == is_started(enclave))
		fwrite(enclave->start_text, 1, enclave->start_size, out);
	else
		fputs(is_started(enclave) ? "1\n" : "0\n", out);
}

static int store_start(struct node *node, const char *text, size_t size, struct nefs_error *err)
{
	struct enclave *enclave = of(node);
	char value[VALUE_MAX + 1];
	uint64_t number;
	char *copy;
	int result;

	result = value_trim(text, size, value, err);
	if (!result)
		result = value_number(value, 0, 1, &number, err);
	copy = malloc(size);
	if (!result && !copy)
		result = nefs_error_set(err, ENOMEM, "out of memory for the value");
	if (result) {
		free(copy);
		control_outcome(&enclave->directory, "start", err);
		return result;
	}
	memcpy(copy, text, size);
	result = number ? enclave_start(enclave, err) : enclave_stop(enclave);
	if (result < 0) {
		free(copy);
		return result;
	}
	free(enclave->start_text);
	enclave->start_text = copy;
	enclave->start_size = size;
	return result;
}

static void reset_start(struct node *node)
{
	struct enclave *enclave = of(node);

	free(enclave->start_text);
	enclave->start_text = NULL;
}

/* ---- what the device gave, what happened ---- */

static void show_memory_effective(struct node *node, FILE *out)
{
	if (of(node)->grant)
		fprintf(out, "%" PRIu64, of(node)->grant->memory);
	fputc('\n', out);
}

static void show_cpus_effective(struct node *node, FILE *out)
{
	fprintf(out, "%s\n", of(node)->grant ? of(node)->grant->cpus : "");
}

static void show_cid_effective(struct node *node, FILE *out)
{
	if (of(node)->grant)
		fprintf(out, "%" PRIu64, of(node)->grant->cid);
	fputc('\n', out);
}

static void show_slot(struct node *node, FILE *out)
{
	if (of(node)->grant)
		fprintf(out, "0x%" PRIx64, of(node)->grant->slot_uid);
	fputc('\n', out);
}

static void show_state(struct node *node, FILE *out)
{
	fprintf(out, "%s\n", enclave_state_name(of(node)->state));
}

static void show_events(struct node *node, FILE *out)
{
	counters_show(of(node)->counters, out);
}

static void show_error(struct node *node, FILE *out)
{
	if (of(node)->error.text[0])
		fprintf(out, "%s\n", of(node)->error.text);
}

/* ---- wait ---- */

static void read_wait(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	struct node *node = handle->node;

	/* Only a read from the start waits; the ones behind it continue its answer. */
	if (offset == 0 && enclave_changing(of(node)))
		stream_park(req, handle, size, offset);
	else
		control_read_text(req, handle, size, offset);
}

static const struct control_ops wait_ops = { .read = read_wait };

#define SETTABLE CONTROL_SETTABLE

const struct control enclave_files[] = {
	{ "memory", 0644, SETTABLE, show_memory, store_memory, reset_memory, NULL },
	{ "vcpus", 0644, SETTABLE, show_vcpus, store_vcpus, reset_vcpus, NULL },
	{ "cpus", 0644, SETTABLE, show_cpus, store_cpus, reset_cpus, NULL },
	{ "image", 0600, SETTABLE, NULL, NULL, image_reset, &image_ops },
	{ "cid", 0644, SETTABLE, show_cid, store_cid, reset_cid, NULL },
	{ "debug", 0644, SETTABLE, show_debug, store_debug, reset_debug, NULL },
	{ "boot_timeout", 0644, SETTABLE, show_boot_timeout, store_boot_timeout, reset_boot_timeout,
		NULL },
	{ "start", 0644, SETTABLE | CONTROL_REPORTS, show_start, store_start, reset_start, NULL },
	{ "wait", 0444, 0, show_state, NULL, NULL, &wait_ops },
	{ "memory.effective", 0444, CONTROL_POLL, show_memory_effective, NULL, NULL, NULL },
	{ "cpus.effective", 0444, CONTROL_POLL, show_cpus_effective, NULL, NULL, NULL },
	{ "cid.effective", 0444, CONTROL_POLL, show_cid_effective, NULL, NULL, NULL },
	{ "slot", 0444, CONTROL_POLL, show_slot, NULL, NULL, NULL },
	{ "state", 0444, CONTROL_POLL, show_state, NULL, NULL, NULL },
	{ "events", 0444, CONTROL_POLL, show_events, NULL, NULL, NULL },
	{ "journal", 0444, 0, NULL, NULL, NULL, &journal_ops },
	{ "console", 0400, 0, NULL, NULL, NULL, &console_ops },
	{ "error", 0444, CONTROL_POLL, show_error, NULL, NULL, NULL },
	{ "measurements", 0444, 0, NULL, NULL, NULL, &measurements_ops },
	{ "image_info", 0444, 0, NULL, NULL, NULL, &image_info_ops },
	{ NULL },
};
