/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "records.h"
#include "fs.h"
#include <errno.h>
#include <nefs/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One user's share of log and root's journal. */
struct user_records {
	struct flood flood; /* first */
	LIST_ENTRY(user_records) siblings;
	struct fs *fs;
	uid_t uid;
};

/* A quarter of a file of the root's journal: that of one user alone never fills it. */
static const struct flood_limits user_limits = { .burst = 512, .reserve = 128 };

/* Half a file of an enclave's. */
static const struct flood_limits others_limits = { .burst = 64, .reserve = 32 };

/* ---- the log ---- */

static void log_record(struct fs *fs, const struct journal_event *event)
{
	const struct log_event line = {
		.event = event->event,
		.enclave = event->enclave,
		.old_name = event->old_name,
		.file = event->file,
		.error = event->error,
		.errno_code = event->errno_code,
		.cid = event->cid,
		.slot = event->slot,
		.has_slot = event->has_slot,
		.uid = event->uid,
		.has_uid = event->has_uid,
		.count = event->count,
	};

	log_event(fs->tree.log, &line);
}

/* ---- shares ---- */

static const char *sentence_of(struct nefs_error *err, unsigned int count, const char *whose)
{
	nefs_error_set(err, EDQUOT,
		"%u records of %s are left out here, as they came faster than one in 2 s", count,
		whose);
	return err->text;
}

static void tell_left_out(struct flood *flood, unsigned int count)
{
	const struct user_records *user = (const struct user_records *)flood;
	struct fs *fs = user->fs;
	struct journal_event event = {
		.event = "suppressed", .uid = user->uid, .has_uid = true, .count = count
	};
	struct nefs_error err;
	char whose[32];
	const char *text;
	size_t size;

	snprintf(whose, sizeof(whose), "user %u", user->uid);
	event.error = sentence_of(&err, count, whose);
	log_record(fs, &event);
	text = journal_line(&fs->records.journal, &event, &size);
	text_log_append(&fs->root.journal, text, size);
}

static void drop_user(struct records *records, struct user_records *user)
{
	LIST_REMOVE(user, siblings);
	records->user_count--;
	flood_release(&user->flood);
	free(user);
}

/* Who has taken the least loses the least by beginning anew. */
static void make_room(struct records *records)
{
	struct user_records *user, *least = NULL;

	if (records->user_count < RECORDS_USERS_MAX)
		return;
	LIST_FOREACH(user, &records->users, siblings)
	if (!least || flood_spent(&user->flood) < flood_spent(&least->flood))
		least = user;
	flood_flush(&least->flood);
	drop_user(records, least);
}

/* NULL: out of memory. */
static struct user_records *find_user(struct fs *fs, uid_t uid)
{
	struct records *records = &fs->records;
	struct user_records *user;

	LIST_FOREACH(user, &records->users, siblings)
	if (user->uid == uid)
		return user;
	make_room(records);
	user = calloc(1, sizeof(*user));
	if (!user)
		return NULL;
	user->fs = fs;
	user->uid = uid;
	user->flood =
		(struct flood){ .event = fs->event, .limits = &user_limits, .tell = tell_left_out };
	LIST_INSERT_HEAD(&records->users, user, siblings);
	records->user_count++;
	return user;
}

static bool has_no_bound(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

/* In the log and in the root's journal. */
static bool is_for_all(struct fs *fs, const struct journal_event *event, size_t size)
{
	struct user_records *user;

	if (has_no_bound(event->writer))
		return true;
	user = find_user(fs, event->writer);
	/* Whose flood takes the memory, too, has it no better for that. */
	return user && flood_admit(&user->flood, size, event->asked);
}

static void tell_others_left_out(struct flood *flood, unsigned int count)
{
	struct own_records *own = container_of(flood, struct own_records, others);
	struct journal_event event = {
		.event = "suppressed", .enclave = own->directory->node.name, .count = count
	};
	struct nefs_error err;
	const char *text;
	size_t size;

	if (own->directory->removed)
		return;
	event.error = sentence_of(&err, count, "users who do not own the enclave");
	text = journal_line(&fs_of(own->directory)->records.journal, &event, &size);
	text_log_append(own->journal, text, size);
}

void own_records_init(
	struct own_records *own, struct directory *directory, struct text_log *journal)
{
	*own = (struct own_records){ .directory = directory, .journal = journal };
	own->others.event = fs_of(directory)->event;
	own->others.limits = &others_limits;
	own->others.tell = tell_others_left_out;
}

/* In the enclave's own journal. */
static bool is_for_own(struct own_records *own, const struct journal_event *event, size_t size)
{
	if (own->directory->removed)
		return false;
	if (has_no_bound(event->writer) || event->writer == own->directory->node.uid)
		return true;
	return flood_admit(&own->others, size, event->asked);
}

/* ---- a record ---- */

/* About how long its line will be. */
static size_t size_of(const struct journal_event *event)
{
	return 200 + (event->file ? strlen(event->file) : 0) +
	       (event->error ? strlen(event->error) : 0);
}

void records_write(struct fs *fs, struct own_records *own, const struct journal_event *event)
{
	/* Each of the two may first tell what it left out. */
	bool for_own = own && is_for_own(own, event, size_of(event));
	bool for_all = is_for_all(fs, event, size_of(event));
	const char *text;
	size_t size;

	if (for_all)
		log_record(fs, event);
	text = journal_line(&fs->records.journal, event, &size);
	if (for_all)
		text_log_append(&fs->root.journal, text, size);
	if (for_own)
		text_log_append(own->journal, text, size);
}

void own_records_release(struct own_records *own)
{
	flood_release(&own->others);
}

void records_release(struct records *records)
{
	struct user_records *user;

	while ((user = LIST_FIRST(&records->users)))
		drop_user(records, user);
}
