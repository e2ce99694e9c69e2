/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whose turn it is: work that waits, by owner. Owners follow each other in a circle, each with one piece at
 * a time, so that what one has queued holds up nobody else. Allocates nothing; the caller locks.
 */
#ifndef NEFS_TURNS_H
#define NEFS_TURNS_H

#include <nefs/workers.h>

struct turns {
	struct work_list first; /* the first piece of each owner who has one, linked by `turn` */
};

void turns_init(struct turns *turns);

/* Behind what its owner has in there; an owner who had nothing comes last. */
void turns_add(struct turns *turns, struct work *work);

/*
 * The piece whose turn it is, of those whose owners may have one; NULL: there is none. It stays in there.
 */
struct work *turns_next(const struct turns *turns, bool (*may)(const void *context, uid_t owner),
	const void *context);

/* Takes out what turns_next gave: its owner comes last now. */
void turns_take(struct turns *turns, struct work *work);

/* Takes out any piece that is in there. Its owner keeps their turn. */
void turns_remove(struct turns *turns, struct work *work);

#endif
