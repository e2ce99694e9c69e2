/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control files of an enclave: the table, and the callbacks that are a few lines each. */
#include "console_file.h"
#include "control.h"
#include "enclave.h"
#include "image_file.h"
#include "journal_file.h"
#include "life.h"
#include "report.h"
#include "values.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct enclave *of(struct node *node)
{
	return enclave_of(node->directory);
}

/* ---- settings: the row's `private` says which ---- */

static enum setting setting_of(const struct node *node)
{
	return (enum setting)node->control->private;
}

static void show_setting(struct node *node, FILE *out)
{
	settings_show(&of(node)->settings, setting_of(node), out);
}

static int store_setting(struct node *node, const char *text, size_t size, struct nefs_error *err)
{
	struct settings *settings = &of(node)->settings;
	enum setting setting = setting_of(node);
	struct setting_value value;
	int failed = setting_parse(setting, text, size, &value, err);

	if (!failed)
		settings_take(settings, setting, &value);
	setting_release(&value);
	enclave_compare(of(node));
	return failed;
}

static void reset_setting(struct node *node)
{
	settings_reset(&of(node)->settings, setting_of(node));
	if (node->control->flags & CONTROL_UNSET)
		control_unset(node);
	enclave_compare(of(node));
}

/* What the next start would change, in the order of the table. */
static void show_pending(struct node *node, FILE *out)
{
	uint32_t pending = of(node)->applied.pending;

	for (const struct control *row = enclave_files; row->name; row++) {
		uint32_t bit = row->store == store_setting   ? 1U << row->private
			       : row->ops == &image_file_ops ? APPLIED_IMAGE
							     : 0;

		if (pending & bit)
			fprintf(out, "%s\n", row->name);
	}
}

/* ---- start ---- */

static void show_start(struct node *node, FILE *out)
{
	struct enclave *enclave = of(node);
	char value[VALUE_MAX + 1];
	uint64_t number;

	if (enclave->start_text &&
		value_trim(enclave->start_text, enclave->start_size, value, NULL) == 0 &&
		value_number(value, 0, 1, &number, NULL) == 0 &&
		(number == 1) == enclave_meaning(enclave)->started)
		fwrite(enclave->start_text, 1, enclave->start_size, out);
	else
		fputs(enclave_meaning(enclave)->started ? "1\n" : "0\n", out);
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

static struct parked *park_start(struct node *node, fuse_req_t req)
{
	return enclave_park(of(node), req);
}

static const struct control_ops start_ops = { .park = park_start };

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
	fprintf(out, "%s\n", enclave_meaning(of(node))->name);
}

static void show_events(struct node *node, FILE *out)
{
	counters_show(of(node)->counters, out);
}

/* ---- wait ---- */

/* The longest of the states that it can tell, with a newline. */
#define WAIT_SIZE 8

static void read_wait(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	/* Only a read from the start waits; the ones behind it continue its answer. */
	if (offset == 0 && enclave_meaning(of(handle->node))->changing)
		handle_park_read(req, handle, size, offset);
	else
		control_read_text(req, handle, size, offset);
}

static void show_wait(struct node *node, FILE *out)
{
	/* As long as its longest answer, whatever it will be: readers that go by st_size get all of it. */
	const char *name = enclave_meaning(of(node))->name;

	fprintf(out, "%s%.*s", name, WAIT_SIZE - (int)strlen(name), "\n\n\n\n\n\n\n\n");
}

static uint64_t wait_size(struct node *node)
{
	return WAIT_SIZE;
}

static const struct control_ops wait_ops = { .read = read_wait, .size = wait_size };

/* ---- the table ---- */

/* A setting's row: its file is made of it alone. */
#define SETTING_ROW(file, setting, more)                                                           \
	{                                                                                          \
		.name = (file), .mode = 0644, .flags = CONTROL_SETTABLE | (more),                  \
		.private = (setting), .show = show_setting, .store = store_setting,                \
		.reset = reset_setting                                                             \
	}

/* Where the node of a row is kept that changes by itself. */
#define HANDLE(member) offsetof(struct enclave, files.member)

const struct control enclave_files[] = {
	SETTING_ROW("memory", SETTING_MEMORY, CONTROL_UNSET),
	SETTING_ROW("vcpus", SETTING_VCPUS, CONTROL_UNSET),
	SETTING_ROW("cpus", SETTING_CPUS, CONTROL_UNSET),
	{ .name = "image",
		.mode = 0600,
		.flags = CONTROL_SETTABLE | CONTROL_UNSET,
		.handle = HANDLE(image),
		.reset = image_file_reset,
		.ops = &image_file_ops },
	SETTING_ROW("cid", SETTING_CID, 0),
	SETTING_ROW("debug", SETTING_DEBUG, 0),
	SETTING_ROW("boot_timeout", SETTING_BOOT_TIMEOUT, 0),
	{ .name = "start",
		.mode = 0644,
		.flags = CONTROL_SETTABLE | CONTROL_REPORTS | CONTROL_COMMAND,
		.handle = HANDLE(start),
		.show = show_start,
		.store = store_start,
		.reset = reset_start,
		.ops = &start_ops },
	{ .name = "pending",
		.mode = 0444,
		.flags = CONTROL_POLL,
		.handle = HANDLE(pending),
		.show = show_pending },
	{ .name = "wait",
		.mode = 0444,
		.flags = CONTROL_STEADY,
		.handle = HANDLE(wait),
		.show = show_wait,
		.ops = &wait_ops },
	{ .name = "memory.effective",
		.mode = 0444,
		.flags = CONTROL_POLL,
		.handle = HANDLE(memory_effective),
		.show = show_memory_effective },
	{ .name = "cpus.effective",
		.mode = 0444,
		.flags = CONTROL_POLL,
		.handle = HANDLE(cpus_effective),
		.show = show_cpus_effective },
	{ .name = "cid.effective",
		.mode = 0444,
		.flags = CONTROL_POLL,
		.handle = HANDLE(cid_effective),
		.show = show_cid_effective },
	{ .name = "slot",
		.mode = 0444,
		.flags = CONTROL_POLL,
		.handle = HANDLE(slot),
		.show = show_slot },
	{ .name = "state",
		.mode = 0444,
		.flags = CONTROL_POLL,
		.handle = HANDLE(state),
		.show = show_state },
	{ .name = "events",
		.mode = 0444,
		.flags = CONTROL_POLL,
		.handle = HANDLE(events),
		.show = show_events },
	{ .name = "journal.follow",
		.mode = 0444,
		.flags = CONTROL_UNLISTED,
		.handle = HANDLE(journal_follow),
		.ops = &journal_follow_ops },
	{ .name = "console.follow",
		.mode = 0400,
		.flags = CONTROL_UNLISTED,
		.handle = HANDLE(console_follow),
		.ops = &console_follow_ops },
	CONTROL_ERROR_ROW,
	{ .name = "measurements",
		.mode = 0444,
		.handle = HANDLE(measurements),
		.ops = &measurements_ops },
	{ .name = "image_info",
		.mode = 0444,
		.handle = HANDLE(image_info),
		.ops = &image_info_ops },
	{ .name = NULL },
};
