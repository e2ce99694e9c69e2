/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `journal.follow`, the root's and each enclave's: a stream of records (follow.h). Loop thread. */
#ifndef NEFS_JOURNAL_FILE_H
#define NEFS_JOURNAL_FILE_H

#include "control.h"

extern const struct control_ops journal_follow_ops;

#endif
