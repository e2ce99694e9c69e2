/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An enclave as an object: its name, its directory, what is told about it. Its life: life.c. */
#include "enclave.h"
#include "control.h"
#include "notifier.h"
#include <errno.h>
#include <nefs/cleanup.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_names[] = {
	[STATE_INIT] = "init",
	[STATE_STARTING] = "starting",
	[STATE_RUNNING] = "running",
	[STATE_STOPPING] = "stopping",
	[STATE_STOPPED] = "stopped",
	[STATE_FAILED] = "failed",
	[STATE_CRASHED] = "crashed",
};

const char *enclave_state_name(enum enclave_state state)
{
	return state_names[state];
}

bool enclave_changing(const struct enclave *enclave)
{
	return enclave->state == STATE_STARTING || enclave->state == STATE_STOPPING;
}

bool enclave_active(const struct enclave *enclave)
{
	return enclave_changing(enclave) || enclave->state == STATE_RUNNING;
}

bool enclave_is(const struct directory *directory)
{
	return directory->table == enclave_files;
}

struct enclave *enclave_of(struct directory *directory)
{
	return (struct enclave *)directory;
}

int enclave_check_name(const char *name, struct nefs_error *err)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-@:";
	size_t length = strlen(name);

	if (length < 1 || length > ENCLAVE_NAME_MAX || strspn(name, allowed) != length ||
		name[0] == '.' || name[0] == '-')
		return nefs_error_set(err, EINVAL,
			"an enclave's name has 1 to %d characters of A-Z a-z 0-9 . _ - @ : and does not "
			"begin with a dot or a dash",
			ENCLAVE_NAME_MAX);
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct enclave *)a)->name, ((const struct enclave *)b)->name);
}

struct enclave *enclave_find(struct fs *fs, const char *name)
{
	struct enclave key;
	void *found;

	if (strlen(name) > ENCLAVE_NAME_MAX)
		return NULL;
	strcpy(key.name, name);
	found = tfind(&key, &fs->by_name, compare_names);
	return found ? *(struct enclave **)found : NULL;
}

/*
 * What nobody can read any more once the directory is gone. The object itself stays until the
 * kernel forgets its inodes, which may be never.
 */
static void release_content(struct enclave *enclave)
{
	settings_release(&enclave->settings);
	spool_file_unref(enclave->image);
	enclave->image = NULL;
	free(nefs_take_ptr(enclave->measurements));
	free(nefs_take_ptr(enclave->image_info));
	free(nefs_take_ptr(enclave->start_text));
	console_release(&enclave->console);
}

static void enclave_destroy(struct directory *directory)
{
	struct enclave *enclave = enclave_of(directory);

	LIST_REMOVE(enclave, alive);
	release_content(enclave);
	free(enclave->grant);
	sd_event_source_disable_unref(enclave->patience);
	free(directory->controls);
	free(enclave);
}

void enclave_journal(
	struct enclave *enclave, const char *event, const char *old_name, const char *error)
{
	struct fs *fs = enclave->directory.fs;
	struct journal_event record = {
		.event = event,
		.enclave = enclave->name,
		.old_name = old_name,
		.id = enclave->id,
		.cid = enclave->grant ? enclave->grant->cid : 0,
		.slot = enclave->grant ? enclave->grant->slot_uid : 0,
		.has_slot = enclave->grant != NULL,
		.error = error,
	};
	uint64_t dropped_enclave, dropped_seq;

	if (!journal_append(&fs->journal, &record, &dropped_enclave, &dropped_seq))
		return;
	/* A reader of that enclave's journal must learn that it missed something. */
	for (size_t low = 0, high = fs->enclave_count; dropped_enclave && low < high;) {
		size_t middle = low + (high - low) / 2;
		struct enclave *other = fs->enclaves[middle];

		if (other->id == dropped_enclave)
			other->journal_dropped = dropped_seq;
		if (other->id == dropped_enclave)
			break;
		if (other->id < dropped_enclave)
			low = middle + 1;
		else
			high = middle;
	}
	node_changed(directory_control(&fs->root, "journal"));
	if (!enclave->directory.removed)
		node_changed(directory_control(&enclave->directory, "journal"));
}

static int add_to_tables(struct fs *fs, struct enclave *enclave)
{
	if (fs->enclave_count == fs->enclave_room) {
		size_t room = fs->enclave_room ? fs->enclave_room * 2 : 64;
		struct enclave **bigger = reallocarray(fs->enclaves, room, sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		fs->enclaves = bigger;
		fs->enclave_room = room;
	}
	if (!tsearch(enclave, &fs->by_name, compare_names))
		return -ENOMEM;
	fs->enclaves[fs->enclave_count++] = enclave;
	return 0;
}

static void remove_from_tables(struct fs *fs, struct enclave *enclave)
{
	size_t low = 0, high = fs->enclave_count;

	while (low < high) { /* they are in order of their ids */
		size_t middle = low + (high - low) / 2;

		if (fs->enclaves[middle]->id < enclave->id)
			low = middle + 1;
		else
			high = middle;
	}
	memmove(&fs->enclaves[low], &fs->enclaves[low + 1],
		(fs->enclave_count - low - 1) * sizeof(*fs->enclaves));
	fs->enclave_count--;
	tdelete(enclave, &fs->by_name, compare_names);
}

/* mkdir and mv: may this name be taken? */
static int check_free(struct fs *fs, const char *name, struct nefs_error *err)
{
	int failed;

	if (enclave_find(fs, name) || directory_control(&fs->root, name) ||
		(fs->has_sim && strcmp(name, "sim") == 0))
		return nefs_error_set(err, EEXIST, "%.64s exists already", name);
	failed = enclave_check_name(name, err);
	nefs_error_prefix(err, "%.80s", name);
	return failed;
}

int enclave_create(struct fs *fs, const char *name, mode_t mode, uid_t uid, gid_t gid,
	struct enclave **result, struct nefs_error *err)
{
	struct enclave *enclave;
	int failed = check_free(fs, name, err);

	if (failed)
		return failed;
	enclave = calloc(1, sizeof(*enclave));
	if (!enclave)
		goto no_memory;
	strcpy(enclave->name, name);
	LIST_INIT(&enclave->waiting);
	LIST_INIT(&enclave->staged);
	LIST_INIT(&enclave->known);
	enclave->image_generation = 1;
	enclave->id = ++fs->next_enclave;
	if (!directory_init(&enclave->directory, fs, enclave_files, mode & 07777, uid, gid,
		    enclave_destroy) ||
		add_to_tables(fs, enclave)) {
		free(enclave->directory.controls);
		free(enclave);
		goto no_memory;
	}
	LIST_INSERT_HEAD(&fs->alive, enclave, alive);
	enclave_journal(enclave, "created", NULL, NULL);
	*result = enclave;
	return 0;
no_memory:
	return nefs_error_set(err, ENOMEM, "%s: out of memory for another enclave", name);
}

int enclave_remove(struct enclave *enclave, struct nefs_error *err)
{
	struct fs *fs = enclave->directory.fs;

	if (enclave_active(enclave))
		return nefs_error_set(err, EBUSY, "%s is %s; stop it first: echo 0 > %s/start",
			enclave->name, enclave_state_name(enclave->state), enclave->name);
	remove_from_tables(fs, enclave);
	enclave->start_queued = false;
	staged_unlink_all(enclave);
	directory_removed(&enclave->directory);
	notifier_forget(fs->notifier, enclave->name);
	release_content(enclave);
	enclave_journal(enclave, "removed", NULL, NULL);
	directory_unref(&enclave->directory);
	return 0;
}

int enclave_rename(struct enclave *enclave, const char *name, struct nefs_error *err)
{
	struct fs *fs = enclave->directory.fs;
	char old_name[ENCLAVE_NAME_MAX + 1];
	int failed;

	if (strcmp(enclave->name, name) == 0)
		return 0;
	failed = check_free(fs, name, err);
	if (failed)
		return failed;
	strcpy(old_name, enclave->name);
	tdelete(enclave, &fs->by_name, compare_names);
	strcpy(enclave->name, name);
	if (!tsearch(enclave, &fs->by_name, compare_names)) {
		/* The node that tdelete has just freed is there for the old name. */
		strcpy(enclave->name, old_name);
		tsearch(enclave, &fs->by_name, compare_names);
		return nefs_error_set(err, ENOMEM, "%s: out of memory for the new name", name);
	}
	enclave_journal(enclave, "renamed", old_name, NULL);
	return 0;
}
