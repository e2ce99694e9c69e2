/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <nefs/turns.h>
#include <stddef.h>

void turns_init(struct turns *turns)
{
	TAILQ_INIT(&turns->first);
}

static struct turn *first_of(const struct turns *turns, uid_t owner)
{
	struct turn *turn;

	TAILQ_FOREACH(turn, &turns->first, circle)
	if (turn->owner == owner)
		return turn;
	return NULL;
}

void turns_add(struct turns *turns, struct turn *turn)
{
	struct turn *first = first_of(turns, turn->owner);

	TAILQ_INIT(&turn->behind);
	if (first)
		TAILQ_INSERT_TAIL(&first->behind, turn, siblings);
	else
		TAILQ_INSERT_TAIL(&turns->first, turn, circle);
}

struct turn *turns_next(const struct turns *turns, bool (*may)(const void *context, uid_t owner),
	const void *context)
{
	struct turn *turn;

	TAILQ_FOREACH(turn, &turns->first, circle)
	if (!may || may(context, turn->owner))
		return turn;
	return NULL;
}

/* What was behind an owner's first one has another in front of it, or there was nothing. */
static struct turn *heir_of(struct turn *first)
{
	struct turn *heir = TAILQ_FIRST(&first->behind);

	if (!heir)
		return NULL;
	TAILQ_REMOVE(&first->behind, heir, siblings);
	TAILQ_CONCAT(&heir->behind, &first->behind, siblings);
	return heir;
}

void turns_take(struct turns *turns, struct turn *turn)
{
	struct turn *heir = heir_of(turn);

	TAILQ_REMOVE(&turns->first, turn, circle);
	if (heir)
		TAILQ_INSERT_TAIL(&turns->first, heir, circle);
}

void turns_remove(struct turns *turns, struct turn *turn)
{
	struct turn *first = first_of(turns, turn->owner), *heir;

	if (first != turn) {
		TAILQ_REMOVE(&first->behind, turn, siblings);
		return;
	}
	heir = heir_of(turn);
	if (heir)
		TAILQ_INSERT_BEFORE(turn, heir, circle);
	TAILQ_REMOVE(&turns->first, turn, circle);
}
