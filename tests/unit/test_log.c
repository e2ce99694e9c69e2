/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log over a journal, a syslog and a stderr of the test's own. */
#include "cunit_main.h"
#include "temporary.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/log.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define WRITERS	     4
#define WRITER_LINES 200

static char directory[TEMPORARY_MAX];
static char journal_path[96], syslog_path[96];
static int journal = -1, syslog_end = -1; /* what a test listens on */
static int stderr_kept = -1, stderr_read = -1;
static struct log *opened;

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, path);
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void set_up(void)
{
	temporary_directory(directory, "nefs-log");
	snprintf(journal_path, sizeof(journal_path), "%s/journal", directory);
	snprintf(syslog_path, sizeof(syslog_path), "%s/syslog", directory);
	signal(SIGPIPE, SIG_IGN);
	unsetenv("JOURNAL_STREAM");
}

static void stderr_back(void)
{
	if (stderr_kept >= 0) {
		dup2(stderr_kept, STDERR_FILENO);
		close(stderr_kept);
	}
	if (stderr_read >= 0)
		close(stderr_read);
	stderr_kept = stderr_read = -1;
}

static void tear_down(void)
{
	stderr_back();
	log_close(opened);
	opened = NULL;
	if (journal >= 0)
		close(journal);
	if (syslog_end >= 0)
		close(syslog_end);
	journal = syslog_end = -1;
	unlink(journal_path);
	unlink(syslog_path);
	rmdir(directory);
}

/* stderr becomes an end of this pipe or socket pair; stderr_read is the other. */
static void take_stderr(int ends[2])
{
	stderr_kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	stderr_read = ends[0];
	fcntl(stderr_read, F_SETFL, O_NONBLOCK);
}

static void take_stderr_by_pipe(void)
{
	int ends[2];

	CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
	take_stderr(ends);
}

static struct log *open_log(bool foreground)
{
	struct log_options options = {
		.foreground = foreground,
		.mount = "/run/nefs",
		.journal_socket = journal_path,
		.syslog_socket = syslog_path,
	};

	CU_ASSERT_EQUAL_FATAL(log_open(&options, &opened, NULL), 0);
	return opened;
}

/* What has arrived at this end; "" if nothing has. */
static const char *arrived(int fd)
{
	static char text[65536];
	ssize_t got = read(fd, text, sizeof(text) - 1);

	text[got > 0 ? got : 0] = '\0';
	return text;
}

static const struct log_event crash = {
	.event = "crashed",
	.enclave = "web",
	.error = "the enclave ended by itself",
	.errno_code = EIO,
	.cid = 16,
	.slot = 0x8000000000000001,
	.has_slot = true,
};

#define CRASH_LINE "web: crashed, CID 16, slot 0x8000000000000001: the enclave ended by itself"

static void test_journal(void)
{
	journal = listen_at(journal_path);
	syslog_end = listen_at(syslog_path);
	log_event(open_log(false), &crash);
	CU_ASSERT_STRING_EQUAL(arrived(journal), "MESSAGE=" CRASH_LINE "\n"
						 "PRIORITY=3\n"
						 "SYSLOG_IDENTIFIER=nefs\n"
						 "SYSLOG_FACILITY=3\n"
						 "EVENT=crashed\n"
						 "MESSAGE_ID=24c9939a18d54f55aff788da5dae4476\n"
						 "ENCLAVE=web\n"
						 "CID=16\n"
						 "SLOT=0x8000000000000001\n"
						 "ERRNO=5\n"
						 "NEFS_MOUNT=/run/nefs\n");
	/* One place only. */
	CU_ASSERT_STRING_EQUAL(arrived(syslog_end), "");
	CU_ASSERT_FALSE(log_is_stderr(opened));
}

static void test_fields_of_a_refusal(void)
{
	const char *got;

	journal = listen_at(journal_path);
	log_event(open_log(false), &(struct log_event){ .event = "refused",
					   .enclave = "web",
					   .file = "memory",
					   .error = "memory: '1x' is no size",
					   .errno_code = EINVAL,
					   .has_uid = true });
	got = arrived(journal);
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "MESSAGE=web: refused: memory: '1x' is no size\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "\nPRIORITY=5\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "\nNEFS_FILE=memory\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "\nNEFS_UID=0\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "\nERRNO=22\n"));
	CU_ASSERT_PTR_NULL(strstr(got, "CID="));
	CU_ASSERT_PTR_NULL(strstr(got, "SLOT="));
}

static void test_daemon(void)
{
	const char *got;

	journal = listen_at(journal_path);
	log_event(open_log(false),
		&(struct log_event){ .event = "ending", .error = "SIGTERM from process 1" });
	got = arrived(journal);
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "MESSAGE=nefs: ending: SIGTERM from process 1\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "\nPRIORITY=5\n"));
	CU_ASSERT_PTR_NULL(strstr(got, "ENCLAVE="));
	/* With an errno an end is an error. */
	log_event(opened,
		&(struct log_event){ .event = "ending", .error = "broke", .errno_code = EIO });
	CU_ASSERT_PTR_NOT_NULL(strstr(arrived(journal), "\nPRIORITY=3\n"));
	/* An event without a row of its own still is a line. */
	log_event(opened, &(struct log_event){ .event = "sang", .enclave = "web" });
	got = arrived(journal);
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "MESSAGE=web: sang\nPRIORITY=6\n"));
	CU_ASSERT_PTR_NULL(strstr(got, "MESSAGE_ID="));
}

/* Nobody forges a field or a line by a name or a sentence. */
static void test_newlines(void)
{
	const char *got;

	journal = listen_at(journal_path);
	log_event(open_log(false),
		&(struct log_event){
			.event = "crashed", .enclave = "web", .error = "a\nPRIORITY=0\033[1m" });
	got = arrived(journal);
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "MESSAGE=web: crashed: a\\nPRIORITY=0\\x1b[1m\n"));
	CU_ASSERT_PTR_NULL(strstr(got, "\nPRIORITY=0"));
	log_line(opened, LOG_ERR, "one\ntwo");
	CU_ASSERT_PTR_NOT_NULL(strstr(arrived(journal), "MESSAGE=one\\ntwo\nPRIORITY=3\n"));
}

/* Longer than anything: cut, and the fields behind it are whole. */
static void test_long(void)
{
	char *sentence = malloc(100000);
	const char *got;

	memset(sentence, '\n', 99999);
	sentence[99999] = '\0';
	journal = listen_at(journal_path);
	log_event(open_log(false),
		&(struct log_event){
			.event = "failed", .enclave = "web", .error = sentence, .cid = 4 });
	got = arrived(journal);
	CU_ASSERT_NSTRING_EQUAL(got, "MESSAGE=web: failed, CID 4: \\n\\n", 31);
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "\nCID=4\nNEFS_MOUNT=/run/nefs\n"));
	free(sentence);
}

static void test_syslog(void)
{
	const char *got, *text;
	char mine[64];

	syslog_end = listen_at(syslog_path);
	log_event(open_log(false), &crash);
	got = arrived(syslog_end);
	/* daemon.err: 3 << 3 | 3 */
	CU_ASSERT_NSTRING_EQUAL(got, "<27>", 4);
	snprintf(mine, sizeof(mine), " nefs[%d]: ", getpid());
	text = strstr(got, mine);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_STRING_EQUAL(text + strlen(mine), CRASH_LINE);
	CU_ASSERT_FALSE(log_is_stderr(opened));
}

/* A journal that ends while we run: syslog takes over, and stderr when that ends, too. */
static void test_places_end(void)
{
	take_stderr_by_pipe();
	journal = listen_at(journal_path);
	syslog_end = listen_at(syslog_path);
	open_log(false);
	close(journal);
	journal = -1;
	log_line(opened, LOG_INFO, "one");
	CU_ASSERT_PTR_NOT_NULL(strstr(arrived(syslog_end), "]: one"));
	unlink(syslog_path);
	close(syslog_end);
	syslog_end = -1;
	log_line(opened, LOG_INFO, "two");
	CU_ASSERT_STRING_EQUAL(arrived(stderr_read), "two\n");
	/* And back: a journal that was restarted is found again. */
	unlink(journal_path);
	journal = listen_at(journal_path);
	log_line(opened, LOG_INFO, "three");
	CU_ASSERT_NSTRING_EQUAL(arrived(journal), "MESSAGE=three\n", 14);
	CU_ASSERT_EQUAL(log_lost(opened), 0);
}

/* In the foreground the line is stderr's, whoever else is there. */
static void test_foreground(void)
{
	journal = listen_at(journal_path);
	take_stderr_by_pipe();
	log_event(open_log(true), &crash);
	CU_ASSERT_STRING_EQUAL(arrived(stderr_read), CRASH_LINE "\n");
	CU_ASSERT_STRING_EQUAL(arrived(journal), "");
	CU_ASSERT_TRUE(log_is_stderr(opened));
}

/* stderr is a stream of the journal's: the native socket is better, and not twice. */
static void test_journal_stream(void)
{
	int ends[2];
	struct stat status;
	char stream[64];

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	take_stderr(ends);
	fstat(STDERR_FILENO, &status);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)status.st_dev,
		(uintmax_t)status.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	journal = listen_at(journal_path);
	log_event(open_log(true), &crash);
	CU_ASSERT_STRING_EQUAL(arrived(stderr_read), "");
	CU_ASSERT_NSTRING_EQUAL(arrived(journal), "MESSAGE=" CRASH_LINE "\n", 80);
	CU_ASSERT_FALSE(log_is_stderr(opened));
	/* Without the socket the stream gets it, with its priority in front. */
	log_close(opened);
	unlink(journal_path);
	log_event(open_log(true), &crash);
	CU_ASSERT_STRING_EQUAL(arrived(stderr_read), "<3>" CRASH_LINE "\n");
	/* Somebody else's stream, inherited through the environment, is none. */
	log_close(opened);
	setenv("JOURNAL_STREAM", "1:2", 1);
	log_event(open_log(true), &crash);
	CU_ASSERT_STRING_EQUAL(arrived(stderr_read), CRASH_LINE "\n");
}

static void test_debug(void)
{
	struct log_options options = { .foreground = true, .debug = true };

	take_stderr_by_pipe();
	log_line(open_log(true), LOG_DEBUG, "%s", "not this");
	CU_ASSERT_STRING_EQUAL(arrived(stderr_read), "");
	log_close(opened);
	CU_ASSERT_EQUAL_FATAL(log_open(&options, &opened, NULL), 0);
	log_line(opened, LOG_DEBUG, "%s", "this");
	CU_ASSERT_STRING_EQUAL(arrived(stderr_read), "this\n");
}

/* Writes until a line is lost; a log that waited would end by the runner's timeout. */
static void fill(void)
{
	for (int i = 0; i < 100000 && !log_lost(opened); i++)
		log_line(opened, LOG_INFO, "line %d", i);
	CU_ASSERT_EQUAL(log_lost(opened), 1);
	log_line(opened, LOG_INFO, "lost, too");
	CU_ASSERT_EQUAL(log_lost(opened), 2);
}

static const char *drain(int fd, const char *from)
{
	const char *got, *last = NULL;

	while (*(got = arrived(fd)))
		last = strstr(got, from) ? strstr(got, from) : last;
	return last;
}

static void test_nobody_reads_the_journal(void)
{
	const char *got;

	take_stderr_by_pipe();
	journal = listen_at(journal_path);
	open_log(false);
	fill();
	while (*arrived(journal))
		;
	log_event(opened, &crash);
	got = arrived(journal);
	CU_ASSERT_NSTRING_EQUAL(got, "MESSAGE=nefs: 2 lines of this log are lost", 42);
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "PRIORITY=4\n"));
	CU_ASSERT_NSTRING_EQUAL(arrived(journal), "MESSAGE=web: crashed", 20);
	CU_ASSERT_EQUAL(log_lost(opened), 0);
}

static void test_nobody_reads_stderr(bool foreground, bool by_socket)
{
	const char *got;
	int ends[2];

	if (by_socket) {
		CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
		take_stderr(ends);
	} else {
		take_stderr_by_pipe();
	}
	open_log(foreground);
	fill();
	/* Others that have the same pipe see no O_NONBLOCK in it. */
	CU_ASSERT_EQUAL(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
	CU_ASSERT_PTR_NULL(drain(stderr_read, "lost"));
	log_line(opened, LOG_INFO, "again");
	got = arrived(stderr_read);
	CU_ASSERT_STRING_EQUAL(
		got, "nefs: 2 lines of this log are lost: they were not read in time\nagain\n");
}

static void test_full_pipe(void)
{
	test_nobody_reads_stderr(true, false);
}

static void test_full_pipe_background(void)
{
	test_nobody_reads_stderr(false, false);
}

static void test_full_socket(void)
{
	test_nobody_reads_stderr(true, true);
}

static void test_reader_gone(void)
{
	take_stderr_by_pipe();
	open_log(true);
	close(stderr_read);
	stderr_read = -1;
	errno = ENXIO;
	log_line(opened, LOG_INFO, "one");
	CU_ASSERT_EQUAL(errno, ENXIO);
	CU_ASSERT_EQUAL(log_lost(opened), 1);
}

static void test_full_disk(void)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	CU_ASSERT_NOT_EQUAL_FATAL(full, -1);
	take_stderr_by_pipe();
	dup2(full, STDERR_FILENO);
	close(full);
	log_line(open_log(true), LOG_INFO, "one");
	CU_ASSERT_EQUAL(log_lost(opened), 1);
}

static void test_none(void)
{
	log_event(NULL, &crash);
	log_line(NULL, LOG_ERR, "%s", "nobody takes this");
	CU_ASSERT_EQUAL(log_lost(NULL), 0);
	CU_ASSERT_FALSE(log_is_stderr(NULL));
	log_close(NULL);
}

static void *write_lines(void *argument)
{
	for (int i = 0; i < WRITER_LINES; i++)
		log_event(opened, &crash);
	return argument;
}

/* Lines of several threads are whole lines. */
static void test_threads(void)
{
	pthread_t threads[WRITERS];
	unsigned int lines = 0;
	char line[256];
	FILE *reader;

	take_stderr_by_pipe();
	fcntl(stderr_read, F_SETPIPE_SZ, 1 << 20);
	open_log(true);
	for (int i = 0; i < WRITERS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, write_lines, NULL), 0);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	reader = fdopen(dup(stderr_read), "r");
	while (fgets(line, sizeof(line), reader)) {
		CU_ASSERT_STRING_EQUAL(line, CRASH_LINE "\n");
		lines++;
	}
	fclose(reader);
	CU_ASSERT_EQUAL(lines, WRITERS * WRITER_LINES);
}

static const CU_TestInfo tests[] = {
	{ "a crash is a record with fields in the journal, and nowhere else", test_journal },
	{ "a refusal has its file, errno and user", test_fields_of_a_refusal },
	{ "nefs's own events", test_daemon },
	{ "a sentence injects no line and no field", test_newlines },
	{ "an endless sentence is cut", test_long },
	{ "without a journal syslog gets the line", test_syslog },
	{ "who listens may end and come back", test_places_end },
	{ "in the foreground stderr gets the line", test_foreground },
	{ "a stderr that is the journal's", test_journal_stream },
	{ "debug lines are for a log of debug", test_debug },
	{ "a journal that nobody reads loses lines, and says how many",
		test_nobody_reads_the_journal },
	{ "a pipe that nobody reads", test_full_pipe },
	{ "a pipe that nobody reads, in the background", test_full_pipe_background },
	{ "a socket that nobody reads", test_full_socket },
	{ "a pipe whose reader is gone", test_reader_gone },
	{ "a full disk", test_full_disk },
	{ "no log at all", test_none },
	{ "threads write whole lines", test_threads },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("log", tests, set_up, tear_down);
}
