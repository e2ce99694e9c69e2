/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What <sys/queue.h> of glibc lacks. */
#ifndef NEFS_LIST_H
#define NEFS_LIST_H

#include <sys/queue.h>

/*
 * Moves all elements of a LIST onto another head, whose own elements, if any, are forgotten; the
 * first list is empty then. For walks whose callbacks may put elements back onto the list. field is
 * the LIST_ENTRY.
 */
#define NEFS_LIST_MOVE(to, from, field)                                                            \
	do {                                                                                       \
		LIST_INIT(to);                                                                     \
		if (!LIST_EMPTY(from)) {                                                           \
			(to)->lh_first = (from)->lh_first;                                         \
			(to)->lh_first->field.le_prev = &(to)->lh_first;                           \
		}                                                                                  \
		LIST_INIT(from);                                                                   \
	} while (0)

#endif
