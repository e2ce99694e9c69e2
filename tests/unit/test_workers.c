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
#include <unistd.h>

static sd_event *event;
static struct workers *pool;
static pthread_t loop_thread;

struct job {
	struct work work; /* first */
	atomic_uint runs;
	unsigned int dones;
	bool in_loop;  /* run() was in the loop thread */
	bool out_loop; /* done() was not */
	sem_t *gate;   /* run() waits for it */
	sem_t *begun;  /* run() says so */
	pid_t thread;  /* that run() was in */
	struct job *next;
};

static unsigned int all_done;

static void job_run(struct work *work)
{
	struct job *job = (struct job *)work;

	job->thread = (pid_t)syscall(SYS_gettid);
	job->in_loop = pthread_equal(pthread_self(), loop_thread);
	if (job->begun)
		sem_post(job->begun);
	while (job->gate && sem_wait(job->gate) < 0) {
	}
	atomic_fetch_add(&job->runs, 1);
}

static void job_done(struct work *work)
{
	struct job *job = (struct job *)work;

	job->out_loop = !pthread_equal(pthread_self(), loop_thread);
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

/* Idle threads end, all but one, and that one is not woken any more. */
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

static const CU_TestInfo tests[] = {
	{ "many jobs, each once, each in its thread", test_many },
	{ "the pool grows to its limit", test_growth },
	{ "a pool with stuck work can be left", test_abandon },
	{ "a blocked worker holds up nobody", test_blocked },
	{ "the end runs what is left", test_free },
	{ "a pool at rest is one thread that is not woken", test_rest },
	{ "the log is told of work that takes long, once", test_watch },
	{ "pools leave nothing open", test_fds },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("workers", tests, set_up, tear_down);
}
