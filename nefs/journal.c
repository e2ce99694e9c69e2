/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "journal.h"
#include <inttypes.h>
#include <jansson.h>
#include <nefs/cleanup.h>
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
	for (size_t i = 0; i < JOURNAL_RECORDS; i++)
		memset(journal->records[i].text, 0, sizeof(journal->records[i].text));
}

uint64_t journal_oldest(const struct journal *journal)
{
	return journal->next > JOURNAL_RECORDS ? journal->next - JOURNAL_RECORDS : 1;
}

/* RFC 3339 with microseconds, UTC. The part above them is made once a second. */
static void format_time(struct journal *journal, char *text, size_t size)
{
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec != journal->second) {
		gmtime_r(&now.tv_sec, &tm);
		strftime(journal->date, sizeof(journal->date), "%Y-%m-%dT%H:%M:%S", &tm);
		journal->second = now.tv_sec;
	}
	snprintf(text, size, "%s.%06ldZ", journal->date, now.tv_nsec / 1000);
}

/* A JSON string of any text, malloc'ed, with the quotes. NULL: no memory. */
static char *quote(const char *text)
{
	json_t *string = json_string(text);
	char *quoted = json_dumps(string, JSON_ENCODE_ANY);

	json_decref(string);
	return quoted;
}

/*
 * Writes what a record says, with the newline, as snprintf(3) would. error is quoted already, or "".
 * Names and words need no quotes of theirs: what an enclave may be called has none (enclave.c).
 */
static size_t format_line(char *line, size_t room, const char *time, uint64_t seq,
	const struct journal_event *event, const char *error)
{
	char old_name[80] = "", cid[32] = "", slot[48] = "";

	if (event->old_name)
		snprintf(old_name, sizeof(old_name), ",\"old_name\":\"%s\"", event->old_name);
	if (event->cid)
		snprintf(cid, sizeof(cid), ",\"cid\":%" PRIu64, event->cid);
	/* As text, like the slot file: JSON readers lose the low bits of large numbers. */
	if (event->has_slot)
		snprintf(slot, sizeof(slot), ",\"slot\":\"0x%" PRIx64 "\"", event->slot);
	return (size_t)snprintf(line, room,
		"{\"time\":\"%s\",\"seq\":%" PRIu64
		",\"enclave\":\"%s\",\"event\":\"%s\"%s%s%s%s%s}\n",
		time, seq, event->enclave, event->event, old_name, cid, slot,
		*error ? ",\"error\":" : "", error);
}

/* Forgets what a record says. */
static void empty(struct journal_record *record)
{
	if (record->line != record->text)
		free(record->line);
	record->line = NULL;
}

/* Writes a record's line into it, or behind it if it is a long one. False: no memory. */
static bool write_line(
	struct journal *journal, struct journal_record *record, const struct journal_event *event)
{
	NEFS_AUTO_FREE char *error = event->error && *event->error ? quote(event->error) : NULL;
	const char *quoted = error ? error : "";
	char time[64], text[JOURNAL_LINE], *line = NULL;
	size_t size;

	format_time(journal, time, sizeof(time));
	size = format_line(text, sizeof(text), time, journal->next, event, quoted);
	if (size >= sizeof(text)) {
		line = malloc(size + 1);
		if (!line)
			return false;
		format_line(line, size + 1, time, journal->next, event, quoted);
	}
	empty(record);
	record->line = line ? line : memcpy(record->text, text, size);
	record->size = size;
	return true;
}

bool journal_append(struct journal *journal, struct journal_chain *chain,
	const struct journal_event *event, struct journal_record *dropped)
{
	struct journal_record *record = record_at(journal, journal->next);
	const struct journal_record before = {
		.seq = record->seq, .enclave = record->enclave, .next = record->next
	};

	if (!write_line(journal, record, event))
		return false;
	*dropped = before;
	record->seq = journal->next++;
	record->enclave = event->id;
	record->next = 0;
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
	for (size_t i = 0; i < JOURNAL_RECORDS; i++)
		empty(&journal->records[i]);
}
