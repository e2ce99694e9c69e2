/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of an enclave: start, stop, and who waits for that. Loop thread. */
#ifndef NEFS_LIFE_H
#define NEFS_LIFE_H

#include "enclave.h"

/* How long a write to `start` may wait (docs/interface.md §4). */
#define START_WAIT_USEC 5000000ULL

/*
 * `start`: 0 where it holds or is done, STORE_PARKED if the caller may wait for the outcome by
 * enclave_park, or a negative errno.
 */
int enclave_start(struct enclave *enclave, struct nefs_error *err);
int enclave_stop(struct enclave *enclave);

/*
 * What a caller that was told STORE_PARKED waits for is the outcome of what is under way. NULL if the
 * request was answered at once.
 */
struct parked *enclave_park(struct enclave *enclave, fuse_req_t req);

/* Stops everything: the daemon is ending. */
void enclave_stop_all(struct fs *fs);

#endif
