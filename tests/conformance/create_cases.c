/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NE_CREATE_VM: what it gives, and what it needs. */
#include "subject.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

static int create_gives_a_cloexec_fd(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(fcntl(subject.fd, F_GETFD) & FD_CLOEXEC);
	REQUIRE(subject.fd != conformance->device);
	return 0;
}

static int create_gives_each_a_slot(struct conformance *conformance)
{
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_create(&one) >= 0);
	REQUIRE(subject_create(&two) >= 0);
	REQUIRE(one.slot_uid != two.slot_uid && one.fd != two.fd);
	REQUIRE(one.slot_uid && two.slot_uid);
	return 0;
}

static int create_takes_a_slot(struct conformance *conformance)
{
	const struct lab *lab = conformance->lab;
	int before = lab->slots(lab->context);
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_create(&one) >= 0);
	EXPECT(lab->slots(lab->context), before + 1);
	REQUIRE(subject_create(&two) >= 0);
	EXPECT(lab->slots(lab->context), before + 2);
	subject_end(&one);
	EXPECT(lab->slots(lab->context), before + 1);
	return 0;
}

#define MANY 16

/* An enclave without CPUs takes none from the pool. */
static int create_many(struct conformance *conformance)
{
	struct subject subjects[MANY];
	int made = 0, result = 0;
	SUBJECT(last);

	for (; made < MANY && result >= 0; made++) {
		subjects[made] = (struct subject){ .conformance = conformance, .fd = -1 };
		result = subject_create(&subjects[made]);
		for (int i = 0; result >= 0 && i < made; i++)
			if (subjects[i].slot_uid == subjects[made].slot_uid)
				result = -EEXIST;
	}
	if (result >= 0)
		result = subject_create(&last);
	if (result >= 0)
		result = subject_take_pool(&last);
	while (made > 0)
		subject_end(&subjects[--made]);
	EXPECT(result, (int)conformance->pool.count);
	return 0;
}

static int create_writes_8_bytes(struct conformance *conformance)
{
	uint64_t words[3] = { ~0ULL, 0, ~0ULL };
	SUBJECT(subject);

	subject.fd = on_fd(conformance, conformance->device, NE_CREATE_VM, &words[1]);
	REQUIRE(subject.fd >= 0);
	REQUIRE(words[0] == ~0ULL && words[1] != 0 && words[2] == ~0ULL);
	return 0;
}

/* The runner sees whether the slots are free again. */
static int create_for_nobody(struct conformance *conformance)
{
	for (int i = 0; i < 10; i++)
		EXPECT(on_fd(conformance, conformance->device, NE_CREATE_VM, NULL), -EFAULT);
	return 0;
}

static int create_with_a_used_up_pool(struct conformance *conformance)
{
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_create(&one) >= 0);
	REQUIRE(subject_take_pool(&one) > 0);
	return subject_create(&two);
}

static int create_pool_before_pointer(struct conformance *conformance)
{
	SUBJECT(one);

	REQUIRE(subject_create(&one) >= 0);
	REQUIRE(subject_take_pool(&one) > 0);
	return on_fd(conformance, conformance->device, NE_CREATE_VM, NULL);
}

/* A claimed core is out of the pool, however little of it is used. */
static int create_with_a_claimed_pool(struct conformance *conformance)
{
	const struct pool *pool = &conformance->pool;
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_create(&one) >= 0);
	for (size_t i = 0, core = 0; i < pool->count; i++) {
		uint32_t id = pool->ids[i];

		if (pool->core[i] != core)
			continue;
		EXPECT(subject_add_vcpu(&one, &id), 0);
		core++;
	}
	return subject_create(&two);
}

static int create_after_a_close(struct conformance *conformance)
{
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_create(&one) >= 0);
	REQUIRE(subject_take_pool(&one) > 0);
	EXPECT(subject_create(&two), -NE_ERR_NO_CPUS_AVAIL_IN_POOL);
	subject_end(&one);
	REQUIRE(subject_create(&two) >= 0);
	return 0;
}

static int create_outlives_device_fd(struct conformance *conformance)
{
	struct ne_dev *dev = conformance->dev;
	int second = dev->ops->open(dev, NULL), crossed;
	uint32_t id = 0;
	SUBJECT(subject);

	REQUIRE(second >= 0 && second != conformance->device);
	subject.fd = on_fd(conformance, second, NE_CREATE_VM, &subject.slot_uid);
	crossed = on_fd(conformance, second, NE_ADD_VCPU, &id);
	dev->ops->close(dev, second);
	REQUIRE(subject.fd >= 0);
	EXPECT(crossed, -ENOTTY);
	return subject_add_vcpu(&subject, &id);
}

static int create_without_an_fd_left(struct conformance *conformance)
{
	int lowest = fcntl(conformance->device, F_DUPFD_CLOEXEC, 0), result;
	struct rlimit before, none;
	uint64_t uid;

	REQUIRE(lowest >= 0);
	close(lowest);
	REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
	none = (struct rlimit){ .rlim_cur = (rlim_t)lowest, .rlim_max = before.rlim_max };
	REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
	result = on_fd(conformance, conformance->device, NE_CREATE_VM, &uid);
	REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
	return result;
}

const struct conformance_case create_cases[] = {
	{ "create: a close-on-exec fd", create_gives_a_cloexec_fd },
	{ "create: a slot each", create_gives_each_a_slot },
	{ "create: a slot taken, and given back", create_takes_a_slot, .needs = NEED_SLOTS },
	{ "create: many, which take no CPU", create_many },
	{ "create: the uid has 8 bytes", create_writes_8_bytes },
	{ "create: nothing kept after EFAULT", create_for_nobody },
	{ "create: the pool used up", create_with_a_used_up_pool, -NE_ERR_NO_CPUS_AVAIL_IN_POOL },
	{ "create: pool before pointer", create_pool_before_pointer,
		-NE_ERR_NO_CPUS_AVAIL_IN_POOL },
	{ "create: a thread of each core used", create_with_a_claimed_pool,
		-NE_ERR_NO_CPUS_AVAIL_IN_POOL, NEED_SIBLINGS },
	{ "create: when the pool is back", create_after_a_close },
	{ "create: enclave outlives the device fd", create_outlives_device_fd },
	{ "create: no fd left", create_without_an_fd_left, -EMFILE },
	{ NULL },
};
