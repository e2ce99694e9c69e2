/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "quota.h"
#include <errno.h>
#include <stdlib.h>

struct quota_user {
	LIST_ENTRY(quota_user) siblings; /* in quota->by_uid */
	struct quota *quota;
	uid_t uid;
	unsigned int refs;
	unsigned int told; /* a bit for each kind: its refusal is no news */
	uint64_t used[QUOTA_KINDS];
};

/* How a kind is told about. */
static const struct kind {
	const char *what;   /* that one has */
	const char *option; /* its bound */
	const char *advice;
} kinds[QUOTA_KINDS] = {
	[QUOTA_ENCLAVES] = { "enclaves", "user_enclaves", "remove some (rmdir)" },
	[QUOTA_FILES] = { "open and staged files", "user_files", "close or remove some" },
	[QUOTA_BYTES] = { "bytes of images and staged files", "user_bytes", "remove some" },
	[QUOTA_TEXT] = { "bytes of journals and consoles", "user_enclaves", "remove some" },
	[QUOTA_PARKED] = { "requests that wait", "user_files", "end some" },
	[QUOTA_FDS] = { "images and staged files", NULL, "close or remove some" },
};

/* ---- users ---- */

static struct quota_users *list_of(struct quota *quota, uid_t uid)
{
	return &quota->by_uid[uid % (sizeof(quota->by_uid) / sizeof(*quota->by_uid))];
}

/* Forgets one of whom there is nothing to remember. */
static void collect(struct quota_user *user)
{
	if (user->refs)
		return;
	for (size_t i = 0; i < QUOTA_KINDS; i++)
		if (user->used[i])
			return;
	LIST_REMOVE(user, siblings);
	user->quota->count--;
	free(user);
}

int quota_user_get(
	struct quota *quota, uid_t uid, struct quota_user **result, struct nefs_error *err)
{
	struct quota_users *list = list_of(quota, uid);
	struct quota_user *user;

	*result = NULL;
	if (uid == 0 || uid == quota->mounter)
		return 0;
	LIST_FOREACH(user, list, siblings)
	if (user->uid == uid)
		break;
	if (!user) {
		user = calloc(1, sizeof(*user));
		if (!user)
			return nefs_error_set(err, ENOMEM,
				"out of memory to count what user %u has", (unsigned int)uid);
		user->quota = quota;
		user->uid = uid;
		LIST_INSERT_HEAD(list, user, siblings);
		quota->count++;
	}
	user->refs++;
	*result = user;
	return 0;
}

struct quota_user *quota_user_ref(struct quota_user *user)
{
	if (user)
		user->refs++;
	return user;
}

void quota_user_put(struct quota_user *user)
{
	if (!user)
		return;
	user->refs--;
	collect(user);
}

uid_t quota_user_uid(const struct quota_user *user)
{
	return user ? user->uid : 0;
}

uint64_t quota_used(const struct quota_user *user, enum quota_kind kind)
{
	return user ? user->used[kind] : 0;
}

/* ---- counting ---- */

/* Sets err to EDQUOT: of one user, or (all) of all of them. */
static int refuse(const struct quota_user *user, enum quota_kind kind, uint64_t amount, bool all,
	struct nefs_error *err)
{
	const struct quota_limits *limits = &user->quota->limits;
	const unsigned long long more = amount;

	if (all)
		return nefs_error_set(err, EDQUOT,
			"all users together have %llu of the %llu %s that they may have, and %llu more were "
			"asked for; the rest is kept for root: %s",
			(unsigned long long)user->quota->used[kind],
			(unsigned long long)limits->all[kind], kinds[kind].what, more,
			kinds[kind].advice);
	if (!limits->each[kind])
		return nefs_error_set(err, EDQUOT,
			"user %u has %llu %s, as many as are left for all others: %s, or have nefs "
			"mounted with a higher limit of open files (ulimit -n, LimitNOFILE=)",
			(unsigned int)user->uid, (unsigned long long)user->used[kind],
			kinds[kind].what, kinds[kind].advice);
	return nefs_error_set(err, EDQUOT,
		"user %u has %llu %s, each may have %llu, and %llu more were asked for: %s, or have nefs "
		"mounted with a higher %s=",
		(unsigned int)user->uid, (unsigned long long)user->used[kind], kinds[kind].what,
		(unsigned long long)limits->each[kind], more, kinds[kind].advice,
		kinds[kind].option);
}

/* Would so much more be above a bound? By subtraction: no sum can wrap. */
static bool exceeds(uint64_t used, uint64_t amount, uint64_t limit)
{
	return used > limit || amount > limit - used;
}

/* Without a bound of their own: would they have more than is left for all others? */
static bool takes_most(uint64_t own, uint64_t all, uint64_t amount, uint64_t limit)
{
	/* exceeds() has said that all + amount is within it. */
	return exceeds(own, amount, limit - all - amount);
}

int quota_charge(
	struct quota_user *user, enum quota_kind kind, uint64_t amount, struct nefs_error *err)
{
	const struct quota_limits *limits;
	struct quota *quota;

	if (!user)
		return 0;
	quota = user->quota;
	limits = &quota->limits;
	if (limits->each[kind] && exceeds(user->used[kind], amount, limits->each[kind]))
		return refuse(user, kind, amount, false, err);
	if (limits->all[kind] && exceeds(quota->used[kind], amount, limits->all[kind]))
		return refuse(user, kind, amount, true, err);
	if (limits->all[kind] && !limits->each[kind] &&
		takes_most(user->used[kind], quota->used[kind], amount, limits->all[kind]))
		return refuse(user, kind, amount, false, err);
	quota_adjust(user, kind, 0, amount);
	return 0;
}

void quota_adjust(struct quota_user *user, enum quota_kind kind, uint64_t before, uint64_t now)
{
	if (!user)
		return;
	user->used[kind] += now - before;
	user->quota->used[kind] += now - before;
	if (now < before && user->used[kind] <= user->quota->limits.each[kind] / 2)
		user->told &= ~(1U << kind);
	collect(user);
}

void quota_release(struct quota_user *user, enum quota_kind kind, uint64_t amount)
{
	quota_adjust(user, kind, amount, 0);
}

void quota_move(
	struct quota_user *from, struct quota_user *to, enum quota_kind kind, uint64_t amount)
{
	if (from == to)
		return;
	quota_adjust(to, kind, 0, amount);
	quota_adjust(from, kind, amount, 0);
}

/* ---- one thing ---- */

int quota_take(struct quota *quota, uid_t uid, enum quota_kind kind, struct quota_user **result,
	struct nefs_error *err)
{
	struct quota_user *user;
	int failed = quota_user_get(quota, uid, &user, err);

	*result = NULL;
	if (failed)
		return failed;
	failed = quota_charge(user, kind, 1, err);
	if (failed)
		quota_user_put(user);
	else
		*result = user;
	return failed;
}

void quota_give(struct quota_user *user, enum quota_kind kind)
{
	quota_release(user, kind, 1);
	quota_user_put(user);
}

int quota_chown(struct quota *quota, uid_t uid, enum quota_kind kind, struct quota_user **user,
	struct nefs_error *err)
{
	struct quota_user *to;
	int failed = quota_user_get(quota, uid, &to, err);

	if (failed)
		return failed;
	quota_move(*user, to, kind, 1);
	quota_user_put(*user);
	*user = to;
	return 0;
}

bool quota_is_news(struct quota_user *user, enum quota_kind kind)
{
	bool news = user && !(user->told & 1U << kind);

	if (news)
		user->told |= 1U << kind;
	return news;
}
