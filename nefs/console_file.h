/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `console.follow`: what an enclave in debug mode prints, as a stream (follow.h). Loop thread. */
#ifndef NEFS_CONSOLE_FILE_H
#define NEFS_CONSOLE_FILE_H

#include "control.h"

extern const struct control_ops console_follow_ops;

#endif
