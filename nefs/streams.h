/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that are read like a pipe: `journal` (the root's and each enclave's) and `console`. The
 * offset of a read means nothing; a reader has a place of its own, which its handle keeps.
 */
#ifndef NEFS_STREAMS_H
#define NEFS_STREAMS_H

#include "control.h"

extern const struct control_ops journal_ops;
extern const struct control_ops console_ops;

/* Parks a read until the node changes; EAGAIN at once with O_NONBLOCK. */
void stream_park(fuse_req_t req, struct handle *handle, size_t size, off_t offset);

/* The text of an `events` file. */
void counters_show(const uint64_t *counters, FILE *out);

#endif
