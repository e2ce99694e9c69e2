/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a daemon does with its process: standard fds, caller and terminal. Before any thread. */
#ifndef NEFS_BACKGROUND_H
#define NEFS_BACKGROUND_H

#include <stdbool.h>

/*
 * Opens /dev/null for those of stdin, stdout and stderr that the caller has closed: else what is
 * opened next gets their number, and the messages of this program and of libraries with it. False
 * if it can't be opened.
 */
bool hold_standard_fds(void);

/*
 * What the caller may have left this process with, and a daemon must not have: children that are reaped
 * unseen, a umask that keeps it from its own files, signals that end it for what is an errno as well.
 */
void be_undisturbed(void);

/*
 * Splits off the daemon. In the child returns the pipe on which to report by release_caller, or a
 * negative errno; the parent ends here, with the child's word or its exit status: who called nefs can use
 * the mount when it returns.
 */
int become_daemon(void);

/* stdin, stdout and stderr are /dev/null from here on. */
void let_terminal_go(void);

/* The caller goes on, with success; report is closed. */
void release_caller(int report);

#endif
