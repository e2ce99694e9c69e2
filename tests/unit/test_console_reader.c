/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reader of a console: attempts that fail, ends of all kinds, the last words of an enclave. */
#include "console_reader.h"
#include "cunit_main.h"
#include <errno.h>
#include <nefs/cleanup.h>
#include <sys/socket.h>

#define CID	     16
#define LONG_SECONDS 60 /* what hangs is ended by this */

/* A device whose console is there or not, as a test says. */
static struct fake {
	struct ne_dev dev;
	int refuse;	       /* an errno; 0: there is a console */
	unsigned int refusals; /* so many more; then there is one */
	unsigned int attempts;
	int printer; /* the other end of the last console */
} fake;

static int fake_console(struct ne_dev *dev, int enclave_fd, uint64_t cid, struct nefs_error *err)
{
	int ends[2];

	CU_ASSERT_PTR_EQUAL(dev, &fake.dev);
	CU_ASSERT_EQUAL(enclave_fd, 42);
	CU_ASSERT_EQUAL(cid, CID);
	fake.attempts++;
	if (fake.refuse)
		return nefs_error_set(err, fake.refuse, "there is none");
	if (fake.refusals > 0) {
		fake.refusals--;
		return nefs_error_set(err, EAGAIN, "there is none yet");
	}
	CU_ASSERT_FATAL(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends));
	nefs_cleanup_close(&fake.printer);
	fake.printer = ends[0];
	return ends[1];
}

static const struct ne_dev_ops fake_ops = { .name = "fake", .console = fake_console };

static sd_event *event;
static struct console_reader console;
static char text[256];
static size_t length;
static unsigned int drains;

static void on_data(struct console_reader *reader, const void *data, size_t size)
{
	CU_ASSERT_PTR_EQUAL(reader, &console);
	CU_ASSERT_FATAL(length + size < sizeof(text));
	memcpy(text + length, data, size);
	length += size;
	text[length] = '\0';
}

static void on_drained(struct console_reader *reader)
{
	CU_ASSERT_PTR_EQUAL(reader, &console);
	drains++;
}

static void set_up(void)
{
	alarm(LONG_SECONDS);
	fake = (struct fake){ .dev.ops = &fake_ops, .printer = -1 };
	CU_ASSERT_FATAL(sd_event_new(&event) >= 0);
	console = (struct console_reader){
		.event = event,
		.dev = &fake.dev,
		.enclave_fd = 42,
		.cid = CID,
		.data = on_data,
		.drained = on_drained,
	};
	text[0] = '\0';
	length = 0;
	drains = 0;
}

static void tear_down(void)
{
	console_reader_end(&console);
	nefs_cleanup_close(&fake.printer);
	sd_event_unref(event);
	alarm(0);
}

static void settle(void)
{
	while (sd_event_run(event, 0) > 0)
		;
}

/* Waits until there have been so many attempts; the alarm ends what never comes. */
static void await_attempts(unsigned int count)
{
	while (fake.attempts < count)
		CU_ASSERT_FATAL(sd_event_run(event, UINT64_MAX) >= 0);
}

static void print(const char *words)
{
	CU_ASSERT_FATAL(
		send(fake.printer, words, strlen(words), MSG_NOSIGNAL) == (ssize_t)strlen(words));
}

static void hang_up(void)
{
	close(fake.printer);
	fake.printer = -1;
}

/* Unread input makes the other end's read fail: ECONNRESET. */
static void reset(void)
{
	CU_ASSERT_FATAL(send(console.fd, "x", 1, MSG_NOSIGNAL) == 1);
	hang_up();
}

static void test_reads(void)
{
	console_reader_begin(&console);
	CU_ASSERT_EQUAL(fake.attempts, 1);
	print("one ");
	settle();
	CU_ASSERT_STRING_EQUAL(text, "one ");
	print("two");
	settle();
	CU_ASSERT_STRING_EQUAL(text, "one two");
	/* The end of the stream is the end of it, and nobody who waits is told. */
	hang_up();
	settle();
	CU_ASSERT_FALSE(console.begun);
	CU_ASSERT_EQUAL(drains, 0);
	CU_ASSERT_EQUAL(fake.attempts, 1);
}

static void test_tries_again(void)
{
	uint64_t pause;

	fake.refusals = 3;
	console_reader_begin(&console);
	pause = console.pause;
	for (unsigned int i = 2; i <= 3; i++) {
		await_attempts(i);
		CU_ASSERT_EQUAL(console.pause, 2 * pause);
		pause = console.pause;
	}
	await_attempts(4);
	print("at last");
	settle();
	CU_ASSERT_STRING_EQUAL(text, "at last");
	/* Whoever has been read from is tried again soon. */
	CU_ASSERT(console.pause < pause);
}

static void test_pause_is_bounded(void)
{
	fake.refuse = ECONNREFUSED;
	console_reader_begin(&console);
	console.pause = 900000;
	await_attempts(2);
	CU_ASSERT_EQUAL(console.pause, 1000000);
	console.pause = 1;
	await_attempts(4);
}

static void test_reset(void)
{
	console_reader_begin(&console);
	print("before ");
	settle();
	reset();
	await_attempts(2);
	print("after");
	settle();
	CU_ASSERT_STRING_EQUAL(text, "before after");
}

static void test_drains(void)
{
	console_reader_begin(&console);
	print("last words");
	CU_ASSERT_FALSE(console_reader_drain(&console));
	settle();
	CU_ASSERT_STRING_EQUAL(text, "last words");
	CU_ASSERT_EQUAL(drains, 0);
	hang_up();
	settle();
	CU_ASSERT_EQUAL(drains, 1);
	CU_ASSERT_FALSE(console.begun);
}

static void test_drains_after_reset(void)
{
	console_reader_begin(&console);
	CU_ASSERT_FALSE(console_reader_drain(&console));
	reset();
	settle();
	CU_ASSERT_EQUAL(drains, 1);
	CU_ASSERT_EQUAL(fake.attempts, 1);
}

/* It printed and died between two attempts: one more, at once. */
static void test_drains_unconnected(void)
{
	fake.refusals = 1;
	console_reader_begin(&console);
	CU_ASSERT_FALSE(console_reader_drain(&console));
	CU_ASSERT_EQUAL(fake.attempts, 2);
	print("late");
	hang_up();
	settle();
	CU_ASSERT_STRING_EQUAL(text, "late");
	CU_ASSERT_EQUAL(drains, 1);
}

static void test_drains_nothing(void)
{
	CU_ASSERT(console_reader_drain(&console));
	fake.refuse = ECONNREFUSED;
	console_reader_begin(&console);
	CU_ASSERT(console_reader_drain(&console));
	CU_ASSERT_EQUAL(fake.attempts, 2);
	settle();
	CU_ASSERT_EQUAL(drains, 0);
	CU_ASSERT_FALSE(console.begun);
}

static void test_ends(void)
{
	console_reader_end(&console);
	console_reader_begin(&console);
	print("unread");
	console_reader_end(&console);
	CU_ASSERT(send(fake.printer, "x", 1, MSG_NOSIGNAL) < 0);
	settle();
	/* While it waits for the next attempt, and while it drains. */
	fake.refusals = 1;
	console_reader_begin(&console);
	console_reader_end(&console);
	console_reader_end(&console);
	console_reader_begin(&console);
	CU_ASSERT_FALSE(console_reader_drain(&console));
	console_reader_end(&console);
	settle();
	CU_ASSERT_STRING_EQUAL(text, "");
	CU_ASSERT_EQUAL(drains, 0);
	CU_ASSERT_EQUAL(fake.attempts, 3);
}

static const CU_TestInfo tests[] = {
	{ "reads to the end", test_reads },
	{ "tries again, less and less often", test_tries_again },
	{ "but once a second", test_pause_is_bounded },
	{ "goes on after a reset", test_reset },
	{ "reads the last words", test_drains },
	{ "a reset ends the last words", test_drains_after_reset },
	{ "last words between two attempts", test_drains_unconnected },
	{ "no last words", test_drains_nothing },
	{ "stops at any time", test_ends },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("console_reader", tests, set_up, tear_down);
}
