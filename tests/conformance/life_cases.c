/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How an enclave ends, and who learns of it. */
#include "subject.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

static int quiet_at_first(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	return events_of(subject.fd, 0);
}

static int quiet_before_start(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_FILLED));
	return events_of(subject.fd, 0);
}

static int quiet_while_running(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_RUNNING));
	return events_of(subject.fd, QUIET_MS);
}

static int crash_hangs_up(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_CRASHED));
	/* Sticky, and nothing else; whatever is asked of it meanwhile. */
	EXPECT(events_of(subject.fd, 0), POLLHUP);
	EXPECT(subject_start(&subject, 0), -NE_ERR_NOT_IN_INIT_STATE);
	EXPECT(events_of(subject.fd, 0), POLLHUP);
	return 0;
}

static int crash_wakes_epoll(struct conformance *conformance)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT }, told = { 0 };
	const struct lab *lab = conformance->lab;
	int epoll = epoll_create1(EPOLL_CLOEXEC), counts[4] = { 0 };
	SUBJECT(subject);

	REQUIRE(epoll >= 0);
	if (subject_make(&subject, STATE_RUNNING) &&
		epoll_ctl(epoll, EPOLL_CTL_ADD, subject.fd, &event) == 0) {
		counts[0] = epoll_wait(epoll, &told, 1, 0);
		counts[1] = lab->crash(lab->context, subject.slot_uid);
		counts[2] = epoll_wait(epoll, &told, 1, HANG_UP_MS);
		counts[3] = epoll_wait(epoll, &told, 1, 0);
	}
	close(epoll);
	EXPECT(counts[0], 0);
	EXPECT(counts[1], 0);
	EXPECT(counts[2], 1);
	EXPECT(counts[3], 1);
	EXPECT((int)told.events, EPOLLHUP);
	return 0;
}

/* On the edge it is told once. */
static int crash_wakes_epoll_once(struct conformance *conformance)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET }, told = { 0 };
	int epoll = epoll_create1(EPOLL_CLOEXEC), first = -1, second = -1;
	SUBJECT(subject);

	REQUIRE(epoll >= 0);
	if (subject_make(&subject, STATE_RUNNING) &&
		epoll_ctl(epoll, EPOLL_CTL_ADD, subject.fd, &event) == 0 &&
		subject_crash(&subject) == 0) {
		first = epoll_wait(epoll, &told, 1, HANG_UP_MS);
		second = epoll_wait(epoll, &told, 1, QUIET_MS);
	}
	close(epoll);
	EXPECT(first, 1);
	EXPECT(second, 0);
	return 0;
}

static void *sleep_until_hang_up(void *argument)
{
	const struct subject *subject = argument;

	return (void *)(intptr_t)events_of(subject->fd, HANG_UP_MS);
}

static int crash_wakes_a_sleeper(struct conformance *conformance)
{
	const struct lab *lab = conformance->lab;
	pthread_t thread;
	void *events;
	int crashed;
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_RUNNING));
	REQUIRE(pthread_create(&thread, NULL, sleep_until_hang_up, &subject) == 0);
	crashed = lab->crash(lab->context, subject.slot_uid);
	REQUIRE(pthread_join(thread, &events) == 0);
	EXPECT(crashed, 0);
	EXPECT((int)(intptr_t)events, POLLHUP);
	return 0;
}

static int crash_of_one_of_two(struct conformance *conformance)
{
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_make(&one, STATE_RUNNING));
	REQUIRE(subject_make(&two, STATE_RUNNING));
	EXPECT(subject_crash(&one), 0);
	EXPECT(events_of(two.fd, QUIET_MS), 0);
	EXPECT(events_of(one.fd, 0), POLLHUP);
	subject_end(&one);
	EXPECT(events_of(two.fd, 0), 0);
	/* Nor has the other one lost its own end. */
	return subject_crash(&two);
}

static int crash_beside_a_new_one(struct conformance *conformance)
{
	uint32_t id = 0;
	SUBJECT(crashed);
	SUBJECT(beside);

	REQUIRE(subject_create(&beside) >= 0);
	REQUIRE(subject_make(&crashed, STATE_CRASHED));
	EXPECT(events_of(beside.fd, 0), 0);
	subject_end(&crashed);
	return subject_add_vcpu(&beside, &id);
}

static int crash_keeps_what_it_has(struct conformance *conformance)
{
	int64_t before = free_pages(conformance);
	uint32_t id;
	SUBJECT(crashed);
	SUBJECT(other);

	REQUIRE(subject_create(&other) >= 0);
	REQUIRE(subject_make(&crashed, STATE_CRASHED));
	/* Until it is closed, CPUs and memory are its own. */
	id = crashed.cpus[0];
	EXPECT(subject_add_vcpu(&other, &id), -NE_ERR_VCPU_NOT_IN_CPU_POOL);
	conformance->dev->ops->unmap(conformance->dev, crashed.memory, crashed.memory_size);
	crashed.memory = NULL;
	REQUIRE(free_pages(conformance) == before - (int64_t)(ENCLAVE_MIN / PAGE));
	subject_end(&crashed);
	REQUIRE(free_pages(conformance) == before);
	return subject_add_vcpu(&other, &id);
}

static int crash_in_debug_mode(struct conformance *conformance)
{
	struct ne_enclave_start_info info = { .flags = NE_ENCLAVE_DEBUG_MODE };
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_FILLED));
	EXPECT(on_fd(conformance, subject.fd, NE_START_ENCLAVE, &info), 0);
	return subject_crash(&subject);
}

/* ---- events without a cause ---- */

static int spurious_event_is_quiet(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_RUNNING));
	EXPECT(conformance->lab->spurious(conformance->lab->context), 0);
	return events_of(subject.fd, 2 * QUIET_MS);
}

static int spurious_event_before_start(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_FILLED));
	EXPECT(conformance->lab->spurious(conformance->lab->context), 0);
	EXPECT(events_of(subject.fd, QUIET_MS), 0);
	return subject_start(&subject, 0);
}

static int spurious_event_with_none(struct conformance *conformance)
{
	SUBJECT(subject);

	EXPECT(conformance->lab->spurious(conformance->lab->context), 0);
	REQUIRE(subject_make(&subject, STATE_RUNNING));
	return events_of(subject.fd, QUIET_MS);
}

static int crash_after_a_spurious_event(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_RUNNING));
	EXPECT(conformance->lab->spurious(conformance->lab->context), 0);
	return subject_crash(&subject);
}

static int spurious_event_after_a_crash(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_CRASHED));
	EXPECT(conformance->lab->spurious(conformance->lab->context), 0);
	EXPECT(events_of(subject.fd, 0), POLLHUP);
	return 0;
}

/* ---- the close ---- */

#define CYCLES 20

/* The runner sees whether all is back. */
static int close_in(struct conformance *conformance, enum state state)
{
	int64_t before = free_pages(conformance);

	for (int i = 0; i < CYCLES; i++) {
		SUBJECT(subject);

		REQUIRE(subject_make(&subject, state));
		subject_end(&subject);
		REQUIRE(free_pages(conformance) == before);
	}
	return 0;
}

static int close_of_a_new_one(struct conformance *conformance)
{
	return close_in(conformance, STATE_INIT);
}

static int close_of_a_filled_one(struct conformance *conformance)
{
	return close_in(conformance, STATE_FILLED);
}

static int close_of_a_running_one(struct conformance *conformance)
{
	return close_in(conformance, STATE_RUNNING);
}

static int close_of_a_crashed_one(struct conformance *conformance)
{
	return close_in(conformance, STATE_CRASHED);
}

static int close_leaves_the_other(struct conformance *conformance)
{
	SUBJECT(one);
	SUBJECT(two);

	REQUIRE(subject_make(&one, STATE_RUNNING));
	REQUIRE(subject_make(&two, STATE_RUNNING));
	subject_end(&one);
	EXPECT(events_of(two.fd, QUIET_MS), 0);
	/* What the first had can be had again. */
	return subject_make(&one, STATE_RUNNING) ? 0 : CASE_FAILED;
}

const struct conformance_case life_cases[] = {
	{ "poll: quiet at first", quiet_at_first },
	{ "poll: quiet before the start", quiet_before_start },
	{ "poll: quiet while running", quiet_while_running },
	{ "poll: a crash hangs up, and stays", crash_hangs_up, 0, NEED_CRASH },
	{ "poll: a crash wakes epoll", crash_wakes_epoll, 0, NEED_CRASH },
	{ "poll: a crash wakes epoll once, on the edge", crash_wakes_epoll_once, 0, NEED_CRASH },
	{ "poll: a crash wakes a sleeper", crash_wakes_a_sleeper, 0, NEED_CRASH },
	{ "poll: a crash of one of two", crash_of_one_of_two, 0, NEED_CRASH | NEED_TWO_CORES },
	{ "poll: a crash beside a new one", crash_beside_a_new_one, 0, NEED_CRASH },
	{ "poll: a crash in debug mode", crash_in_debug_mode, 0, NEED_CRASH },
	{ "poll: a spurious event is quiet", spurious_event_is_quiet, 0, NEED_SPURIOUS },
	{ "poll: a spurious event before the start", spurious_event_before_start, 0,
		NEED_SPURIOUS },
	{ "poll: a spurious event without an enclave", spurious_event_with_none, 0, NEED_SPURIOUS },
	{ "poll: a crash after a spurious event", crash_after_a_spurious_event, 0,
		NEED_CRASH | NEED_SPURIOUS },
	{ "poll: a spurious event after a crash", spurious_event_after_a_crash, 0,
		NEED_CRASH | NEED_SPURIOUS },
	{ "crash: CPUs and pages are kept until the close", crash_keeps_what_it_has, 0,
		NEED_CRASH },
	{ "close: a new one", close_of_a_new_one },
	{ "close: what is filled comes back", close_of_a_filled_one },
	{ "close: stops, and all comes back", close_of_a_running_one },
	{ "close: after a crash all comes back", close_of_a_crashed_one, 0, NEED_CRASH },
	{ "close: leaves the other one alone", close_leaves_the_other, 0, NEED_TWO_CORES },
	{ NULL },
};
