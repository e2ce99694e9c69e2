/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `journal`, the root's and each enclave's: read like a pipe. The offset of a read means nothing; a
 * reader has a place of its own, which its handle keeps. Loop thread.
 */
#ifndef NEFS_JOURNAL_FILE_H
#define NEFS_JOURNAL_FILE_H

#include "control.h"

extern const struct control_ops journal_file_ops;

#endif
