/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "root_files.h"
#include "enclave.h"
#include "fs.h"
#include "streams.h"
#include "values.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void show_version(struct node *node, FILE *out)
{
	(void)node;
	fputs(NEFS_VERSION "\n", out);
}

static void show_backend(struct node *node, FILE *out)
{
	fprintf(out, "%s\n", backend_name(node->directory->fs->backend));
}

static void show_events(struct node *node, FILE *out)
{
	counters_show(node->directory->fs->counters, out);
}

static void show_error(struct node *node, FILE *out)
{
	if (node->directory->fs->error.text[0])
		fprintf(out, "%s\n", node->directory->fs->error.text);
}

const struct control root_files[] = {
	{ "version", 0444, 0, show_version, NULL, NULL, NULL },
	{ "backend", 0444, 0, show_backend, NULL, NULL, NULL },
	{ "events", 0444, CONTROL_POLL, show_events, NULL, NULL, NULL },
	{ "journal", 0444, 0, NULL, NULL, NULL, &journal_ops },
	{ "error", 0444, CONTROL_POLL, show_error, NULL, NULL, NULL },
	{ NULL },
};

/* ---- sim/ ---- */

static int store_crash(struct node *node, const char *text, size_t size, struct nefs_error *err)
{
	struct fs *fs = node->directory->fs;
	char name[VALUE_MAX + 1];
	struct enclave *enclave;
	int failed = value_trim(text, size, name, err);

	if (failed)
		return failed;
	enclave = enclave_find(fs, name);
	if (!enclave)
		return nefs_error_set(err, ENOENT, "there is no enclave '%.64s'", name);
	if (!enclave->launch || !enclave->device_started || !enclave_active(enclave))
		return nefs_error_set(err, EINVAL,
			"%s is %s: only what the device has started can crash", name,
			enclave_state_name(enclave->state));
	return backend_sim_crash(fs->backend, enclave->launch, err);
}

static void show_fault(struct node *node, FILE *out)
{
	struct fs *fs = node->directory->fs;

	if (fs->faults)
		fwrite(fs->faults, 1, fs->faults_size, out);
}

static int store_fault(struct node *node, const char *text, size_t size, struct nefs_error *err)
{
	struct fs *fs = node->directory->fs;
	char *copy = malloc(size);
	int failed;

	if (!copy)
		return nefs_error_set(err, ENOMEM, "out of memory for the fault plan");
	failed = backend_sim_set_faults(fs->backend, text, size, err);
	if (failed) {
		free(copy);
		return failed;
	}
	memcpy(copy, text, size);
	free(fs->faults);
	fs->faults = copy;
	fs->faults_size = size;
	return 0;
}

static void show_slots(struct node *node, FILE *out)
{
	char *text = backend_sim_slots(node->directory->fs->backend);

	if (text)
		fputs(text, out);
	free(text);
}

const struct control sim_files[] = {
	{ "crash", 0200, 0, NULL, store_crash, NULL, NULL },
	{ "fault", 0644, 0, show_fault, store_fault, NULL, NULL },
	{ "slots", 0444, 0, show_slots, NULL, NULL, NULL },
	{ NULL },
};
