/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "turns.h"
#include <stddef.h>

void turns_init(struct turns *turns)
{
	TAILQ_INIT(&turns->first);
}

static struct work *first_of(const struct turns *turns, uid_t owner)
{
	struct work *work;

	TAILQ_FOREACH(work, &turns->first, turn)
	if (work->owner == owner)
		return work;
	return NULL;
}

void turns_add(struct turns *turns, struct work *work)
{
	struct work *first = first_of(turns, work->owner);

	TAILQ_INIT(&work->behind);
	if (first)
		TAILQ_INSERT_TAIL(&first->behind, work, siblings);
	else
		TAILQ_INSERT_TAIL(&turns->first, work, turn);
}

struct work *turns_next(const struct turns *turns, bool (*may)(const void *context, uid_t owner),
	const void *context)
{
	struct work *work;

	TAILQ_FOREACH(work, &turns->first, turn)
	if (may(context, work->owner))
		return work;
	return NULL;
}

/* What was behind an owner's first piece has another in front of it, or there was nothing. */
static struct work *heir_of(struct work *first)
{
	struct work *heir = TAILQ_FIRST(&first->behind);

	if (!heir)
		return NULL;
	TAILQ_REMOVE(&first->behind, heir, siblings);
	TAILQ_CONCAT(&heir->behind, &first->behind, siblings);
	return heir;
}

void turns_take(struct turns *turns, struct work *work)
{
	struct work *heir = heir_of(work);

	TAILQ_REMOVE(&turns->first, work, turn);
	if (heir)
		TAILQ_INSERT_TAIL(&turns->first, heir, turn);
}

void turns_remove(struct turns *turns, struct work *work)
{
	struct work *first = first_of(turns, work->owner), *heir;

	if (first != work) {
		TAILQ_REMOVE(&first->behind, work, siblings);
		return;
	}
	heir = heir_of(work);
	if (heir)
		TAILQ_INSERT_BEFORE(work, heir, turn);
	TAILQ_REMOVE(&turns->first, work, turn);
}
