/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <nefs/bell.h>
#include <nefs/cleanup.h>
#include <nefs/clock.h>
#include <nefs/log.h>
#include <nefs/thread.h>
#include <nefs/workers.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How long an idle thread waits for work before it ends, unless workers_set_idle_ms says otherwise. */
#define IDLE_MS 10000

/* Workers yield to the loop: it answers everybody, they serve one enclave each. */
#define WORKER_NICE 10

/* A queue that appends at the tail. */
struct queue {
	struct work *head;
	struct work **tail;
};

struct workers {
	sd_event_source *source; /* of bell */
	int bell;		 /* work has finished */
	unsigned int pending;	 /* loop thread only */
	struct log *log;
	sd_event_source *watch; /* runs while something is pending; NULL: nobody wants to know */
	uint64_t watch_usec;
	unsigned int max_threads;

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t more;  /* work was queued, or closing was set */
	pthread_cond_t fewer; /* a thread has ended */
	struct queue todo;
	struct queue finished;
	struct work *running; /* no more than there are threads */
	unsigned int idle_ms;
	unsigned int threads;
	unsigned int idle;
	unsigned int queued; /* length of todo */
	bool closing;
	/* The thread that ended last: it has joined the one before it, and so on. */
	pthread_t last_ended;
	bool any_ended;
};

static void queue_init(struct queue *queue)
{
	queue->head = NULL;
	queue->tail = &queue->head;
}

static void queue_push(struct queue *queue, struct work *work)
{
	work->next = NULL;
	*queue->tail = work;
	queue->tail = &work->next;
}

static struct work *queue_pop(struct queue *queue)
{
	struct work *work = queue->head;

	if (!work)
		return NULL;
	queue->head = work->next;
	if (!queue->head)
		queue->tail = &queue->head;
	return work;
}

/*
 * Waits for work, or for closing. False if there was none for so long that the thread should end. The
 * last one stays, as it is what makes workers_submit infallible, and so it need not look at the clock: a
 * daemon at rest is not woken. Lock held.
 */
static bool wait_for_work(struct workers *pool)
{
	struct timespec until;
	int waited = 0;

	pool->idle++;
	if (pool->threads > 1) {
		until = nefs_deadline_ms(pool->idle_ms);
		waited = pthread_cond_timedwait(&pool->more, &pool->lock, &until);
	} else {
		pthread_cond_wait(&pool->more, &pool->lock);
	}
	pool->idle--;
	return waited != ETIMEDOUT || pool->todo.head || pool->threads == 1;
}

/* Runs it without the lock, which is held before and behind it. */
static void run_work(struct workers *pool, struct work *work)
{
	struct work **link = &pool->running;

	work->began = nefs_now_usec();
	work->told = false;
	work->next = pool->running;
	pool->running = work;
	pthread_mutex_unlock(&pool->lock);
	work->run(work);
	pthread_mutex_lock(&pool->lock);
	while (*link != work)
		link = &(*link)->next;
	*link = work->next;
}

static void *worker_main(void *argument)
{
	struct workers *pool = argument;
	pthread_t before;
	bool any_before;

	/* Linux gives each thread its own nice value; a refusal costs only fairness. */
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), WORKER_NICE);

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct work *work = queue_pop(&pool->todo);

		if (work) {
			pool->queued--;
			run_work(pool, work);
			queue_push(&pool->finished, work);
			/* Under the lock, so that workers_free cannot close it in between. */
			nefs_bell_ring(pool->bell);
			continue;
		}
		if (pool->closing || !wait_for_work(pool))
			break;
	}
	before = pool->last_ended;
	any_before = pool->any_ended;
	pool->last_ended = pthread_self();
	pool->any_ended = true;
	pool->threads--;
	pthread_cond_signal(&pool->fewer);
	pthread_mutex_unlock(&pool->lock);
	if (any_before)
		pthread_join(before, NULL);
	return NULL;
}

/* Starts one thread; called with the lock held. Returns 0 or a negative errno. */
static int add_thread(struct workers *pool)
{
	pthread_t thread;
	int failed = nefs_thread_start(&thread, worker_main, pool);

	if (!failed)
		pool->threads++;
	return failed;
}

/* Calls done() of everything finished. Loop thread. */
static void finish_all(struct workers *pool)
{
	struct queue finished;
	struct work *work;

	pthread_mutex_lock(&pool->lock);
	finished = pool->finished;
	if (!finished.head)
		finished.tail = &finished.head;
	queue_init(&pool->finished);
	pthread_mutex_unlock(&pool->lock);

	while ((work = queue_pop(&finished))) {
		pool->pending--;
		work->done(work);
	}
	/* A daemon at rest is not woken. */
	if (pool->watch && !pool->pending)
		sd_event_source_set_enabled(pool->watch, SD_EVENT_OFF);
}

static void watch_again(struct workers *pool)
{
	sd_event_source_set_time(pool->watch, nefs_now_usec() + pool->watch_usec);
	sd_event_source_set_enabled(pool->watch, SD_EVENT_ONESHOT);
}

static int on_watch(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct workers *pool = userdata;
	uint64_t now = nefs_now_usec();

	pthread_mutex_lock(&pool->lock);
	for (struct work *work = pool->running; work; work = work->next) {
		if (work->told || now - work->began < pool->watch_usec)
			continue;
		work->told = true;
		/* It does not wait, so the lock may be held. */
		log_line(pool->log, LOG_WARNING,
			"nefs: %s has kept a worker busy for %.1f s; pieces of work not done: %u",
			work->what ? work->what : "work", (double)(now - work->began) / 1e6,
			pool->pending);
	}
	pthread_mutex_unlock(&pool->lock);
	if (pool->pending)
		watch_again(pool);
	return 0;
}

int workers_watch(struct workers *pool, struct log *log, unsigned int ms)
{
	sd_event *event = sd_event_source_get_event(pool->source);
	int failed = sd_event_add_time(
		event, &pool->watch, CLOCK_MONOTONIC, UINT64_MAX, 0, on_watch, pool);

	if (failed < 0)
		return failed;
	pool->log = log;
	pool->watch_usec = ms * UINT64_C(1000);
	sd_event_source_set_description(pool->watch, "busy workers");
	return sd_event_source_set_enabled(pool->watch, SD_EVENT_OFF);
}

static int on_finished(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct workers *pool = userdata;

	nefs_bell_silence(fd);
	finish_all(pool);
	return 0;
}

int workers_new(
	sd_event *event, unsigned int max_threads, struct workers **result, struct nefs_error *err)
{
	NEFS_AUTO_FREE struct workers *pool = calloc(1, sizeof(*pool));
	pthread_condattr_t monotonic;
	int failed;

	if (!pool)
		return nefs_error_set(err, ENOMEM, "out of memory for the worker pool");
	pool->max_threads = max_threads > 0 ? max_threads : 1;
	pool->idle_ms = IDLE_MS;
	queue_init(&pool->todo);
	queue_init(&pool->finished);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->more, &monotonic);
	pthread_cond_init(&pool->fewer, NULL);
	pthread_condattr_destroy(&monotonic);

	pool->bell = nefs_bell_new();
	if (pool->bell < 0)
		return nefs_error_set(err, -pool->bell,
			"cannot make an eventfd for the workers: %s", strerror(-pool->bell));
	failed = sd_event_add_io(event, &pool->source, pool->bell, EPOLLIN, on_finished, pool);
	if (failed < 0) {
		close(pool->bell);
		return nefs_error_set(
			err, -failed, "cannot watch the workers: %s", strerror(-failed));
	}
	sd_event_source_set_description(pool->source, "workers");
	pthread_mutex_lock(&pool->lock);
	failed = add_thread(pool);
	pthread_mutex_unlock(&pool->lock);
	if (failed) {
		sd_event_source_unref(pool->source);
		close(pool->bell);
		return nefs_error_set(err, -failed,
			"cannot start a worker thread: %s; raise the limit "
			"of processes (ulimit -u)",
			strerror(-failed));
	}
	*result = nefs_take_ptr(pool);
	return 0;
}

void workers_submit(struct workers *pool, struct work *work)
{
	if (!pool->pending++ && pool->watch)
		watch_again(pool);
	pthread_mutex_lock(&pool->lock);
	queue_push(&pool->todo, work);
	pool->queued++;
	if (pool->queued > pool->idle && pool->threads < pool->max_threads)
		add_thread(pool);
	pthread_cond_signal(&pool->more);
	pthread_mutex_unlock(&pool->lock);
}

void workers_set_idle_ms(struct workers *pool, unsigned int ms)
{
	pthread_mutex_lock(&pool->lock);
	pool->idle_ms = ms;
	pthread_mutex_unlock(&pool->lock);
}

unsigned int workers_pending(const struct workers *pool)
{
	return pool->pending;
}

/* How many threads are amid a piece of work. Lock held. */
static unsigned int busy_threads(const struct workers *pool)
{
	unsigned int count = 0;

	for (const struct work *work = pool->running; work; work = work->next)
		count++;
	return count;
}

void workers_abandon(struct workers *pool)
{
	pthread_t last = pthread_self();
	bool any;

	pthread_mutex_lock(&pool->lock);
	pool->closing = true;
	queue_init(&pool->todo);
	pool->queued = 0;
	pthread_cond_broadcast(&pool->more);
	while (pool->threads > busy_threads(pool))
		pthread_cond_wait(&pool->fewer, &pool->lock);
	any = pool->any_ended;
	if (any)
		last = pool->last_ended;
	pool->any_ended = false;
	pthread_mutex_unlock(&pool->lock);
	if (any)
		pthread_join(last, NULL);
}

void workers_free(struct workers *pool)
{
	struct work *work;

	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->closing = true;
	pthread_cond_broadcast(&pool->more);
	for (;;) {
		while (pool->threads > 0)
			pthread_cond_wait(&pool->fewer, &pool->lock);
		pthread_mutex_unlock(&pool->lock);
		/* A done() may submit more work, for which a thread is started again. */
		finish_all(pool);
		pthread_mutex_lock(&pool->lock);
		if (pool->threads > 0 || pool->finished.head)
			continue;
		/* None can be started any more: the loop thread does it. */
		work = queue_pop(&pool->todo);
		if (!work)
			break;
		pool->queued--;
		run_work(pool, work);
		queue_push(&pool->finished, work);
	}
	pthread_mutex_unlock(&pool->lock);
	if (pool->any_ended)
		pthread_join(pool->last_ended, NULL);
	pthread_cond_destroy(&pool->more);
	pthread_cond_destroy(&pool->fewer);
	pthread_mutex_destroy(&pool->lock);
	sd_event_source_disable_unref(pool->watch);
	sd_event_source_disable_unref(pool->source);
	close(pool->bell);
	free(pool);
}
