/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log: what the operator finds afterwards. A line for each transition of an enclave and each
 * refusal, and why the daemon ends.
 *
 * A line goes to one place: to systemd's journal where there is one, with its facts as fields, else
 * to syslog, else to stderr; in the foreground to stderr, except where that is the journal's own.
 * The text is the same everywhere. A line that cannot be taken at once is lost and counted, and the
 * next one that can says how many were: whoever does not read the log does not stop the daemon.
 *
 * Any thread may write. A log that is NULL takes every line and does nothing.
 */
#ifndef NEFS_LOG_H
#define NEFS_LOG_H

#include <nefs/error.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <syslog.h> /* LOG_ERR, LOG_INFO, ...: the priorities */

struct log;

/* How a log is opened; what is 0 or NULL is the usual. */
struct log_options {
	bool foreground;	    /* stderr is somebody's, and stays */
	bool debug;		    /* take LOG_DEBUG, too */
	const char *mount;	    /* the mount point, for NEFS_MOUNT=; copied */
	const char *journal_socket; /* for tests: /run/systemd/journal/socket */
	const char *syslog_socket;  /* for tests: /dev/log */
};

/*
 * What happened; members that are 0 or NULL say nothing. `event` is one of the words in log.c's
 * table (and nefs(8)'s), which gives it its priority and its MESSAGE_ID; another word is taken as
 * LOG_INFO without an id.
 */
struct log_event {
	const char *event;
	const char *enclave;  /* NULL: nefs itself, or its root */
	const char *old_name; /* renamed: what it was called before */
	const char *file;     /* refused: the file that was written */
	const char *error;    /* one sentence: why, or what more there is to say */
	int errno_code;	      /* positive */
	uint64_t cid;
	uint64_t slot;
	bool has_slot;
	uid_t uid; /* refused: whose call it was */
	bool has_uid;
	unsigned int count; /* of how many events more it tells, if not of one */
};

/*
 * Opens a log. Nothing but ENOMEM fails: a place that cannot be reached is passed over at each
 * line. SIGPIPE must be ignored.
 */
int log_open(const struct log_options *options, struct log **log, struct nefs_error *err);

/* Do lines go to stderr? Then what is said there need not be said twice. False for NULL. */
bool log_is_stderr(const struct log *log);

/*
 * Logs an event as "ENCLAVE: EVENT, CID 16, slot 0x1: SENTENCE". errno is kept. Never waits.
 */
void log_event(struct log *log, const struct log_event *event);

/*
 * Logs a line of text without its newline; control characters in it are escaped. priority is
 * LOG_ERR, LOG_INFO, ...; LOG_DEBUG is passed on only by a log that was opened for it. errno is
 * kept. Never waits.
 */
void log_line(struct log *log, int priority, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Lines lost since one was last taken. */
unsigned int log_lost(const struct log *log);

void log_close(struct log *log);

#endif
