/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signals as the log tells them. */
#ifndef NEFS_SIGNALS_H
#define NEFS_SIGNALS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/signalfd.h>

/* "SIGTERM from process 1 (systemd), user 0", as far as it can be found out. Any thread. */
void describe_signal(const struct signalfd_siginfo *info, char *text, size_t size);

#endif
