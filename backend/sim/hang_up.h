/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a process polls of an enclave: an fd about which poll(2) says nothing, whatever it is asked,
 * until it is hung up, and POLLHUP from then on. It is one fd, not a pipe's two: ten thousand
 * enclaves are to fit in a process.
 */
#ifndef NEFS_SIM_HANG_UP_H
#define NEFS_SIM_HANG_UP_H

#include <stdbool.h>

/*
 * Tries out whether such an fd can be had here: that takes FIFOs in /dev/shm, and /proc. False: the
 * fd of hang_up_new is a socket, about which poll(2) says POLLOUT all the time if asked for it, and
 * POLLIN and POLLRDHUP, too, once it is hung up.
 */
bool hang_up_is_exact(void);

/* An fd (O_CLOEXEC) or a negative errno; without `exact` a socket. Closed by close(2). */
int hang_up_new(bool exact);

/*
 * Hangs it up, wherever it is polled, and in each copy of it. 0, or a negative errno if that has to
 * be tried again: it takes an fd for a moment (EMFILE, ENFILE, ENOMEM).
 */
int hang_up(int fd);

#endif
