/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bell: an eventfd by which one thread wakes the loop of another. Rung once or often before it is
 * heard, it is heard once. Ringing and silencing never block.
 */
#ifndef NEFS_BELL_H
#define NEFS_BELL_H

/* An fd that polls as readable from nefs_bell_ring to nefs_bell_silence. Negative errno: EMFILE. */
int nefs_bell_new(void);

/* Any thread, and any process that has the fd. */
void nefs_bell_ring(int bell);

/* To be called before what it was rung for is looked at: so nothing is missed. */
void nefs_bell_silence(int bell);

#endif
