/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <nefs/bell.h>
#include <nefs/cleanup.h>
#include <nefs/clock.h>
#include <nefs/container_of.h>
#include <nefs/log.h>
#include <nefs/thread.h>
#include <nefs/workers.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* How long an idle thread waits for work before it ends, unless workers_set_idle_ms says otherwise. */
#define IDLE_MS 10000

/* Workers yield to the loop: it answers everybody, they serve one owner each. */
#define WORKER_NICE 10

/*
 * How a lane's threads are shared out. One in ROOTS is kept for root and nefs itself, one in OTHERS for
 * everybody else: whatever some make slow, the others have threads.
 */
#define ROOTS  8
#define OTHERS 16

static const struct lane_kind {
	unsigned int share; /* one in so many threads is what a user may have at work at once */
} kinds[WORK_LANES] = {
	/* An eighth: a user with eight slow starts hardly minds, and it takes eleven such to fill it. */
	[WORK_DATA] = { .share = 8 },
	[WORK_SPOOL] = { .share = 8 },
	/* For as long as images are large; more than two for each user make none of them faster. */
	[WORK_REPORT] = { .share = 32 },
	[WORK_RELEASE] = { .share = 8 },
};

/* Threads, and what they are for. All of it under the pool's lock. */
struct lane {
	struct workers *pool;
	const struct lane_kind *kind;
	pthread_cond_t more; /* work was queued or may be done by now, or closing was set */
	struct turns turns;
	struct work_list running; /* no more than there are threads */
	unsigned int threads;
	unsigned int busy; /* length of running */
	unsigned int idle;
};

struct workers {
	sd_event_source *source; /* of bell */
	int bell;		 /* work has finished */
	unsigned int pending;	 /* loop thread only */
	bool winding_up;	 /* the same */
	struct log *log;
	sd_event_source *watch; /* runs while something is pending; NULL: nobody wants to know */
	uint64_t watch_usec;
	unsigned int max_threads; /* of each lane */
	struct pacing pacing;	  /* of what reads, hashes or copies: locks by itself */

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t fewer; /* a thread has ended */
	struct lane lanes[WORK_LANES];
	struct work_list finished;
	unsigned int idle_ms;
	bool closing;
	/* The thread that ended last: it has joined the one before it, and so on. */
	pthread_t last_ended;
	bool any_ended;
};

static unsigned int at_least_one(unsigned int number)
{
	return number ? number : 1;
}

/* May one more piece of this owner's be done now? Lock held. */
static bool may_run(const void *context, uid_t owner)
{
	const struct lane *lane = context;
	const unsigned int max = lane->pool->max_threads;
	unsigned int own = 0, users = 0, room, half;
	const struct work *work;

	if (lane->busy >= max)
		return false;
	TAILQ_FOREACH(work, &lane->running, siblings)
	{
		own += work->owner == owner;
		users += work->owner != 0;
	}
	if (owner == 0)
		return own < max - max / OTHERS;
	room = max - max / ROOTS;
	if (users >= room)
		return false;
	/* Half of what other users leave, so that the next one finds the other half. */
	half = (room - (users - own) + 1) / 2;
	return own < half && own < at_least_one(max / lane->kind->share);
}

/* The piece to be done next, or NULL. At the end shares do not matter any more. Lock held. */
static struct work *next_work(const struct lane *lane)
{
	struct turn *turn = turns_next(&lane->turns, lane->pool->closing ? NULL : may_run, lane);

	return turn ? container_of(turn, struct work, turn) : NULL;
}

/*
 * Waits for work, or for closing. False if there was none for so long that the thread should end. The
 * last one stays, as it is what makes workers_submit infallible, and so it need not look at the clock: a
 * daemon at rest is not woken. Lock held.
 */
static bool wait_for_work(struct lane *lane)
{
	struct workers *pool = lane->pool;
	struct timespec until;
	int waited = 0;

	lane->idle++;
	if (lane->threads > 1) {
		until = nefs_deadline_ms(pool->idle_ms);
		waited = pthread_cond_timedwait(&lane->more, &pool->lock, &until);
	} else {
		pthread_cond_wait(&lane->more, &pool->lock);
	}
	lane->idle--;
	return waited != ETIMEDOUT || next_work(lane) || lane->threads == 1;
}

/* Done with, one way or another: done() is next. Lock held, so that workers_free cannot close the bell. */
static void finish(struct workers *pool, struct work *work)
{
	TAILQ_INSERT_TAIL(&pool->finished, work, siblings);
	nefs_bell_ring(pool->bell);
}

static int add_thread(struct lane *lane);

/*
 * If there is something to be done now, somebody comes and does it. Whoever comes calls this again, so
 * that one call is enough for any number of pieces. Lock held.
 */
static void call_for_hands(struct lane *lane)
{
	if (!next_work(lane))
		return;
	if (lane->idle > 0)
		pthread_cond_signal(&lane->more);
	else if (lane->threads < lane->pool->max_threads)
		add_thread(lane);
}

/* Does a piece that was queued, without the lock, which is held before and behind it. */
static void run_work(struct lane *lane, struct work *work)
{
	struct workers *pool = lane->pool;

	turns_take(&lane->turns, &work->turn);
	work->queued = false;
	work->began = nefs_now_usec();
	work->told = false;
	TAILQ_INSERT_TAIL(&lane->running, work, siblings);
	lane->busy++;
	call_for_hands(lane);
	pthread_mutex_unlock(&pool->lock);
	work->run(work);
	pthread_mutex_lock(&pool->lock);
	TAILQ_REMOVE(&lane->running, work, siblings);
	lane->busy--;
	finish(pool, work);
}

static void *worker_main(void *argument)
{
	struct lane *lane = argument;
	struct workers *pool = lane->pool;
	pthread_t before;
	bool any_before;

	/* Linux gives each thread its own nice value; a refusal costs only fairness. */
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), WORKER_NICE);

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct work *work = next_work(lane);

		if (work)
			run_work(lane, work);
		else if (pool->closing || !wait_for_work(lane))
			break;
	}
	before = pool->last_ended;
	any_before = pool->any_ended;
	pool->last_ended = pthread_self();
	pool->any_ended = true;
	lane->threads--;
	pthread_cond_signal(&pool->fewer);
	pthread_mutex_unlock(&pool->lock);
	if (any_before)
		pthread_join(before, NULL);
	return NULL;
}

/* Starts one thread; called with the lock held. Returns 0 or a negative errno. */
static int add_thread(struct lane *lane)
{
	pthread_t thread;
	int failed = nefs_thread_start(&thread, worker_main, lane);

	if (!failed)
		lane->threads++;
	return failed;
}

/* Calls done() of everything finished. Loop thread. */
static void finish_all(struct workers *pool)
{
	struct work_list finished;
	struct work *work;

	TAILQ_INIT(&finished);
	pthread_mutex_lock(&pool->lock);
	TAILQ_CONCAT(&finished, &pool->finished, siblings);
	pthread_mutex_unlock(&pool->lock);

	while ((work = TAILQ_FIRST(&finished))) {
		TAILQ_REMOVE(&finished, work, siblings);
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

/* Has the log told of what has been at work for long. Lock held: a line does not wait. */
static void tell_busy(struct workers *pool, const struct lane *lane, uint64_t now)
{
	struct work *work;

	TAILQ_FOREACH(work, &lane->running, siblings)
	{
		if (work->told || now - work->began < pool->watch_usec)
			continue;
		work->told = true;
		log_line(pool->log, LOG_WARNING,
			"nefs: %s has kept a worker busy for %.1f s; pieces of work not done: %u",
			work->what ? work->what : "work", (double)(now - work->began) / 1e6,
			pool->pending);
	}
}

static int on_watch(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct workers *pool = userdata;
	uint64_t now = nefs_now_usec();

	pthread_mutex_lock(&pool->lock);
	for (size_t i = 0; i < WORK_LANES; i++)
		tell_busy(pool, &pool->lanes[i], now);
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

static void lane_init(struct lane *lane, struct workers *pool, const struct lane_kind *kind)
{
	pthread_condattr_t monotonic;

	lane->pool = pool;
	lane->kind = kind;
	turns_init(&lane->turns);
	TAILQ_INIT(&lane->running);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&lane->more, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

/* One for each lane, which stay. Returns 0 or a negative errno. */
static int start_threads(struct workers *pool)
{
	int failed = 0;

	pthread_mutex_lock(&pool->lock);
	for (size_t i = 0; i < WORK_LANES && !failed; i++)
		failed = add_thread(&pool->lanes[i]);
	pthread_mutex_unlock(&pool->lock);
	return failed;
}

int workers_new(
	sd_event *event, unsigned int max_threads, struct workers **result, struct nefs_error *err)
{
	NEFS_AUTO_FREE struct workers *pool = calloc(1, sizeof(*pool));
	int failed;

	if (!pool)
		return nefs_error_set(err, ENOMEM, "out of memory for the worker pool");
	pool->max_threads = at_least_one(max_threads);
	pool->idle_ms = IDLE_MS;
	TAILQ_INIT(&pool->finished);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->fewer, NULL);
	pacing_init(&pool->pacing, at_least_one((unsigned int)get_nprocs() / 2));
	for (size_t i = 0; i < WORK_LANES; i++)
		lane_init(&pool->lanes[i], pool, &kinds[i]);

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
	failed = start_threads(pool);
	if (failed) {
		workers_free(nefs_take_ptr(pool));
		return nefs_error_set(err, -failed,
			"cannot start a worker thread: %s; raise the limit "
			"of processes (ulimit -u)",
			strerror(-failed));
	}
	*result = nefs_take_ptr(pool);
	return 0;
}

static int begin_piece(struct nefs_pace *pace)
{
	struct work *work = container_of(pace, struct work, pace);

	return pacing_begin(&work->pool->pacing, &work->pacer, &pace->cancelled);
}

static void end_piece(struct nefs_pace *pace)
{
	pacing_end(&container_of(pace, struct work, pace)->pool->pacing);
}

/* It is not begun any more. Lock held. */
static void call_off(struct workers *pool, struct work *work)
{
	turns_remove(&pool->lanes[work->lane].turns, &work->turn);
	work->queued = false;
	finish(pool, work);
}

void workers_submit(struct workers *pool, struct work *work)
{
	struct lane *lane = &pool->lanes[work->lane];
	bool late = pool->winding_up && work->lane != WORK_RELEASE;

	if (!pool->pending++ && pool->watch)
		watch_again(pool);
	work->pool = pool;
	work->pace.begin = begin_piece;
	work->pace.end = end_piece;
	atomic_store(&work->pace.cancelled, late);
	work->turn.owner = work->pacer.turn.owner = work->owner;
	work->pacer.waits = NULL;
	pthread_mutex_lock(&pool->lock);
	work->queued = !late;
	if (late) {
		finish(pool, work);
	} else {
		turns_add(&lane->turns, &work->turn);
		call_for_hands(lane);
	}
	pthread_mutex_unlock(&pool->lock);
}

void work_cancel(struct workers *pool, struct work *work)
{
	atomic_store(&work->pace.cancelled, true);
	pthread_mutex_lock(&pool->lock);
	if (work->queued)
		call_off(pool, work);
	pthread_mutex_unlock(&pool->lock);
	pacing_cancel(&pool->pacing, &work->pacer);
}

void workers_wind_up(struct workers *pool)
{
	struct turn *turn;
	struct work *work;

	pool->winding_up = true;
	pthread_mutex_lock(&pool->lock);
	for (size_t i = 0; i < WORK_LANES; i++) {
		struct lane *lane = &pool->lanes[i];

		if (i == WORK_RELEASE)
			continue;
		TAILQ_FOREACH(work, &lane->running, siblings)
		{
			atomic_store(&work->pace.cancelled, true);
			pacing_cancel(&pool->pacing, &work->pacer);
		}
		while ((turn = turns_next(&lane->turns, NULL, NULL))) {
			work = container_of(turn, struct work, turn);
			atomic_store(&work->pace.cancelled, true);
			call_off(pool, work);
		}
	}
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

/* Threads of all lanes; idle: but those that are amid a piece of work. Lock held. */
static unsigned int count_threads(const struct workers *pool, bool idle)
{
	unsigned int count = 0;

	for (size_t i = 0; i < WORK_LANES; i++)
		count += pool->lanes[i].threads - (idle ? pool->lanes[i].busy : 0);
	return count;
}

/* No thread waits for more any longer. Lock held. */
static void begin_closing(struct workers *pool)
{
	pool->closing = true;
	for (size_t i = 0; i < WORK_LANES; i++)
		pthread_cond_broadcast(&pool->lanes[i].more);
}

void workers_abandon(struct workers *pool)
{
	pthread_t last = pthread_self();
	bool any;

	pthread_mutex_lock(&pool->lock);
	for (size_t i = 0; i < WORK_LANES; i++)
		turns_init(&pool->lanes[i].turns);
	begin_closing(pool);
	while (count_threads(pool, true) > 0)
		pthread_cond_wait(&pool->fewer, &pool->lock);
	any = pool->any_ended;
	if (any)
		last = pool->last_ended;
	pool->any_ended = false;
	pthread_mutex_unlock(&pool->lock);
	if (any)
		pthread_join(last, NULL);
}

/* Does a piece for which no thread could be started. False: there is none. Lock held. */
static bool help_out(struct workers *pool)
{
	for (size_t i = 0; i < WORK_LANES; i++) {
		struct work *work = next_work(&pool->lanes[i]);

		if (!work)
			continue;
		run_work(&pool->lanes[i], work);
		return true;
	}
	return false;
}

void workers_free(struct workers *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	begin_closing(pool);
	for (;;) {
		while (count_threads(pool, false) > 0)
			pthread_cond_wait(&pool->fewer, &pool->lock);
		pthread_mutex_unlock(&pool->lock);
		/* A done() may submit more work, for which a thread is started again. */
		finish_all(pool);
		pthread_mutex_lock(&pool->lock);
		if (count_threads(pool, false) > 0 || !TAILQ_EMPTY(&pool->finished))
			continue;
		if (!help_out(pool))
			break;
	}
	pthread_mutex_unlock(&pool->lock);
	if (pool->any_ended)
		pthread_join(pool->last_ended, NULL);
	for (size_t i = 0; i < WORK_LANES; i++)
		pthread_cond_destroy(&pool->lanes[i].more);
	pthread_cond_destroy(&pool->fewer);
	pthread_mutex_destroy(&pool->lock);
	pacing_release(&pool->pacing);
	sd_event_source_disable_unref(pool->watch);
	sd_event_source_disable_unref(pool->source);
	close(pool->bell);
	free(pool);
}
