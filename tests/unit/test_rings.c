/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What keeps the newest and forgets the oldest: nefs/journal.h and nefs/console.h. */
#include "console.h"
#include "cunit_main.h"
#include "journal.h"

static void test_journal_wraps(void)
{
	struct journal *journal = calloc(1, sizeof(*journal));
	const struct journal_record *record;
	uint64_t enclave, seq;

	CU_ASSERT_PTR_NOT_NULL_FATAL(journal);
	CU_ASSERT_EQUAL(journal_oldest(journal), 1);
	for (uint64_t i = 1; i <= JOURNAL_RECORDS + 10; i++) {
		const struct journal_event event = {
			.event = "created", .enclave = "web", .id = i % 2 + 1
		};

		CU_ASSERT_TRUE(journal_append(journal, &event, &enclave, &seq));
		CU_ASSERT_EQUAL(seq, i > JOURNAL_RECORDS ? i - JOURNAL_RECORDS : 0);
	}
	CU_ASSERT_EQUAL(journal_oldest(journal), 11);
	record = journal_find(journal, JOURNAL_ALL, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(record);
	CU_ASSERT_EQUAL(record->seq, 11);
	record = journal_find(journal, 1, 11); /* the even ones */
	CU_ASSERT_PTR_NOT_NULL_FATAL(record);
	CU_ASSERT_EQUAL(record->seq, 12);
	CU_ASSERT_EQUAL(record->line[record->size - 1], '\n');
	CU_ASSERT_PTR_NULL(journal_find(journal, 3, 0));
	CU_ASSERT_PTR_NULL(journal_find(journal, JOURNAL_ALL, JOURNAL_RECORDS + 11));
	journal_release(journal);
	free(journal);
}

static void test_journal_quotes(void)
{
	struct journal *journal = calloc(1, sizeof(*journal));
	const struct journal_event event = { .event = "failed",
		.enclave = "a",
		.id = 1,
		.cid = 16,
		.slot = 0xfffffffffffffff1,
		.has_slot = true,
		.error = "say \"no\"" };
	const struct journal_record *record;
	uint64_t enclave, seq;

	CU_ASSERT_PTR_NOT_NULL_FATAL(journal);
	CU_ASSERT_TRUE(journal_append(journal, &event, &enclave, &seq));
	record = journal_find(journal, JOURNAL_ALL, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(record);
	CU_ASSERT_PTR_NOT_NULL(strstr(record->line, "\"slot\":\"0xfffffffffffffff1\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(record->line, "\"cid\":16"));
	CU_ASSERT_PTR_NOT_NULL(strstr(record->line, "\"error\":\"say \\\"no\\\"\""));
	journal_release(journal);
	free(journal);
}

/* Reads all from a position; returns the bytes, which count up modulo 251 from `first`. */
static size_t drain(const struct console *console, uint64_t *position, unsigned int first)
{
	const char *data;
	size_t total = 0, got;

	while ((got = console_peek(console, position, &data)) > 0) {
		for (size_t i = 0; i < got; i += 997)
			CU_ASSERT_EQUAL((unsigned char)data[i], (first + total + i) % 251);
		total += got;
		*position += got;
	}
	return total;
}

static void test_console_wraps(void)
{
	struct console console = { 0 };
	size_t size = CONSOLE_MAX + 1000;
	unsigned char *bytes = malloc(size);
	uint64_t position = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(i % 251);
	CU_ASSERT_EQUAL(drain(&console, &position, 0), 0);
	console_append(&console, bytes, 700);
	CU_ASSERT_EQUAL(drain(&console, &position, 0), 700);
	console_append(&console, bytes + 700, CONSOLE_MAX - 100);
	CU_ASSERT_EQUAL(console.end - console.start, CONSOLE_MAX);
	CU_ASSERT_EQUAL(drain(&console, &position, 700), CONSOLE_MAX - 100);
	/* More than the ring at once: its end is kept. */
	console_clear(&console);
	CU_ASSERT_EQUAL(drain(&console, &position, 0), 0);
	console_append(&console, bytes, size);
	CU_ASSERT_EQUAL(console.end - console.start, CONSOLE_MAX);
	CU_ASSERT_EQUAL(drain(&console, &position, 1000), CONSOLE_MAX);
	console_release(&console);
	free(bytes);
}

static const CU_TestInfo tests[] = {
	{ "the journal keeps the newest records", test_journal_wraps },
	{ "a record is JSON whatever it says", test_journal_quotes },
	{ "the console keeps the last bytes", test_console_wraps },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("rings", tests, NULL, NULL);
}
