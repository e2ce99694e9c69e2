/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `console`: what an enclave in debug mode prints, read like a pipe (as journal_file.h). Loop thread. */
#ifndef NEFS_CONSOLE_FILE_H
#define NEFS_CONSOLE_FILE_H

#include "control.h"

extern const struct control_ops console_file_ops;

#endif
