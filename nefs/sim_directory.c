/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sim/: rehearsing failures on backend=sim. */
#include "control.h"
#include "directory.h"
#include "enclave.h"
#include "fs.h"
#include "values.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sim_directory {
	struct directory directory; /* first */
	char *faults;		    /* sim/fault as written */
	size_t faults_size;
};

static struct sim_directory *of(const struct node *node)
{
	return (struct sim_directory *)node->directory;
}

static struct backend *backend_of(const struct node *node)
{
	return fs_of(node->directory)->backend;
}

static int store_crash(struct node *node, const char *text, size_t size, struct nefs_error *err)
{
	char name[VALUE_MAX + 1];
	struct enclave *enclave;
	int failed = value_trim(text, size, name, err);

	if (failed)
		return failed;
	enclave = enclave_find(fs_of(node->directory), name);
	if (!enclave)
		return nefs_error_set(err, ENOENT, "there is no enclave '%.64s'", name);
	if (!enclave->launch || !enclave_meaning(enclave)->active)
		return nefs_error_set(err, EINVAL,
			"%s is %s: only what the device has started can crash", name,
			enclave_meaning(enclave)->name);
	return backend_sim_crash(backend_of(node), enclave->launch, err);
}

static void show_fault(struct node *node, FILE *out)
{
	if (of(node)->faults)
		fwrite(of(node)->faults, 1, of(node)->faults_size, out);
}

static int store_fault(struct node *node, const char *text, size_t size, struct nefs_error *err)
{
	struct sim_directory *sim = of(node);
	char *copy = malloc(size);
	int failed;

	if (!copy)
		return nefs_error_set(err, ENOMEM, "out of memory for the fault plan");
	failed = backend_sim_set_faults(backend_of(node), text, size, err);
	if (failed) {
		free(copy);
		return failed;
	}
	memcpy(copy, text, size);
	free(sim->faults);
	sim->faults = copy;
	sim->faults_size = size;
	return 0;
}

static void show_slots(struct node *node, FILE *out)
{
	char *text = backend_sim_slots(backend_of(node));

	if (text)
		fputs(text, out);
	else
		control_show_failed(node);
	free(text);
}

static const struct control sim_files[] = {
	{ .name = "crash", .mode = 0200, .store = store_crash },
	{ .name = "fault", .mode = 0644, .show = show_fault, .store = store_fault },
	{ .name = "slots", .mode = 0444, .flags = CONTROL_VOLATILE, .show = show_slots },
	{ .name = NULL },
};

static void destroy(struct directory *directory)
{
	struct sim_directory *sim = (struct sim_directory *)directory;

	free(sim->faults);
	free(sim);
}

static const struct directory_ops sim_ops = { .destroy = destroy };

root_directory_new sim_directory_new;

int sim_directory_new(struct fs *fs, struct nefs_error *err)
{
	struct directory *root = fs->tree.root;
	struct sim_directory *sim;

	if (strcmp(backend_name(fs->backend), "sim") != 0)
		return 0;
	sim = calloc(1, sizeof(*sim));
	if (!sim)
		return nefs_error_set(err, ENOMEM, "out of memory for sim/");
	directory_init(&sim->directory, &fs->tree, &sim_ops, 0755, root->node.uid, root->node.gid);
	if (control_populate(&sim->directory, sim_files) ||
		directory_add(root, &sim->directory.node, "sim")) {
		directory_unref(&sim->directory);
		return nefs_error_set(err, ENOMEM, "out of memory for sim/");
	}
	return 0;
}
