/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whose turn it is: what waits, by owner. Owners follow each other in a circle, each with one turn at
 * a time, so that what one has queued holds up nobody else. Allocates nothing; the caller locks.
 */
#ifndef NEFS_TURNS_H
#define NEFS_TURNS_H

#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>

TAILQ_HEAD(turn_list, turn);

/* Embedded in what waits. The owner is the caller's to set, before turns_add. */
struct turn {
	uid_t owner;
	TAILQ_ENTRY(turn) siblings; /* behind the first of its owner's */
	TAILQ_ENTRY(turn) circle;   /* of the first ones */
	struct turn_list behind;    /* of a first one */
};

struct turns {
	struct turn_list first; /* of each owner who has one */
};

void turns_init(struct turns *turns);

/* Behind what its owner has in there; an owner who had nothing comes last. */
void turns_add(struct turns *turns, struct turn *turn);

/*
 * Whose turn it is, of those whose owners may have one (NULL: all); NULL: there is none. It stays in there.
 */
struct turn *turns_next(const struct turns *turns, bool (*may)(const void *context, uid_t owner),
	const void *context);

/* Takes out what turns_next gave: its owner comes last now. */
void turns_take(struct turns *turns, struct turn *turn);

/* Takes out any that is in there. Its owner keeps their place. */
void turns_remove(struct turns *turns, struct turn *turn);

#endif
