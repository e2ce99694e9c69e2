/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a daemon of ours does about itself before it starts. Main thread, before there are others. */
#ifndef NEFS_PROCESS_H
#define NEFS_PROCESS_H

#include <stddef.h>
#include <systemd/sd-event.h>

/*
 * Lets the process have as many fds as it may: the hard limit, and that raised to wanted first if it is
 * lower and the process is allowed to. 0: the hard limit as it is. A refusal is no error.
 */
void nefs_raise_fd_limit(unsigned long wanted);

/*
 * Gives signals to the loop: blocks them and calls handler with userdata there; NULL ends the loop.
 * SIGPIPE and SIGXFSZ are ignored, as what they tell is seen by EPIPE and EFBIG. Returns 0 or a negative
 * errno.
 */
int nefs_watch_signals(sd_event *event, const int *signals, size_t count,
	sd_event_signal_handler_t handler, void *userdata);

#endif
