/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What users may have: nefs/quota.h. */
#include "cunit_main.h"
#include "failing_memory.h"
#include "quota.h"
#include <errno.h>

static struct quota quota;
static struct nefs_error err;

static void set_up(void)
{
	quota = (struct quota){ .mounter = 500 };
	quota.limits.each[QUOTA_ENCLAVES] = 3;
	quota.limits.each[QUOTA_FILES] = 1000;
	quota.limits.all[QUOTA_FILES] = 1500;
	quota.limits.all[QUOTA_FDS] = 80;
	err = (struct nefs_error){ 0 };
}

/* Whatever a test did, it gave all back. */
static void tear_down(void)
{
	CU_ASSERT_EQUAL(quota.count, 0);
	for (size_t i = 0; i < QUOTA_KINDS; i++)
		CU_ASSERT_EQUAL(quota.used[i], 0);
	for (size_t i = 0; i < sizeof(quota.by_uid) / sizeof(*quota.by_uid); i++)
		CU_ASSERT_TRUE(LIST_EMPTY(&quota.by_uid[i]));
}

static struct quota_user *user_of(uid_t uid)
{
	struct quota_user *user;

	CU_ASSERT_EQUAL_FATAL(quota_user_get(&quota, uid, &user, &err), 0);
	return user;
}

static void test_bound(void)
{
	struct quota_user *taken[3], *none;

	for (size_t i = 0; i < 3; i++)
		CU_ASSERT_EQUAL_FATAL(quota_take(&quota, 1000, QUOTA_ENCLAVES, &taken[i], &err), 0);
	CU_ASSERT_EQUAL(quota_take(&quota, 1000, QUOTA_ENCLAVES, &none, &err), -EDQUOT);
	CU_ASSERT_PTR_NULL(none);
	CU_ASSERT_EQUAL(err.code, EDQUOT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "user 1000 has 3 enclaves, each may have 3"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "user_enclaves="));
	CU_ASSERT_EQUAL(quota_used(taken[0], QUOTA_ENCLAVES), 3);
	/* Another's are another's; and what was given back may be had again. */
	CU_ASSERT_EQUAL(quota_take(&quota, 1001, QUOTA_ENCLAVES, &none, &err), 0);
	quota_give(none, QUOTA_ENCLAVES);
	quota_give(taken[0], QUOTA_ENCLAVES);
	CU_ASSERT_EQUAL(quota_take(&quota, 1000, QUOTA_ENCLAVES, &taken[0], &err), 0);
	for (size_t i = 0; i < 3; i++)
		quota_give(taken[i], QUOTA_ENCLAVES);
}

static void test_unbounded(void)
{
	struct quota_user *user = user_of(0), *mounter = user_of(500), *other = user_of(1000);

	CU_ASSERT_PTR_NULL(user);
	CU_ASSERT_PTR_NULL(mounter);
	CU_ASSERT_EQUAL(quota_charge(user, QUOTA_ENCLAVES, UINT64_MAX, &err), 0);
	quota_adjust(user, QUOTA_BYTES, 1, 2);
	quota_release(user, QUOTA_ENCLAVES, 7);
	quota_user_put(quota_user_ref(user));
	quota_user_put(user);
	CU_ASSERT_EQUAL(quota_user_uid(user), 0);
	CU_ASSERT_EQUAL(quota_used(user, QUOTA_FILES), 0);
	CU_ASSERT_FALSE(quota_is_news(user, QUOTA_FILES));
	CU_ASSERT_EQUAL(quota.used[QUOTA_ENCLAVES], 0);
	/* A kind without a bound. */
	CU_ASSERT_EQUAL(quota_charge(other, QUOTA_BYTES, 1ULL << 60, &err), 0);
	CU_ASSERT_EQUAL(quota_user_uid(other), 1000);
	quota_user_put(other);
	CU_ASSERT_EQUAL(quota.count, 1);
	quota_release(other, QUOTA_BYTES, 1ULL << 60);
}

/* Nothing is charged of what is refused, however large it is. */
static void test_no_overflow(void)
{
	struct quota_user *user = user_of(1000), *other = user_of(1001);

	CU_ASSERT_EQUAL(quota_charge(user, QUOTA_FILES, UINT64_MAX, &err), -EDQUOT);
	CU_ASSERT_EQUAL(quota_charge(user, QUOTA_FILES, 999, &err), 0);
	CU_ASSERT_EQUAL(quota_charge(user, QUOTA_FILES, UINT64_MAX - 500, &err), -EDQUOT);
	CU_ASSERT_EQUAL(quota_charge(user, QUOTA_FILES, 2, &err), -EDQUOT);
	CU_ASSERT_EQUAL(quota_charge(user, QUOTA_FILES, 1, &err), 0);
	CU_ASSERT_EQUAL(quota_charge(user, QUOTA_FILES, 0, &err), 0);
	CU_ASSERT_EQUAL(quota_used(user, QUOTA_FILES), 1000);
	/* The rest is for root. */
	CU_ASSERT_EQUAL(quota_charge(other, QUOTA_FILES, 501, &err), -EDQUOT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "1000 of the 1500 open and staged files"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "kept for root"));
	CU_ASSERT_EQUAL(quota_charge(other, QUOTA_FILES, UINT64_MAX, &err), -EDQUOT);
	CU_ASSERT_EQUAL(quota_charge(other, QUOTA_FILES, 500, &err), 0);
	quota_release(user, QUOTA_FILES, 1000);
	quota_release(other, QUOTA_FILES, 500);
	quota_user_put(user);
	quota_user_put(other);
}

/* A bound that was lowered below what is there: nothing more, until there is less. */
static void test_lowered(void)
{
	struct quota_user *user = user_of(1000);

	CU_ASSERT_EQUAL(quota_charge(user, QUOTA_FILES, 800, &err), 0);
	quota.limits.each[QUOTA_FILES] = 500;
	CU_ASSERT_EQUAL(quota_charge(user, QUOTA_FILES, 1, &err), -EDQUOT);
	quota.limits.each[QUOTA_FILES] = 5000;
	quota.limits.all[QUOTA_FILES] = 500;
	CU_ASSERT_EQUAL(quota_charge(user, QUOTA_FILES, 1, &err), -EDQUOT);
	quota_release(user, QUOTA_FILES, 301);
	CU_ASSERT_EQUAL(quota_charge(user, QUOTA_FILES, 1, &err), 0);
	quota_release(user, QUOTA_FILES, 500);
	quota_user_put(user);
}

/* Without a bound for each, nobody takes more than he leaves. */
static void test_shares(void)
{
	struct quota_user *users[6];
	uint64_t had[6] = { 0 };

	for (uid_t i = 0; i < 6; i++) {
		users[i] = user_of(1000 + i);
		while (quota_charge(users[i], QUOTA_FDS, 1, &err) == 0)
			had[i]++;
		CU_ASSERT_EQUAL(err.code, EDQUOT);
	}
	CU_ASSERT_EQUAL(had[0], 40);
	CU_ASSERT_EQUAL(had[1], 20);
	CU_ASSERT_EQUAL(had[2], 10);
	CU_ASSERT_EQUAL(had[5], 1);
	CU_ASSERT_EQUAL(quota_charge(users[0], QUOTA_FDS, 1, &err), -EDQUOT);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(err.text, "user 1000 has 40 images and staged files, as many as"));
	for (size_t i = 0; i < 6; i++) {
		quota_release(users[i], QUOTA_FDS, had[i]);
		quota_user_put(users[i]);
	}
}

static void test_adjusted(void)
{
	struct quota_user *user = user_of(1000);

	CU_ASSERT_EQUAL(quota_charge(user, QUOTA_FILES, 900, &err), 0);
	/* What it came to is what counts, even if that is too much. */
	quota_adjust(user, QUOTA_FILES, 900, 1200);
	CU_ASSERT_EQUAL(quota_used(user, QUOTA_FILES), 1200);
	CU_ASSERT_EQUAL(quota_charge(user, QUOTA_FILES, 0, &err), -EDQUOT);
	quota_adjust(user, QUOTA_FILES, 1200, 5);
	CU_ASSERT_EQUAL(quota.used[QUOTA_FILES], 5);
	/* The last that was counted is the last that remembers them. */
	quota_user_put(user);
	CU_ASSERT_EQUAL(quota.count, 1);
	quota_adjust(user, QUOTA_FILES, 5, 0);
}

static void test_transfer(void)
{
	struct quota_user *taken[3], *other = user_of(1001);

	for (size_t i = 0; i < 3; i++)
		CU_ASSERT_EQUAL_FATAL(quota_take(&quota, 1000, QUOTA_ENCLAVES, &taken[i], &err), 0);
	/* Whoever gets it may have too many then. */
	CU_ASSERT_EQUAL(quota_charge(other, QUOTA_ENCLAVES, 3, &err), 0);
	CU_ASSERT_EQUAL(quota_chown(&quota, 1001, QUOTA_ENCLAVES, &taken[0], &err), 0);
	CU_ASSERT_PTR_EQUAL(taken[0], other);
	CU_ASSERT_EQUAL(quota_used(other, QUOTA_ENCLAVES), 4);
	CU_ASSERT_EQUAL(quota_used(taken[1], QUOTA_ENCLAVES), 2);
	CU_ASSERT_EQUAL(quota_chown(&quota, 0, QUOTA_ENCLAVES, &taken[1], &err), 0);
	CU_ASSERT_PTR_NULL(taken[1]);
	CU_ASSERT_EQUAL(quota_chown(&quota, 1000, QUOTA_ENCLAVES, &taken[1], &err), 0);
	CU_ASSERT_PTR_EQUAL(taken[1], taken[2]);
	CU_ASSERT_EQUAL(quota_chown(&quota, 1000, QUOTA_ENCLAVES, &taken[1], &err), 0);
	CU_ASSERT_EQUAL(quota_used(taken[2], QUOTA_ENCLAVES), 2);
	quota_move(other, other, QUOTA_ENCLAVES, 3);
	CU_ASSERT_EQUAL(quota.used[QUOTA_ENCLAVES], 6);
	quota_release(other, QUOTA_ENCLAVES, 3);
	for (size_t i = 0; i < 3; i++)
		quota_give(taken[i], QUOTA_ENCLAVES);
	quota_user_put(other);
}

/* A refusal is told once, and again after there was less for a while. */
static void test_news(void)
{
	struct quota_user *user = user_of(1000);

	CU_ASSERT_EQUAL(quota_charge(user, QUOTA_ENCLAVES, 3, &err), 0);
	CU_ASSERT_TRUE(quota_is_news(user, QUOTA_ENCLAVES));
	CU_ASSERT_FALSE(quota_is_news(user, QUOTA_ENCLAVES));
	CU_ASSERT_TRUE(quota_is_news(user, QUOTA_FILES));
	quota_release(user, QUOTA_ENCLAVES, 1);
	CU_ASSERT_FALSE(quota_is_news(user, QUOTA_ENCLAVES));
	quota_release(user, QUOTA_ENCLAVES, 1);
	CU_ASSERT_TRUE(quota_is_news(user, QUOTA_ENCLAVES));
	quota_release(user, QUOTA_ENCLAVES, 1);
	quota_user_put(user);
}

static void test_many_users(void)
{
	static struct quota_user *users[5000];

	for (uid_t i = 0; i < 5000; i++)
		CU_ASSERT_EQUAL_FATAL(
			quota_take(&quota, 1000 + i, QUOTA_ENCLAVES, &users[i], &err), 0);
	CU_ASSERT_EQUAL(quota.count, 5000);
	CU_ASSERT_EQUAL(quota.used[QUOTA_ENCLAVES], 5000);
	for (uid_t i = 0; i < 5000; i++) {
		CU_ASSERT_EQUAL(quota_user_uid(users[i]), 1000 + i);
		quota_give(users[i], QUOTA_ENCLAVES);
	}
}

static void test_out_of_memory(void)
{
	struct quota_user *user, *taken;

	memory_fail(0);
	CU_ASSERT_EQUAL(quota_user_get(&quota, 1000, &user, &err), -ENOMEM);
	CU_ASSERT_PTR_NULL(user);
	memory_fail(0);
	CU_ASSERT_EQUAL(quota_take(&quota, 1000, QUOTA_FILES, &taken, &err), -ENOMEM);
	CU_ASSERT_PTR_NULL(taken);
	CU_ASSERT_TRUE(memory_failed());
	CU_ASSERT_EQUAL_FATAL(quota_take(&quota, 1000, QUOTA_FILES, &taken, &err), 0);
	/* Nothing has changed then. */
	user = taken;
	memory_fail(0);
	CU_ASSERT_EQUAL(quota_chown(&quota, 1001, QUOTA_FILES, &taken, &err), -ENOMEM);
	CU_ASSERT_TRUE(memory_failed());
	CU_ASSERT_PTR_EQUAL(taken, user);
	CU_ASSERT_EQUAL(quota_used(taken, QUOTA_FILES), 1);
	quota_give(taken, QUOTA_FILES);
}

static const CU_TestInfo tests[] = {
	{ "a bound is a bound, of each user by himself", test_bound },
	{ "root and the mounter have none", test_unbounded },
	{ "no sum wraps, and some is left for root", test_no_overflow },
	{ "a bound below what is there", test_lowered },
	{ "nobody takes more than he leaves", test_shares },
	{ "what it came to counts", test_adjusted },
	{ "chown transfers", test_transfer },
	{ "a refusal is news once", test_news },
	{ "many users", test_many_users },
	{ "out of memory", test_out_of_memory },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("quota", tests, (CU_SetUpFunc)set_up, (CU_TearDownFunc)tear_down);
}
