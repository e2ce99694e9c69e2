/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A wish that long work end early. Whoever sets it waits for no answer; the work looks at it between two
 * pieces, none of which takes longer than some milliseconds, and ends with ECANCELED.
 */
#ifndef NEFS_CANCEL_H
#define NEFS_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Is it to end? NULL: nobody can ask for that. Any thread; orders nothing else. */
static inline bool nefs_is_cancelled(const atomic_bool *cancel)
{
	return cancel && atomic_load_explicit(cancel, memory_order_relaxed);
}

#endif
