/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control files of the root, and what can be done there. */
#include "control.h"
#include "enclave.h"
#include "fs.h"
#include "journal_file.h"
#include "records.h"

static void show_version(struct node *node, FILE *out)
{
	fputs(NEFS_VERSION "\n", out);
}

static void show_backend(struct node *node, FILE *out)
{
	fprintf(out, "%s\n", backend_name(fs_of(node->directory)->backend));
}

static void show_events(struct node *node, FILE *out)
{
	counters_show(fs_of(node->directory)->counters, out);
}

const struct control root_files[] = {
	{ .name = "version", .mode = 0444, .show = show_version },
	{ .name = "backend", .mode = 0444, .show = show_backend },
	{ .name = "events",
		.mode = 0444,
		.flags = CONTROL_POLL,
		.handle = offsetof(struct root, events),
		.show = show_events },
	{ .name = "journal.follow",
		.mode = 0440,
		.flags = CONTROL_UNLISTED,
		.handle = offsetof(struct root, journal_follow),
		.ops = &journal_follow_ops },
	/* It is about names that nobody got to see: for those who may make enclaves. */
	{ .name = "error",
		.mode = 0440,
		.flags = CONTROL_POLL,
		.handle = offsetof(struct directory, error_node),
		.show = control_show_error },
	{ .name = NULL },
};

static void write_record(void *owner, const struct journal_event *event)
{
	records_write(owner, NULL, event);
}

/* In the root itself, and in the directories of it that have no `error` of their own. */
static void tell_refusal(
	struct directory *directory, const char *file, uid_t uid, const struct nefs_error *err)
{
	struct fs *fs = fs_of(directory);

	if (!fs->root.repeats.event)
		repeats_init(&fs->root.repeats, fs->event, write_record, fs);
	repeats_add_refusal(&fs->root.repeats, file, uid, uid == TREE_NO_CALLER ? 0 : uid, err);
}

const struct directory_ops root_ops = { .mkdir = enclave_mkdir, .refused = tell_refusal };
