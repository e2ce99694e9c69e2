/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "journal.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct journal_record *record_at(const struct journal *journal, uint64_t seq)
{
	return (struct journal_record *)&journal->records[seq % JOURNAL_RECORDS];
}

void journal_init(struct journal *journal)
{
	journal->next = 1;
}

uint64_t journal_oldest(const struct journal *journal)
{
	return journal->next > JOURNAL_RECORDS ? journal->next - JOURNAL_RECORDS : 1;
}

/* RFC 3339 with microseconds, UTC. */
static void format_time(char *text, size_t size)
{
	struct timespec now;
	struct tm tm;
	size_t used;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	used = strftime(text, size, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + used, size - used, ".%06ldZ", now.tv_nsec / 1000);
}

static char *format_line(uint64_t seq, const struct journal_event *event, size_t *size)
{
	char time[64], slot[24];
	json_t *object;
	char *text, *line = NULL;

	format_time(time, sizeof(time));
	object = json_pack("{s:s, s:I, s:s, s:s}", "time", time, "seq", (json_int_t)seq, "enclave",
		event->enclave, "event", event->event);
	if (!object)
		return NULL;
	if (event->old_name)
		json_object_set_new(object, "old_name", json_string(event->old_name));
	if (event->cid)
		json_object_set_new(object, "cid", json_integer((json_int_t)event->cid));
	if (event->has_slot) {
		/* As text, like the slot file: JSON readers lose the low bits of large numbers. */
		snprintf(slot, sizeof(slot), "0x%llx", (unsigned long long)event->slot);
		json_object_set_new(object, "slot", json_string(slot));
	}
	if (event->error && *event->error)
		json_object_set_new(object, "error", json_string(event->error));
	text = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);
	json_decref(object);
	if (!text)
		return NULL;
	*size = strlen(text) + 1;
	line = malloc(*size + 1);
	if (line)
		snprintf(line, *size + 1, "%s\n", text);
	free(text);
	return line;
}

bool journal_append(struct journal *journal, struct journal_chain *chain,
	const struct journal_event *event, struct journal_record *dropped)
{
	struct journal_record *record;
	size_t size;
	char *line = format_line(journal->next, event, &size);

	if (!line)
		return false;
	record = record_at(journal, journal->next);
	*dropped = *record;
	free(record->line);
	dropped->line = NULL;
	*record = (struct journal_record){
		.seq = journal->next++,
		.enclave = event->id,
		.line = line,
		.size = size,
	};
	if (!chain)
		return true;
	/* A chain may end with the very record that gave way. */
	if (chain->last && chain->last != dropped->seq)
		record_at(journal, chain->last)->next = record->seq;
	else if (chain->last)
		dropped->next = record->seq;
	if (!chain->first)
		chain->first = record->seq;
	chain->last = record->seq;
	return true;
}

void journal_dropped(struct journal_chain *chain, const struct journal_record *dropped)
{
	chain->dropped = dropped->seq;
	chain->first = dropped->next;
	if (chain->last == dropped->seq)
		chain->last = 0;
}

uint64_t journal_lost(const struct journal *journal, const struct journal_chain *chain)
{
	return chain ? chain->dropped : journal_oldest(journal) - 1;
}

const struct journal_record *journal_find(
	const struct journal *journal, const struct journal_chain *chain, uint64_t from)
{
	uint64_t seq = journal_oldest(journal);

	if (from > seq)
		seq = from;
	if (!chain)
		return seq < journal->next ? record_at(journal, seq) : NULL;
	if (seq > chain->last)
		return NULL;
	/* Who reads one after the other asks for what is behind the one that it had. */
	if (record_at(journal, seq - 1)->seq == seq - 1 && seq - 1 >= chain->first &&
		record_at(journal, seq - 1)->enclave == record_at(journal, chain->last)->enclave)
		return record_at(journal, record_at(journal, seq - 1)->next);
	/* Bounded by the enclave's own records, which are in the ring from the first to the last. */
	for (uint64_t at = chain->first; at; at = record_at(journal, at)->next)
		if (at >= seq)
			return record_at(journal, at);
	return NULL;
}

void journal_release(struct journal *journal)
{
	for (size_t i = 0; i < JOURNAL_RECORDS; i++) {
		free(journal->records[i].line);
		journal->records[i].line = NULL;
	}
}
