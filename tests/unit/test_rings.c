/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What keeps the newest and forgets the oldest: nefs/journal.h and nefs/console_ring.h. */
#include "console_ring.h"
#include "cunit_main.h"
#include "journal.h"

static struct journal *new_journal(void)
{
	struct journal *journal = calloc(1, sizeof(*journal));

	CU_ASSERT_PTR_NOT_NULL_FATAL(journal);
	journal_init(journal);
	return journal;
}

/* Of two enclaves by turns, whose ids are 1 and 2. */
static void append_many(struct journal *journal, struct journal_chain chains[3], uint64_t count)
{
	struct journal_record dropped;

	for (uint64_t i = 1; i <= count; i++) {
		uint64_t id = i % 2 + 1;
		const struct journal_event event = {
			.event = "created", .enclave = "web", .id = id
		};

		CU_ASSERT_TRUE(journal_append(journal, &chains[id], &event, &dropped));
		CU_ASSERT_EQUAL(dropped.seq, i > JOURNAL_RECORDS ? i - JOURNAL_RECORDS : 0);
		if (dropped.seq)
			journal_dropped(&chains[dropped.enclave], &dropped);
	}
}

static void test_journal_wraps(void)
{
	struct journal *journal = new_journal();
	struct journal_chain chains[3] = { { 0 } };
	const struct journal_record *record;

	CU_ASSERT_EQUAL(journal_oldest(journal), 1);
	CU_ASSERT_PTR_NULL(journal_find(journal, NULL, 0));
	CU_ASSERT_PTR_NULL(journal_find(journal, &chains[1], 0));
	append_many(journal, chains, JOURNAL_RECORDS + 10);
	CU_ASSERT_EQUAL(journal_oldest(journal), 11);
	CU_ASSERT_EQUAL(journal_lost(journal, NULL), 10);
	CU_ASSERT_EQUAL(journal_lost(journal, &chains[1]), 10);
	CU_ASSERT_EQUAL(journal_lost(journal, &chains[2]), 9);
	record = journal_find(journal, NULL, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(record);
	CU_ASSERT_EQUAL(record->seq, 11);
	record = journal_find(journal, &chains[1], 11); /* the even ones */
	CU_ASSERT_PTR_NOT_NULL_FATAL(record);
	CU_ASSERT_EQUAL(record->seq, 12);
	CU_ASSERT_EQUAL(record->line[record->size - 1], '\n');
	CU_ASSERT_PTR_NULL(journal_find(journal, NULL, JOURNAL_RECORDS + 11));
	CU_ASSERT_PTR_NULL(journal_find(journal, &chains[1], JOURNAL_RECORDS + 11));
	journal_release(journal);
	free(journal);
}

/* Whatever is asked for, a chain gives its next record, and none of another enclave. */
static void test_journal_chain(void)
{
	struct journal *journal = new_journal();
	struct journal_chain chains[3] = { { 0 } };

	append_many(journal, chains, 2 * JOURNAL_RECORDS + 7);
	for (uint64_t id = 1; id <= 2; id++)
		for (uint64_t from = 1; from < journal->next + 2; from++) {
			uint64_t want =
				from > journal_oldest(journal) ? from : journal_oldest(journal);
			const struct journal_record *record =
				journal_find(journal, &chains[id], from);

			want += want % 2 + 1 != id;
			if (want >= journal->next) {
				CU_ASSERT_PTR_NULL(record);
				continue;
			}
			CU_ASSERT_PTR_NOT_NULL_FATAL(record);
			CU_ASSERT_EQUAL(record->seq, want);
			CU_ASSERT_EQUAL(record->enclave, id);
		}
	journal_release(journal);
	free(journal);
}

/* An enclave of which nothing has been said for a whole ring, and whose last record gives way to its next. */
static void test_journal_chain_starts_anew(void)
{
	struct journal *journal = new_journal();
	struct journal_chain quiet = { 0 }, other = { 0 };
	const struct journal_event event = { .event = "created", .enclave = "a", .id = 1 };
	const struct journal_event noise = { .event = "created", .enclave = "b", .id = 2 };
	struct journal_record dropped;

	CU_ASSERT_TRUE(journal_append(journal, &quiet, &event, &dropped));
	for (int i = 1; i < JOURNAL_RECORDS; i++)
		CU_ASSERT_TRUE(journal_append(journal, &other, &noise, &dropped));
	CU_ASSERT_TRUE(journal_append(journal, &quiet, &event, &dropped));
	CU_ASSERT_EQUAL(dropped.seq, 1);
	journal_dropped(&quiet, &dropped);
	CU_ASSERT_EQUAL(quiet.first, JOURNAL_RECORDS + 1);
	CU_ASSERT_EQUAL(quiet.last, JOURNAL_RECORDS + 1);
	CU_ASSERT_EQUAL(journal_lost(journal, &quiet), 1);
	CU_ASSERT_PTR_NOT_NULL(journal_find(journal, &quiet, 2));
	for (int i = 0; i < JOURNAL_RECORDS; i++)
		CU_ASSERT_TRUE(journal_append(journal, &other, &noise, &dropped));
	CU_ASSERT_EQUAL(dropped.seq, JOURNAL_RECORDS + 1);
	journal_dropped(&quiet, &dropped);
	CU_ASSERT_EQUAL(quiet.first, 0);
	CU_ASSERT_EQUAL(quiet.last, 0);
	CU_ASSERT_PTR_NULL(journal_find(journal, &quiet, 0));
	CU_ASSERT_TRUE(journal_append(journal, &quiet, &event, &dropped));
	CU_ASSERT_EQUAL(quiet.first, journal->next - 1);
	journal_release(journal);
	free(journal);
}

static void test_journal_quotes(void)
{
	struct journal *journal = new_journal();
	const struct journal_event event = { .event = "failed",
		.enclave = "a",
		.id = 1,
		.cid = 16,
		.slot = 0xfffffffffffffff1,
		.has_slot = true,
		.error = "say \"no\"" };
	const struct journal_record *record;
	struct journal_record dropped;

	CU_ASSERT_TRUE(journal_append(journal, NULL, &event, &dropped));
	record = journal_find(journal, NULL, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(record);
	CU_ASSERT_PTR_NOT_NULL(strstr(record->line, "\"slot\":\"0xfffffffffffffff1\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(record->line, "\"cid\":16"));
	CU_ASSERT_PTR_NOT_NULL(strstr(record->line, "\"error\":\"say \\\"no\\\"\""));
	journal_release(journal);
	free(journal);
}

/* Reads all from a position; returns the bytes, which count up modulo 251 from `first`. */
static size_t drain(const struct console_ring *console, uint64_t *position, unsigned int first)
{
	const char *data;
	size_t total = 0, got;

	while ((got = console_ring_peek(console, position, &data)) > 0) {
		for (size_t i = 0; i < got; i += 997)
			CU_ASSERT_EQUAL((unsigned char)data[i], (first + total + i) % 251);
		total += got;
		*position += got;
	}
	return total;
}

static void test_console_wraps(void)
{
	struct console_ring console = { 0 };
	size_t size = CONSOLE_RING_SIZE + 1000;
	unsigned char *bytes = malloc(size);
	uint64_t position = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(i % 251);
	CU_ASSERT_EQUAL(drain(&console, &position, 0), 0);
	console_ring_append(&console, bytes, 700);
	CU_ASSERT_EQUAL(drain(&console, &position, 0), 700);
	console_ring_append(&console, bytes + 700, CONSOLE_RING_SIZE - 100);
	CU_ASSERT_EQUAL(console.end - console.start, CONSOLE_RING_SIZE);
	CU_ASSERT_EQUAL(drain(&console, &position, 700), CONSOLE_RING_SIZE - 100);
	/* More than the ring at once: its end is kept. */
	console_ring_clear(&console);
	CU_ASSERT_EQUAL(drain(&console, &position, 0), 0);
	console_ring_append(&console, bytes, size);
	CU_ASSERT_EQUAL(console.end - console.start, CONSOLE_RING_SIZE);
	CU_ASSERT_EQUAL(drain(&console, &position, 1000), CONSOLE_RING_SIZE);
	console_ring_release(&console);
	free(bytes);
}

static const CU_TestInfo tests[] = {
	{ "the journal keeps the newest records", test_journal_wraps },
	{ "a chain leads to an enclave's next record", test_journal_chain },
	{ "a chain that all gave way of starts anew", test_journal_chain_starts_anew },
	{ "a record is JSON whatever it says", test_journal_quotes },
	{ "the console keeps the last bytes", test_console_wraps },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("rings", tests, NULL, NULL);
}
