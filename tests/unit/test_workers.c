/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cunit_main.h"
#include "test_launch_support.h"
#include <fcntl.h>
#include <nefs/clock.h>
#include <nefs/log.h>
#include <nefs/workers.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

static sd_event *event;
static struct workers *pool;
static pthread_t loop_thread;

struct job {
	struct work work; /* first */
	atomic_uint runs;
	unsigned int dones;
	bool in_loop;	       /* run() was in the loop thread */
	bool out_loop;	       /* done() was not */
	sem_t *gate;	       /* run() waits for it */
	sem_t *begun;	       /* run() says so */
	pid_t thread;	       /* that run() was in */
	bool endless;	       /* run() waits until it is cancelled */
	bool cancelled;	       /* done() was told so */
	unsigned int begun_as; /* how many were begun before it */
	struct job *next;
};

static unsigned int all_done;
static atomic_uint all_begun;

static void job_run(struct work *work)
{
	struct job *job = (struct job *)work;

	job->thread = (pid_t)syscall(SYS_gettid);
	job->begun_as = atomic_fetch_add(&all_begun, 1);
	job->in_loop = pthread_equal(pthread_self(), loop_thread);
	if (job->begun)
		sem_post(job->begun);
	while (job->gate && sem_wait(job->gate) < 0) {
	}
	while (job->endless && !work_cancelled(work))
		usleep(100);
	atomic_fetch_add(&job->runs, 1);
}

static void job_done(struct work *work)
{
	struct job *job = (struct job *)work;

	job->out_loop = !pthread_equal(pthread_self(), loop_thread);
	job->cancelled = work_cancelled(work);
	job->dones++;
	all_done++;
	if (job->next)
		workers_submit(pool, &job->next->work);
}

static void job_init(struct job *job)
{
	memset(job, 0, sizeof(*job));
	job->work.run = job_run;
	job->work.done = job_done;
}

static bool are_done(void *context)
{
	return all_done >= *(unsigned int *)context;
}

static void set_up(void)
{
	all_done = 0;
	all_begun = 0;
	loop_thread = pthread_self();
	sd_event_new(&event);
}

static void tear_down(void)
{
	sd_event_unref(event);
}

static void check(const struct job *jobs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		CU_ASSERT_EQUAL(atomic_load(&jobs[i].runs), 1);
		CU_ASSERT_EQUAL(jobs[i].dones, 1);
		CU_ASSERT_FALSE(jobs[i].in_loop);
		CU_ASSERT_FALSE(jobs[i].out_loop);
	}
}

static void test_many(void)
{
	static struct job jobs[2000];
	unsigned int count = 2000;

	CU_ASSERT_EQUAL(workers_new(event, 8, &pool, NULL), 0);
	for (size_t i = 0; i < count; i++) {
		job_init(&jobs[i]);
		workers_submit(pool, &jobs[i].work);
	}
	CU_ASSERT_EQUAL(all_done, 0); /* never from inside submit */
	CU_ASSERT_EQUAL(workers_pending(pool), count);
	CU_ASSERT_TRUE(run_until(event, are_done, &count));
	CU_ASSERT_EQUAL(workers_pending(pool), 0);
	check(jobs, count);
	workers_free(pool);
}

/* All of max_threads run at the same time, and one more does not. */
static void test_growth(void)
{
	static struct job jobs[9];
	unsigned int count = 9;
	sem_t gate, begun;
	int value;

	sem_init(&gate, 0, 0);
	sem_init(&begun, 0, 0);
	CU_ASSERT_EQUAL(workers_new(event, 8, &pool, NULL), 0);
	for (size_t i = 0; i < count; i++) {
		job_init(&jobs[i]);
		jobs[i].gate = &gate;
		jobs[i].begun = &begun;
		workers_submit(pool, &jobs[i].work);
	}
	for (size_t i = 0; i < 8; i++)
		CU_ASSERT_EQUAL(sem_wait(&begun), 0);
	sem_getvalue(&begun, &value);
	CU_ASSERT_EQUAL(value, 0);
	for (size_t i = 0; i < count; i++)
		sem_post(&gate);
	CU_ASSERT_TRUE(run_until(event, are_done, &count));
	check(jobs, count);
	workers_free(pool);
	sem_destroy(&gate);
	sem_destroy(&begun);
}

/* It does not wait for what is stuck, and does for the threads that idle. */
static void test_abandon(void)
{
	static struct job stuck, quick[3];
	unsigned int count = 3;
	sem_t gate, begun;

	sem_init(&gate, 0, 0);
	sem_init(&begun, 0, 0);
	CU_ASSERT_EQUAL(workers_new(event, 4, &pool, NULL), 0);
	for (size_t i = 0; i < count; i++) {
		job_init(&quick[i]);
		quick[i].begun = &begun;
		quick[i].gate = &gate;
		workers_submit(pool, &quick[i].work);
	}
	for (size_t i = 0; i < count; i++)
		CU_ASSERT_EQUAL(sem_wait(&begun), 0);
	for (size_t i = 0; i < count; i++)
		sem_post(&gate);
	CU_ASSERT_TRUE(run_until(event, are_done, &count));

	job_init(&stuck);
	stuck.gate = &gate;
	stuck.begun = &begun;
	workers_submit(pool, &stuck.work);
	CU_ASSERT_EQUAL(sem_wait(&begun), 0);
	workers_abandon(pool);
	CU_ASSERT_EQUAL(atomic_load(&stuck.runs), 0);
	CU_ASSERT_EQUAL(stuck.dones, 0);
	sem_post(&gate);
	workers_free(pool);
	CU_ASSERT_EQUAL(atomic_load(&stuck.runs), 1);
	sem_destroy(&gate);
	sem_destroy(&begun);
}

static void test_blocked(void)
{
	static struct job stuck, jobs[100];
	unsigned int count = 100;
	sem_t gate, begun;

	sem_init(&gate, 0, 0);
	sem_init(&begun, 0, 0);
	CU_ASSERT_EQUAL(workers_new(event, 2, &pool, NULL), 0);
	job_init(&stuck);
	stuck.gate = &gate;
	stuck.begun = &begun;
	workers_submit(pool, &stuck.work);
	CU_ASSERT_EQUAL(sem_wait(&begun), 0);
	for (size_t i = 0; i < count; i++) {
		job_init(&jobs[i]);
		workers_submit(pool, &jobs[i].work);
	}
	CU_ASSERT_TRUE(run_until(event, are_done, &count));
	CU_ASSERT_EQUAL(stuck.dones, 0);
	check(jobs, count);
	sem_post(&gate);
	count++;
	CU_ASSERT_TRUE(run_until(event, are_done, &count));
	workers_free(pool);
	sem_destroy(&gate);
	sem_destroy(&begun);
}

static void *open_later(void *gate)
{
	sem_post(gate);
	return NULL;
}

/* The end of the pool runs what is queued, and what done() adds. */
static void test_free(void)
{
	static struct job first, jobs[50], last;
	pthread_t opener;
	sem_t gate, begun;

	sem_init(&gate, 0, 0);
	sem_init(&begun, 0, 0);
	CU_ASSERT_EQUAL(workers_new(event, 1, &pool, NULL), 0);
	job_init(&first);
	job_init(&last);
	first.gate = &gate;
	first.begun = &begun;
	first.next = &last;
	workers_submit(pool, &first.work);
	for (size_t i = 0; i < 50; i++) {
		job_init(&jobs[i]);
		workers_submit(pool, &jobs[i].work);
	}
	CU_ASSERT_EQUAL(sem_wait(&begun), 0);
	CU_ASSERT_EQUAL(all_done, 0);
	CU_ASSERT_EQUAL(pthread_create(&opener, NULL, open_later, &gate), 0);
	workers_free(pool);
	pthread_join(opener, NULL);
	CU_ASSERT_EQUAL(all_done, 52);
	check(&first, 1);
	check(jobs, 50);
	check(&last, 1);
	sem_destroy(&gate);
	sem_destroy(&begun);
	workers_free(NULL);
}

/* How often a thread of ours has gone to sleep; -1: it has ended. */
static long sleeps_of(pid_t thread)
{
	char path[64], line[128];
	long sleeps = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)thread);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "voluntary_ctxt_switches: %ld", &sleeps);
	if (file)
		fclose(file);
	return sleeps;
}

/* Some of threads are left; *last is one of them. */
static size_t count_threads(const pid_t *threads, size_t count, pid_t *last)
{
	size_t left = 0;

	for (size_t i = 0; i < count; i++) {
		if (sleeps_of(threads[i]) >= 0) {
			*last = threads[i];
			left++;
		}
	}
	return left;
}

/* Idle threads of a lane end, all but one, and that one is not woken any more. */
static void test_rest(void)
{
	static struct job jobs[4];
	const uint64_t until = nefs_now_usec() + 20000000U;
	unsigned int count = 4;
	pid_t threads[4], last = 0;
	sem_t gate, begun;
	long before, after;

	sem_init(&gate, 0, 0);
	sem_init(&begun, 0, 0);
	CU_ASSERT_EQUAL(workers_new(event, count, &pool, NULL), 0);
	workers_set_idle_ms(pool, 20);
	for (size_t i = 0; i < count; i++) {
		job_init(&jobs[i]);
		jobs[i].gate = &gate;
		jobs[i].begun = &begun;
		workers_submit(pool, &jobs[i].work);
	}
	for (size_t i = 0; i < count; i++)
		sem_wait(&begun);
	for (size_t i = 0; i < count; i++)
		sem_post(&gate);
	CU_ASSERT_TRUE(run_until(event, are_done, &count));
	for (size_t i = 0; i < count; i++)
		threads[i] = jobs[i].thread;
	while (count_threads(threads, count, &last) > 1 && nefs_now_usec() < until)
		usleep(1000);
	CU_ASSERT_EQUAL(count_threads(threads, count, &last), 1);
	/* Its own last look at the clock may still be to come: then once more. */
	do {
		before = sleeps_of(last);
		usleep(200000);
		after = sleeps_of(last);
	} while (after != before && nefs_now_usec() < until);
	CU_ASSERT_EQUAL(after, before);
	/* And it still works. */
	job_init(&jobs[0]);
	workers_submit(pool, &jobs[0].work);
	count++;
	CU_ASSERT_TRUE(run_until(event, are_done, &count));
	CU_ASSERT_EQUAL(jobs[0].thread, last);
	workers_free(pool);
	sem_destroy(&gate);
	sem_destroy(&begun);
}

static void test_fds(void)
{
	unsigned int before = count_fds();

	for (size_t i = 0; i < 20; i++) {
		CU_ASSERT_EQUAL(workers_new(event, 4, &pool, NULL), 0);
		workers_free(pool);
	}
	CU_ASSERT_EQUAL(count_fds(), before);
}

/* The log's lines: in the foreground they go to stderr, which is a pipe here. */
static void test_watch(void)
{
	struct log_options options = { .foreground = true };
	int ends[2], kept = dup(STDERR_FILENO);
	struct job slow, quick;
	char said[1024] = "";
	sem_t gate, begun;
	struct log *log;
	ssize_t got;

	CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	dup2(ends[1], STDERR_FILENO);
	CU_ASSERT_EQUAL_FATAL(log_open(&options, &log, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(workers_new(event, 2, &pool, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(workers_watch(pool, log, 20), 0);
	sem_init(&gate, 0, 0);
	sem_init(&begun, 0, 0);
	job_init(&quick);
	workers_submit(pool, &quick.work);
	CU_ASSERT_TRUE(run_until(event, are_done, &(unsigned int){ 1 }));
	job_init(&slow);
	slow.work.what = "a long night";
	slow.gate = &gate;
	slow.begun = &begun;
	workers_submit(pool, &slow.work);
	/* Told once, however long it takes. */
	for (int i = 0; i < 10; i++)
		sd_event_run(event, 50000);
	got = read(ends[0], said, sizeof(said) - 1);
	CU_ASSERT_FATAL(got > 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "nefs: a long night has kept a worker busy for 0."));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, " s; pieces of work not done: 1\n"));
	CU_ASSERT_PTR_EQUAL(strchr(said, '\n'), said + got - 1);
	sem_post(&gate);
	CU_ASSERT_TRUE(run_until(event, are_done, &(unsigned int){ 2 }));
	/* What is at rest is not watched: nothing wakes the loop. */
	CU_ASSERT_EQUAL(sd_event_run(event, 60000), 0);
	dup2(kept, STDERR_FILENO);
	close(kept);
	close(ends[0]);
	close(ends[1]);
	workers_free(pool);
	log_close(log);
	sem_destroy(&gate);
	sem_destroy(&begun);
}

/* Has so many pieces without an end done for an owner; *begun counts those that were begun. */
static void hog(struct job *jobs, size_t count, uid_t owner, enum work_lane lane, sem_t *begun)
{
	for (size_t i = 0; i < count; i++) {
		job_init(&jobs[i]);
		jobs[i].endless = true;
		jobs[i].begun = begun;
		jobs[i].work.owner = owner;
		jobs[i].work.lane = lane;
		workers_submit(pool, &jobs[i].work);
	}
}

/* Another owner's piece is done, whatever the hogs are at. */
static void is_served(uid_t owner, enum work_lane lane)
{
	unsigned int count = all_done + 1;
	struct job job;

	job_init(&job);
	job.work.owner = owner;
	job.work.lane = lane;
	workers_submit(pool, &job.work);
	CU_ASSERT_TRUE(run_until(event, are_done, &count));
	check(&job, 1);
	CU_ASSERT_FALSE(job.cancelled);
}

/* How many were begun, once so many have been: no more come. */
static int begun_of(sem_t *begun, int expected)
{
	int more;

	for (int i = 0; i < expected; i++)
		sem_wait(begun);
	usleep(20000);
	sem_getvalue(begun, &more);
	return expected + more;
}

static void cancel_all(struct job *jobs, size_t count)
{
	unsigned int all = all_done + (unsigned int)count;

	for (size_t i = 0; i < count; i++)
		work_cancel(pool, &jobs[i].work);
	CU_ASSERT_TRUE(run_until(event, are_done, &all));
	for (size_t i = 0; i < count; i++) {
		CU_ASSERT_EQUAL(jobs[i].dones, 1);
		CU_ASSERT_TRUE(jobs[i].cancelled);
	}
}

static void test_hog(void)
{
	static const struct {
		enum work_lane lane;
		int share;
	} rows[] = { { WORK_DATA, 8 }, { WORK_SPOOL, 8 }, { WORK_REPORT, 2 }, { WORK_RELEASE, 8 } };
	static struct job hogs[64];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		sem_t begun;

		sem_init(&begun, 0, 0);
		CU_ASSERT_EQUAL(workers_new(event, 64, &pool, NULL), 0);
		hog(hogs, 64, 1000, rows[i].lane, &begun);
		CU_ASSERT_EQUAL(begun_of(&begun, rows[i].share), rows[i].share);
		for (enum work_lane lane = 0; lane < WORK_LANES; lane++) {
			is_served(1001, lane);
			is_served(0, lane);
		}
		cancel_all(hogs, 64);
		workers_free(pool);
		sem_destroy(&begun);
	}
}

/* Many of them: each finds less, there is something left for the next, and for root in any case. */
static void test_hogs(void)
{
	static struct job hogs[10][16];
	static const int shares[10] = { 8, 8, 8, 8, 8, 8, 4, 2, 1, 1 };
	sem_t begun;

	sem_init(&begun, 0, 0);
	CU_ASSERT_EQUAL(workers_new(event, 64, &pool, NULL), 0);
	for (size_t i = 0; i < 10; i++) {
		hog(hogs[i], 16, 1000 + (uid_t)i, WORK_DATA, &begun);
		CU_ASSERT_EQUAL(begun_of(&begun, shares[i]), shares[i]);
	}
	is_served(0, WORK_DATA);
	is_served(2000, WORK_RELEASE);
	/* What one gives up, another has. */
	cancel_all(hogs[0], 16);
	is_served(2000, WORK_DATA);
	for (size_t i = 1; i < 10; i++)
		cancel_all(hogs[i], 16);
	workers_free(pool);
	sem_destroy(&begun);
}

/* Root has no share, and leaves some all the same. */
static void test_root_hog(void)
{
	static struct job hogs[128];
	sem_t begun;

	sem_init(&begun, 0, 0);
	CU_ASSERT_EQUAL(workers_new(event, 64, &pool, NULL), 0);
	hog(hogs, 128, 0, WORK_DATA, &begun);
	CU_ASSERT_EQUAL(begun_of(&begun, 60), 60);
	is_served(1000, WORK_DATA);
	cancel_all(hogs, 128);
	workers_free(pool);
	sem_destroy(&begun);
}

/* In the one thread that there is, owners follow each other, however long their queues are. */
static void test_turns(void)
{
	static struct job jobs[3][20];
	struct job first, *order[61], *by_time[61] = { &first };
	unsigned int done = 0, count = 61;
	sem_t gate, begun;

	sem_init(&gate, 0, 0);
	sem_init(&begun, 0, 0);
	CU_ASSERT_EQUAL(workers_new(event, 1, &pool, NULL), 0);
	job_init(&first);
	first.gate = &gate;
	first.begun = &begun;
	workers_submit(pool, &first.work);
	sem_wait(&begun);
	for (size_t owner = 0; owner < 3; owner++) {
		for (size_t i = 0; i < 20; i++) {
			job_init(&jobs[owner][i]);
			jobs[owner][i].work.owner = 1000 + (uid_t)owner;
			workers_submit(pool, &jobs[owner][i].work);
		}
	}
	/* One amid a queue, and the first of another. */
	work_cancel(pool, &jobs[0][7].work);
	work_cancel(pool, &jobs[1][0].work);
	sem_post(&gate);
	CU_ASSERT_TRUE(run_until(event, are_done, &count));
	CU_ASSERT_EQUAL(atomic_load(&jobs[0][7].runs) + atomic_load(&jobs[1][0].runs), 0);
	CU_ASSERT_TRUE(jobs[0][7].cancelled && jobs[1][0].cancelled);
	for (size_t owner = 0; owner < 3; owner++)
		for (size_t i = 0; i < 20; i++)
			if (!jobs[owner][i].cancelled)
				order[done++] = &jobs[owner][i];
	CU_ASSERT_EQUAL(done, 58);
	/* As long as all have something, none has two in a row. */
	for (size_t i = 0; i < done; i++)
		by_time[order[i]->begun_as] = order[i];
	for (size_t i = 1; i < 50; i++)
		CU_ASSERT_NOT_EQUAL(by_time[i]->work.owner, by_time[i + 1]->work.owner);
	workers_free(pool);
	sem_destroy(&gate);
	sem_destroy(&begun);
}

/* Work that was cancelled can be submitted again, and is not cancelled then. */
static void test_again(void)
{
	unsigned int count = 2;
	struct job job;

	CU_ASSERT_EQUAL(workers_new(event, 2, &pool, NULL), 0);
	job_init(&job);
	job.endless = true;
	workers_submit(pool, &job.work);
	cancel_all(&job, 1);
	job.endless = false;
	workers_submit(pool, &job.work);
	CU_ASSERT_FALSE(work_cancelled(&job.work));
	CU_ASSERT_TRUE(run_until(event, are_done, &count));
	CU_ASSERT_FALSE(job.cancelled);
	workers_free(pool);
}

/* Work that is done by its pace. */
struct paced {
	struct work work; /* first */
	unsigned int pieces;
	unsigned int done;  /* pieces */
	sem_t *gate, *held; /* NULL: none; a piece waits for it, and says so before */
	bool ended;
};

static atomic_uint at_once, most_at_once;

static void paced_run(struct work *work)
{
	struct paced *paced = (struct paced *)work;

	while (paced->done < paced->pieces && nefs_pace_begin(&work->pace) == 0) {
		unsigned int now = atomic_fetch_add(&at_once, 1) + 1, most = most_at_once;

		while (most < now && !atomic_compare_exchange_weak(&most_at_once, &most, now)) {
		}
		if (paced->held)
			sem_post(paced->held);
		while (paced->gate && sem_wait(paced->gate) < 0) {
		}
		paced->done++;
		atomic_fetch_sub(&at_once, 1);
		nefs_pace_end(&work->pace);
	}
}

static void paced_done(struct work *work)
{
	((struct paced *)work)->ended = true;
	all_done++;
}

static void pace(struct paced *paced, uid_t owner, unsigned int pieces)
{
	*paced = (struct paced){
		.work = { .run = paced_run, .done = paced_done, .owner = owner },
		.pieces = pieces,
	};
}

/* Of many that read and hash no more do so at a time than leave the loop a CPU. */
static void test_pace(void)
{
	const unsigned int half = get_nprocs() < 2 ? 1 : (unsigned int)get_nprocs() / 2;
	static struct paced some[24], *first = some;
	unsigned int count = 24, waiting = 24 - half;
	sem_t gate, held;

	if (half > 8)
		return;
	sem_init(&gate, 0, 0);
	sem_init(&held, 0, 0);
	CU_ASSERT_EQUAL(workers_new(event, 64, &pool, NULL), 0);
	most_at_once = 0;
	for (size_t i = 0; i < 24; i++) {
		pace(&some[i], 1000 + (uid_t)i % 3, 2000);
		workers_submit(pool, &some[i].work);
	}
	CU_ASSERT_TRUE(run_until(event, are_done, &count));
	for (size_t i = 0; i < 24; i++)
		CU_ASSERT_EQUAL(some[i].done, 2000);
	CU_ASSERT(most_at_once >= 1 && most_at_once <= half);

	/* Whoever waits for a turn behind one that has no end need not wait for it to be cancelled. */
	all_done = 0;
	for (size_t i = 0; i < 24; i++) {
		pace(&some[i], i < half ? 0 : 1000 + (uid_t)i % 3, 1);
		if (i < half) {
			some[i].gate = &gate;
			some[i].held = &held;
		}
		workers_submit(pool, &some[i].work);
		if (i < half)
			sem_wait(&held);
	}
	usleep(10000);
	for (size_t i = half; i < 24; i++)
		work_cancel(pool, &some[i].work);
	CU_ASSERT_TRUE(run_until(event, are_done, &waiting));
	for (size_t i = 0; i < 24; i++)
		CU_ASSERT_EQUAL(some[i].done, 0);
	for (size_t i = 0; i < half; i++)
		sem_post(&gate);
	CU_ASSERT_TRUE(run_until(event, are_done, &count));
	CU_ASSERT_EQUAL(first->done, 1);
	workers_free(pool);
	sem_destroy(&gate);
	sem_destroy(&held);
}

/* The end: what takes is cancelled, what comes later, too; what gives back is done. */
static void test_wind_up(void)
{
	static struct job hogs[2][100];
	struct job late, giving;
	unsigned int count = 202;

	CU_ASSERT_EQUAL(workers_new(event, 64, &pool, NULL), 0);
	hog(hogs[0], 100, 1000, WORK_DATA, NULL);
	hog(hogs[1], 100, 1000, WORK_REPORT, NULL);
	job_init(&giving);
	giving.work.lane = WORK_RELEASE;
	workers_submit(pool, &giving.work);
	workers_wind_up(pool);
	CU_ASSERT_EQUAL(all_done, 0);
	job_init(&late);
	workers_submit(pool, &late.work);
	CU_ASSERT_EQUAL(late.dones, 0);
	CU_ASSERT_TRUE(run_until(event, are_done, &count));
	CU_ASSERT_EQUAL(workers_pending(pool), 0);
	CU_ASSERT_EQUAL(atomic_load(&late.runs), 0);
	CU_ASSERT_TRUE(late.cancelled);
	check(&giving, 1);
	CU_ASSERT_FALSE(giving.cancelled);
	workers_free(pool);
}

static const CU_TestInfo tests[] = {
	{ "many jobs, each once, each in its thread", test_many },
	{ "the pool grows to its limit", test_growth },
	{ "a pool with stuck work can be left", test_abandon },
	{ "a blocked worker holds up nobody", test_blocked },
	{ "the end runs what is left", test_free },
	{ "a lane at rest is one thread that is not woken", test_rest },
	{ "the log is told of work that takes long, once", test_watch },
	{ "pools leave nothing open", test_fds },
	{ "work of one owner without an end holds up nobody else's", test_hog },
	{ "nor does that of many, as far as it can be", test_hogs },
	{ "nor root's", test_root_hog },
	{ "owners are served in turn", test_turns },
	{ "cancelled once, not for ever", test_again },
	{ "what takes a CPU leaves others some", test_pace },
	{ "the end of a process waits for what gives back only", test_wind_up },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("workers", tests, set_up, tear_down);
}
