/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal's native protocol is spoken here, and syslog's, instead of by sd_journal_sendv(3) and
 * syslog(3): both wait in send(2) for as long as nobody reads the other end, and the loop would
 * with them. One socket serves both: it is never connected, so whoever listens may be restarted.
 */
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <nefs/log.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define SYSLOG_SOCKET  "/dev/log"
#define IDENTIFIER     "nefs"

/* With its prefix a line on a pipe is one write of less than PIPE_BUF: never torn. */
#define TEXT_MAX 2048

/* The text, a path of PATH_MAX, and the short fields. */
#define DATAGRAM_MAX 8192

enum place {
	PLACE_JOURNAL,
	PLACE_SYSLOG,
	PLACE_STDERR,
};

struct log {
	enum place place; /* the first that is tried */
	bool debug;
	bool prefixed;	/* stderr is read by the journal: a line begins with <PRIORITY> */
	int socket;	/* -1: none */
	int foreground; /* stderr opened anew, not to wait in it; -1: STDERR_FILENO is used */
	char *mount;
	struct sockaddr_un journal, syslog;
	atomic_uint lost;
};

/* A kind of event. The ids are in nefs(8): they are searched for, and never change. */
struct kind {
	const char *event;
	const char *message_id;
	int priority;
	int with_errno; /* the priority if there is an errno */
};

static const struct kind kinds[] = {
	{ "created", "5248c4b0c64840e094e7f9c7c8f01b56", LOG_INFO, LOG_INFO },
	{ "removed", "26d8ac6e26134ae69648ad149e414193", LOG_INFO, LOG_INFO },
	{ "renamed", "2f0cda814ea042b39f7bfc3a9957d95d", LOG_INFO, LOG_INFO },
	{ "starting", "f07c4b4fc55b4b0ea759b42bdde22e1d", LOG_INFO, LOG_INFO },
	{ "running", "d184952810404ffbba30bab55adad818", LOG_INFO, LOG_INFO },
	{ "failed", "7d84a65e6f1244059c1f5ec135691c9e", LOG_ERR, LOG_ERR },
	{ "stopping", "a7afb7dd9c1d4e298a069ee97e218bff", LOG_INFO, LOG_INFO },
	{ "stopped", "9e2cf3de925f405fb68bc6c4a4cdb426", LOG_INFO, LOG_INFO },
	{ "crashed", "24c9939a18d54f55aff788da5dae4476", LOG_ERR, LOG_ERR },
	{ "restarting", "5e8703cc4d024e5b803e3caec4c1a1cf", LOG_NOTICE, LOG_NOTICE },
	{ "refused", "4b22d46607034d0ca58bf237bf9379fc", LOG_NOTICE, LOG_NOTICE },
	{ "suppressed", "005ac0a483e642c2ac2032b50f3acb36", LOG_WARNING, LOG_WARNING },
	{ "resumed", "6f0604fdcbec49d89236b0943a3e08a8", LOG_NOTICE, LOG_NOTICE },
	/* Of nefs itself. */
	{ "mounted", "c6650f4fe57940048fe931d1ed98c1bf", LOG_NOTICE, LOG_NOTICE },
	{ "ending", "67e34c31c77044d4822b0e1e67bd9147", LOG_NOTICE, LOG_ERR },
	{ "ended", "fcda6bebae3f45bb93e7072ba8a42def", LOG_NOTICE, LOG_ERR },
};

/* Text that is composed piece by piece; what finds no room is cut. */
struct text {
	char *start;
	size_t size; /* of it, without the NUL */
	size_t room; /* with it */
};

static void add_bytes(struct text *text, const char *bytes, size_t size)
{
	if (size > text->room - text->size - 1)
		size = text->room - text->size - 1;
	memcpy(text->start + text->size, bytes, size);
	text->size += size;
	text->start[text->size] = '\0';
}

static bool is_control(char c)
{
	return (unsigned char)c < ' ' || c == 0x7f;
}

/* A line stays one line, whatever a name or a sentence holds. */
static void add(struct text *text, const char *string)
{
	char escaped[8];

	while (*string) {
		size_t plain = 0;

		while (string[plain] && !is_control(string[plain]))
			plain++;
		add_bytes(text, string, plain);
		string += plain;
		if (*string == '\n')
			add_bytes(text, "\\n", 2);
		else if (*string)
			add_bytes(text, escaped,
				(size_t)snprintf(escaped, sizeof(escaped), "\\x%02x",
					(unsigned char)*string));
		string += *string != '\0';
	}
}

static void add_format(struct text *text, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* For numbers and what else is short. */
static void add_format(struct text *text, const char *format, ...)
{
	char piece[64];
	va_list args;

	va_start(args, format);
	vsnprintf(piece, sizeof(piece), format, args);
	va_end(args);
	add(text, piece);
}

/* A field of the journal: all of it or nothing. */
static void add_field(struct text *text, const char *name, const char *value)
{
	size_t before = text->size;

	if (!value)
		return;
	add_bytes(text, name, strlen(name));
	add_bytes(text, "=", 1);
	add(text, value);
	if (text->size + 1 < text->room) {
		add_bytes(text, "\n", 1);
	} else {
		text->size = before;
		text->start[before] = '\0';
	}
}

static void add_number_field(struct text *text, const char *name, uint64_t number)
{
	char digits[32];

	snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
	add_field(text, name, digits);
}

static const struct kind *find_kind(const char *event)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kinds[i].event, event) == 0)
			return &kinds[i];
	return NULL;
}

/* 0, or the errno with which the place did not take it. */
static int send_to(struct log *log, const struct sockaddr_un *address, const struct text *text)
{
	if (log->socket < 0)
		return ENOTSOCK;
	if (sendto(log->socket, text->start, text->size, MSG_DONTWAIT | MSG_NOSIGNAL,
		    (const struct sockaddr *)address, sizeof(*address)) < 0)
		return errno;
	return 0;
}

static int to_journal(struct log *log, int priority, const char *line, const struct text *fields)
{
	char room[DATAGRAM_MAX];
	struct text text = { room, 0, sizeof(room) };

	add_field(&text, "MESSAGE", line);
	add_number_field(&text, "PRIORITY", (unsigned int)priority);
	add_field(&text, "SYSLOG_IDENTIFIER", IDENTIFIER);
	add_number_field(&text, "SYSLOG_FACILITY", LOG_FAC(LOG_DAEMON));
	if (fields)
		add_bytes(&text, fields->start, fields->size);
	add_field(&text, "NEFS_MOUNT", log->mount);
	return send_to(log, &log->journal, &text);
}

static int to_syslog(struct log *log, int priority, const char *line)
{
	char room[TEXT_MAX + 128], stamp[32];
	struct text text = { room, 0, sizeof(room) };
	time_t now = time(NULL);
	struct tm tm;

	localtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%b %e %H:%M:%S", &tm);
	add_format(&text, "<%d>%s " IDENTIFIER "[%d]: ", LOG_DAEMON | priority, stamp, getpid());
	add(&text, line);
	return send_to(log, &log->syslog, &text);
}

/* What came of a write or send of a text. */
static int outcome_of(ssize_t written, const struct text *text)
{
	if (written < 0)
		return errno;
	return (size_t)written == text->size ? 0 : EAGAIN;
}

/* Writes to somebody's stderr if that does not wait. On a shared pipe another may take the room in between. */
static int write_now(int fd, const struct text *text)
{
	struct pollfd ready = { .fd = fd, .events = POLLOUT };
	ssize_t written;

	if (poll(&ready, 1, 0) <= 0)
		return EAGAIN;
	/* A socket: POLLOUT does not mean that there is room for all of it. */
	written = send(fd, text->start, text->size, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (written < 0 && errno == ENOTSOCK)
		written = write(fd, text->start, text->size);
	return outcome_of(written, text);
}

static int to_stderr(struct log *log, int priority, const char *line)
{
	char room[TEXT_MAX + 16];
	struct text text = { room, 0, sizeof(room) };

	if (log->prefixed)
		add_format(&text, "<%d>", priority);
	add(&text, line);
	add_bytes(&text, "\n", 1);
	/* That one was opened not to wait, and is no socket. */
	if (log->foreground >= 0)
		return outcome_of(write(log->foreground, text.start, text.size), &text);
	return write_now(STDERR_FILENO, &text);
}

/*
 * To the first place that is there. One that is there and full loses the line: what follows it is
 * read by the same program, or by nobody.
 */
static int deliver(struct log *log, int priority, const char *line, const struct text *fields)
{
	int failed = ENOENT;

	if (log->place == PLACE_JOURNAL)
		failed = to_journal(log, priority, line, fields);
	if (failed && failed != EAGAIN && log->place <= PLACE_SYSLOG)
		failed = to_syslog(log, priority, line);
	if (failed && failed != EAGAIN)
		failed = to_stderr(log, priority, line);
	return failed;
}

static void take(struct log *log, int priority, const char *line, const struct text *fields)
{
	unsigned int lost = atomic_exchange(&log->lost, 0);
	char told[96];

	if (lost > 0) {
		snprintf(told, sizeof(told),
			"nefs: %u lines of this log are lost: they were not read in time", lost);
		if (deliver(log, LOG_WARNING, told, NULL))
			atomic_fetch_add(&log->lost, lost);
	}
	if (deliver(log, priority, line, fields))
		atomic_fetch_add(&log->lost, 1);
}

static void describe(struct text *text, const struct log_event *event)
{
	add(text, event->enclave ? event->enclave : "nefs");
	add(text, ": ");
	add(text, event->event);
	if (event->old_name) {
		add(text, " from ");
		add(text, event->old_name);
	}
	if (event->cid)
		add_format(text, ", CID %llu", (unsigned long long)event->cid);
	if (event->has_slot)
		add_format(text, ", slot 0x%llx", (unsigned long long)event->slot);
	if (event->count)
		add_format(text, ", %u more", event->count);
	if (event->error && *event->error) {
		add(text, ": ");
		add(text, event->error);
	}
}

/* What the journal keeps beside the text. */
static void add_fields(struct text *fields, const struct log_event *event, const struct kind *kind)
{
	char slot[24];

	add_field(fields, "EVENT", event->event);
	add_field(fields, "MESSAGE_ID", kind ? kind->message_id : NULL);
	add_field(fields, "ENCLAVE", event->enclave);
	add_field(fields, "NEFS_OLD_NAME", event->old_name);
	add_field(fields, "NEFS_FILE", event->file);
	if (event->cid)
		add_number_field(fields, "CID", event->cid);
	if (event->has_slot) {
		snprintf(slot, sizeof(slot), "0x%llx", (unsigned long long)event->slot);
		add_field(fields, "SLOT", slot);
	}
	if (event->errno_code)
		add_number_field(fields, "ERRNO", (unsigned int)event->errno_code);
	if (event->has_uid)
		add_number_field(fields, "NEFS_UID", event->uid);
	if (event->count)
		add_number_field(fields, "NEFS_COUNT", event->count);
}

void log_event(struct log *log, const struct log_event *event)
{
	char line[TEXT_MAX], room[DATAGRAM_MAX / 4];
	struct text text = { line, 0, sizeof(line) };
	struct text fields = { room, 0, sizeof(room) };
	int priority = LOG_INFO, saved = errno;
	const struct kind *kind;

	if (!log)
		return;
	kind = find_kind(event->event);
	if (kind)
		priority = event->errno_code ? kind->with_errno : kind->priority;
	describe(&text, event);
	if (log->place == PLACE_JOURNAL)
		add_fields(&fields, event, kind);
	take(log, priority, line, &fields);
	errno = saved;
}

void log_line(struct log *log, int priority, const char *format, ...)
{
	char line[TEXT_MAX];
	int saved = errno;
	va_list args;

	if (!log || (priority >= LOG_DEBUG && !log->debug))
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	take(log, priority, line, NULL);
	errno = saved;
}

unsigned int log_lost(const struct log *log)
{
	return log ? atomic_load(&log->lost) : 0;
}

bool log_is_stderr(const struct log *log)
{
	return log && log->place == PLACE_STDERR;
}

/* systemd says so in the environment of what it starts: sd_journal_stream_fd(3). */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	struct stat status;
	char own[64];

	if (!stream || fstat(STDERR_FILENO, &status))
		return false;
	snprintf(own, sizeof(own), "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
	return strcmp(stream, own) == 0;
}

/*
 * stderr's pipe or terminal without waiting in it: opened anew, as O_NONBLOCK on the fd itself
 * would be seen by everyone who shares it. -1 for what is none of these or may not be opened.
 */
static int reopen_stderr(void)
{
	struct stat status;

	if (fstat(STDERR_FILENO, &status) || !(S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)))
		return -1;
	return open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* False if nobody can be there: no such socket, or a path that no address holds. */
static bool set_address(struct sockaddr_un *address, const char *path)
{
	if (strlen(path) >= sizeof(address->sun_path))
		return false;
	address->sun_family = AF_UNIX;
	strcpy(address->sun_path, path);
	return access(path, W_OK) == 0;
}

int log_open(const struct log_options *options, struct log **result, struct nefs_error *err)
{
	struct log *log = calloc(1, sizeof(*log));
	bool journal, syslog, stream = stderr_is_journal();

	if (log && options->mount)
		log->mount = strdup(options->mount);
	if (!log || (options->mount && !log->mount)) {
		free(log);
		return nefs_error_set(err, ENOMEM, "out of memory for the log");
	}
	log->debug = options->debug;
	log->foreground = -1;
	journal = set_address(
		&log->journal, options->journal_socket ? options->journal_socket : JOURNAL_SOCKET);
	syslog = set_address(
		&log->syslog, options->syslog_socket ? options->syslog_socket : SYSLOG_SOCKET);
	if (journal && (stream || !options->foreground))
		log->place = PLACE_JOURNAL;
	else if (syslog && !options->foreground)
		log->place = PLACE_SYSLOG;
	else
		log->place = PLACE_STDERR;
	log->prefixed = stream;
	log->socket = -1;
	if (log->place != PLACE_STDERR)
		log->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (options->foreground)
		log->foreground = reopen_stderr();
	*result = log;
	return 0;
}

void log_close(struct log *log)
{
	if (!log)
		return;
	if (log->socket >= 0)
		close(log->socket);
	if (log->foreground >= 0)
		close(log->foreground);
	free(log->mount);
	free(log);
}
