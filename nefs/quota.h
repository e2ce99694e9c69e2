/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bounds for what nefs keeps on behalf of users who do not trust each other: what each of them has, by uid,
 * and what all have together, so that some is left for root. Loop thread; no call blocks.
 *
 * Who mounted it, and root, have no bound and are not counted: they are a user that is NULL. A user is
 * remembered for as long as something is counted, or refers to them.
 */
#ifndef NEFS_QUOTA_H
#define NEFS_QUOTA_H

#include <nefs/error.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

enum quota_kind {
	QUOTA_ENCLAVES, /* directories of enclaves, by their owner */
	QUOTA_FILES,	/* open files, by who opened them, and staged ones, by their owner */
	QUOTA_BYTES, /* of the spool directory as its filesystem counts them, by the file's owner */
	QUOTA_PARKED, /* requests that wait, by who made them */
	QUOTA_TEXT, /* bytes of nefs's own memory: journals and consoles, by the enclave's owner */
	QUOTA_FDS,  /* files in the spool directory: each takes one of nefs's own fds */
	QUOTA_KINDS
};

/* Most of each kind; 0: no bound. */
struct quota_limits {
	uint64_t each[QUOTA_KINDS]; /* of one user */
	/*
	 * Of all users who have a bound. Where `each` is 0 a user may have as much as is left for the others: half
	 * of it for the first, a quarter for the next.
	 */
	uint64_t all[QUOTA_KINDS];
};

struct quota_user;
LIST_HEAD(quota_users, quota_user);

/* Zeroed: nothing has a bound. */
struct quota {
	struct quota_limits limits; /* may be set at any time: what is there stays */
	uid_t mounter;		    /* has no bound; nor has 0 */
	uint64_t used[QUOTA_KINDS]; /* by all who have one */
	size_t count;		    /* of users that are remembered */
	struct quota_users by_uid[256];
};

/*
 * A user, with one reference to be put; *user is NULL if they have no bound. 0 or -ENOMEM, *user is NULL then.
 */
int quota_user_get(
	struct quota *quota, uid_t uid, struct quota_user **user, struct nefs_error *err);
struct quota_user *quota_user_ref(struct quota_user *user); /* NULL is allowed, and given back */
void quota_user_put(struct quota_user *user);		    /* NULL is allowed */

/* Who it is; 0 for NULL. What is counted of a kind; 0 for NULL. */
uid_t quota_user_uid(const struct quota_user *user);
uint64_t quota_used(const struct quota_user *user, enum quota_kind kind);

/*
 * Counts so much more. -EDQUOT if that is above a bound: nothing is counted then, and the sentence has the
 * figures and the option.
 */
int quota_charge(
	struct quota_user *user, enum quota_kind kind, uint64_t amount, struct nefs_error *err);

/* Counts `now` instead of `before`, which was counted; never refused. quota_release: so much less. */
void quota_adjust(struct quota_user *user, enum quota_kind kind, uint64_t before, uint64_t now);
void quota_release(struct quota_user *user, enum quota_kind kind, uint64_t amount);

/* What was counted for one is counted for the other; never refused, as root says so by chown(2). */
void quota_move(
	struct quota_user *from, struct quota_user *to, enum quota_kind kind, uint64_t amount);

/*
 * For what is one thing: finds the user and counts it. *user (NULL: no bound) is to be given back with it,
 * and NULL if it is refused: EDQUOT, ENOMEM.
 */
int quota_take(struct quota *quota, uid_t uid, enum quota_kind kind, struct quota_user **user,
	struct nefs_error *err);
void quota_give(struct quota_user *user, enum quota_kind kind);

/* The same thing is another's from now on: 0 or -ENOMEM, and nothing has changed. *user is replaced. */
int quota_chown(struct quota *quota, uid_t uid, enum quota_kind kind, struct quota_user **user,
	struct nefs_error *err);

/*
 * Is it news that this user was refused something of this kind? It is once, until they have less than half of
 * what they may: who tries on and on is not to fill the log. False for NULL.
 */
bool quota_is_news(struct quota_user *user, enum quota_kind kind);

#endif
