/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An enclave as an object: its name, its directory, what is told about it. Its life: life.c. */
#include "enclave.h"
#include "control.h"
#include "directory.h"
#include "notifier.h"
#include "staging_directory.h"
#include <errno.h>
#include <nefs/cleanup.h>
#include <nefs/log.h>
#include <stdlib.h>
#include <string.h>

const char *enclave_name(const struct enclave *enclave)
{
	const char *name = enclave->directory.node.name;

	return name ? name : "(removed)";
}

const struct state_meaning *enclave_meaning(const struct enclave *enclave)
{
	return state_meaning(enclave->state);
}

void enclave_compare(struct enclave *enclave)
{
	if (applied_compare(&enclave->applied, &enclave->settings, enclave->image.file,
		    enclave_meaning(enclave)->runs) &&
		!enclave->directory.removed)
		node_changed(enclave->files.pending);
}

static int check_name(const char *name, struct nefs_error *err)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-@:";
	size_t length = strlen(name);

	if (length < 1 || length > ENCLAVE_NAME_MAX || strspn(name, allowed) != length ||
		name[0] == '.' || name[0] == '-')
		return nefs_error_set(err, EINVAL,
			"%.80s: an enclave's name has 1 to %d characters of A-Z a-z 0-9 . _ - @ : and does "
			"not begin with a dot or a dash",
			name, ENCLAVE_NAME_MAX);
	return 0;
}

/* mkdir and mv: may this name be taken? */
static int check_free(struct directory *root, const char *name, struct nefs_error *err)
{
	if (directory_find(root, name))
		return nefs_error_set(err, EEXIST, "%.64s exists already", name);
	if (text_log_owns(root, name))
		return nefs_error_set(err, EEXIST, "%.64s is the name of a file of nefs", name);
	return check_name(name, err);
}

struct enclave *enclave_find(struct fs *fs, const char *name)
{
	struct node *node = directory_find(fs->tree.root, name);

	return node && !node->control && enclave_is(node->directory) ? enclave_of(node->directory)
								     : NULL;
}

/* ---- what is told ---- */

/* A record for log and journals, whatever the enclave was called then. */
static void write_record(void *owner, const struct journal_event *event)
{
	struct enclave *enclave = owner;
	struct journal_event named = *event;

	if (!named.enclave)
		named.enclave = enclave_name(enclave);
	records_write(fs_of(&enclave->directory), &enclave->records, &named);
}

static void tell_refusal(
	struct directory *directory, const char *file, uid_t uid, const struct nefs_error *err)
{
	struct enclave *enclave = enclave_of(directory);
	uid_t writer = uid;

	/* What is found wanting later is whose doing it was. */
	if (uid == TREE_NO_CALLER)
		writer = file && strcmp(file, "image") == 0 ? enclave->image_by
							    : enclave->started_by;
	repeats_add_refusal(&enclave->repeats, file, uid, writer, err);
}

/* Of an enclave that is, or was, called so. */
static void tell(struct enclave *enclave, const char *name, const char *event, const char *old_name,
	const struct nefs_error *error)
{
	const struct backend_grant *grant = enclave->grant;
	const uid_t caller = enclave->directory.tree->caller;
	const struct journal_event record = {
		.event = event,
		.enclave = name,
		.old_name = old_name,
		.cid = grant ? grant->cid : 0,
		.slot = grant ? grant->slot_uid : 0,
		.has_slot = grant != NULL,
		.error = error ? error->text : NULL,
		.errno_code = error ? error->code : 0,
		.writer = caller == TREE_NO_CALLER ? enclave->started_by : caller,
		/* An end that came by itself cost a start. */
		.asked = caller != TREE_NO_CALLER || !error,
	};

	repeats_add(&enclave->repeats, &record);
}

void enclave_tell(struct enclave *enclave, const char *event, const char *old_name,
	const struct nefs_error *error)
{
	tell(enclave, enclave_name(enclave), event, old_name, error);
}

/* ---- the directory ---- */

/* What nobody can have any more once the directory is gone, though a file of it may still be open. */
static void release_content(struct enclave *enclave)
{
	quota_give(nefs_take_ptr(enclave->user), QUOTA_ENCLAVES);
	settings_release(&enclave->settings);
	image_cancel_report(&enclave->image, fs_of(&enclave->directory)->workers);
	image_release(&enclave->image);
	applied_release(&enclave->applied);
	free(nefs_take_ptr(enclave->start_text));
}

static void destroy(struct directory *directory)
{
	struct enclave *enclave = enclave_of(directory);

	release_content(enclave);
	free(enclave->grant);
	sd_event_source_disable_unref(enclave->start_timer);
	repeats_release(&enclave->repeats);
	own_records_release(&enclave->records);
	sd_event_source_disable_unref(enclave->report_timer);
	free(enclave);
}

/* Has the kernel forget the names that it knows in a directory that goes. */
static void bury_names(struct directory *directory)
{
	struct tree *tree = directory->tree;
	const struct fixed_name *fixed;
	struct node *node;

	if (!tree->notifier)
		return;
	SLIST_FOREACH(fixed, &directory->fixed, siblings)
	if (fixed->node && fixed->node->lookups)
		notifier_bury(
			tree->notifier, tree->session, node_id(&directory->node), fixed->name);
	for (size_t i = 0; i < directory->control_count; i++)
		if (directory->controls[i].lookups)
			notifier_bury(tree->notifier, tree->session, node_id(&directory->node),
				directory->controls[i].name);
	for (node = directory_next(directory, 0); node;
		node = directory_next(directory, node->ino)) {
		/* What is in it keeps it, and it keeps this one. */
		if (S_ISDIR(node->mode))
			bury_names(node->directory);
		if (node->lookups)
			notifier_bury(tree->notifier, tree->session, node_id(&directory->node),
				node->name);
	}
}

static int remove_enclave(struct directory *directory, struct nefs_error *err)
{
	struct enclave *enclave = enclave_of(directory);
	struct notifier *notifier = directory->tree->notifier;
	char path[DIRECTORY_PATH_MAX], name[ENCLAVE_NAME_MAX + 1];

	strcpy(name, enclave_name(enclave)); /* which check_name let pass */
	if (enclave_meaning(enclave)->active)
		return nefs_error_set(err, EBUSY, "%s is %s; stop it first: echo 0 > %s/start",
			name, enclave_meaning(enclave)->name, name);
	if (notifier && directory_path(&directory->node, path))
		notifier_moved(notifier, path, NULL);
	bury_names(directory);
	repeats_flush(&enclave->repeats);
	staging_unlink_all(directory);
	release_content(enclave);
	text_log_unlink(&enclave->journal);
	text_log_unlink(&enclave->console);
	directory_ref(directory);
	directory_removed(directory);
	text_log_drop_requests(&enclave->journal);
	text_log_drop_requests(&enclave->console);
	tell(enclave, name, "removed", NULL, NULL);
	directory_unref(directory);
	return 0;
}

static int rename_enclave(struct directory *directory, const char *name, struct nefs_error *err)
{
	struct directory *root = directory->parent;
	NEFS_AUTO_FREE char *old_name = strdup(directory->node.name);
	int failed;

	if (strcmp(directory->node.name, name) == 0)
		return 0;
	failed = check_free(root, name, err);
	if (failed)
		return failed;
	/* What was counted under the old name is told under it. */
	repeats_flush(&enclave_of(directory)->repeats);
	if (!old_name || directory_rename(root, &directory->node, name))
		return nefs_error_set(err, ENOMEM, "%s: out of memory for the new name", name);
	enclave_tell(enclave_of(directory), "renamed", old_name, NULL);
	return 0;
}

static int check_unlink(struct directory *directory, const char *name, struct nefs_error *err)
{
	const struct enclave *enclave = enclave_of(directory);

	if (enclave_meaning(enclave)->active)
		return nefs_error_set(err, EBUSY,
			"%s: %s is %s and keeps its files; write into it (cp), rename a new file over it, or "
			"stop it first: echo 0 > %s/start",
			name, enclave_name(enclave), enclave_meaning(enclave)->name,
			enclave_name(enclave));
	return 0;
}

static int chown_enclave(struct directory *directory, uid_t uid)
{
	struct enclave *enclave = enclave_of(directory);
	int failed =
		quota_chown(&directory->tree->quota, uid, QUOTA_ENCLAVES, &enclave->user, NULL);

	/* There is memory for the user by now. */
	if (!failed)
		failed = text_log_chown(&enclave->journal, uid);
	return failed ? failed : text_log_chown(&enclave->console, uid);
}

static void drop_requests(struct directory *directory)
{
	parked_drop(&enclave_of(directory)->waiting, NULL, ENODEV);
}

static const struct directory_ops enclave_ops = {
	.mkdir = staging_mkdir,
	.rmdir = remove_enclave,
	.rename = rename_enclave,
	.unlink = check_unlink,
	.refused = tell_refusal,
	.chown = chown_enclave,
	.drop_requests = drop_requests,
	.destroy = destroy,
};

bool enclave_is(const struct directory *directory)
{
	return directory->ops == &enclave_ops;
}

struct enclave *enclave_of(struct directory *directory)
{
	return (struct enclave *)directory;
}

/* What a flood of one enclave's can cost; more than 200 records of the usual length. */
static const struct text_log_limits journal_limits = { .bytes = 64U << 10 };
static const struct text_log_limits console_limits = { .bytes = 1U << 20 };

static int add_logs(struct enclave *enclave)
{
	struct directory *directory = &enclave->directory;
	int failed = text_log_init(&enclave->journal, directory, &journal_limits, "journal",
		"journal.1", 0444, enclave->files.journal_follow);

	return failed ? failed
		      : text_log_init(&enclave->console, directory, &console_limits, "console",
				"console.1", 0400, enclave->files.console_follow);
}

int enclave_mkdir(struct directory *root, const char *name, mode_t mode, uid_t uid, gid_t gid,
	struct node **made, struct nefs_error *err)
{
	struct quota_user *user;
	struct enclave *enclave;
	int failed = check_free(root, name, err);

	if (failed)
		return failed;
	failed = quota_take(&root->tree->quota, uid, QUOTA_ENCLAVES, &user, err);
	if (failed) {
		nefs_error_prefix(err, "%s", name);
		return failed;
	}
	enclave = calloc(1, sizeof(*enclave));
	if (!enclave) {
		quota_give(user, QUOTA_ENCLAVES);
		return nefs_error_set(err, ENOMEM, "%s: out of memory for another enclave", name);
	}
	enclave->user = user;
	LIST_INIT(&enclave->waiting);
	directory_init(&enclave->directory, root->tree, &enclave_ops, mode & 07777, uid, gid);
	staging_init(&enclave->staging, &enclave->directory);
	repeats_init(&enclave->repeats, fs_of(root)->event, write_record, enclave);
	own_records_init(&enclave->records, &enclave->directory, &enclave->journal);
	enclave->started_by = enclave->image_by = uid;
	if (control_populate(&enclave->directory, enclave_files) || add_logs(enclave) ||
		directory_add(root, &enclave->directory.node, name)) {
		text_log_release(&enclave->journal);
		text_log_release(&enclave->console);
		directory_unref(&enclave->directory);
		return nefs_error_set(err, ENOMEM, "%s: out of memory for another enclave", name);
	}
	enclave_tell(enclave, "created", NULL, NULL);
	*made = &enclave->directory.node;
	return 0;
}
