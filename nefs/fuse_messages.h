/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What libfuse says. Its log function is one for the process and is told nothing else, so this is the one place
 * where the process has something that is nobody's object.
 */
#ifndef NEFS_FUSE_MESSAGES_H
#define NEFS_FUSE_MESSAGES_H

struct log;

/*
 * From now on its messages are lines in the log, until it is NULL again: then they go to stderr, as those for debugging do
 * in any case. While no other thread uses libfuse.
 */
void fuse_messages_to(struct log *log);

/*
 * How often it had no memory for a request, and has answered that with ENOMEM by itself (fuse_session_process_buf
 * does not tell).
 */
unsigned int fuse_messages_refused(void);

#endif
