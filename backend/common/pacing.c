/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <nefs/container_of.h>
#include <nefs/pacing.h>

void pacing_init(struct pacing *pacing, unsigned int max)
{
	pthread_mutex_init(&pacing->lock, NULL);
	pacing->max = max;
	pacing->now = 0;
	turns_init(&pacing->turns);
}

void pacing_release(struct pacing *pacing)
{
	pthread_mutex_destroy(&pacing->lock);
}

/* Has what waits woken: its turn has come, or will not. Lock held. */
static void wake(struct pacer *pacer)
{
	pthread_cond_signal(pacer->waits);
	pacer->waits = NULL;
}

/* Until somebody hands over a turn, or calls it off. Lock held. */
static void wait_for_turn(struct pacing *pacing, struct pacer *pacer)
{
	pthread_cond_t own = PTHREAD_COND_INITIALIZER;

	pacer->waits = &own;
	turns_add(&pacing->turns, &pacer->turn);
	while (pacer->waits)
		pthread_cond_wait(&own, &pacing->lock);
	pthread_cond_destroy(&own);
}

int pacing_begin(struct pacing *pacing, struct pacer *pacer, const atomic_bool *cancelled)
{
	int failed = 0;

	pthread_mutex_lock(&pacing->lock);
	pacer->has_turn = true;
	if (atomic_load(cancelled))
		failed = -ECANCELED;
	else if (pacing->now < pacing->max)
		pacing->now++;
	else
		wait_for_turn(pacing, pacer);
	if (!failed && !pacer->has_turn)
		failed = -ECANCELED;
	pthread_mutex_unlock(&pacing->lock);
	return failed;
}

void pacing_end(struct pacing *pacing)
{
	struct turn *next;

	pthread_mutex_lock(&pacing->lock);
	next = turns_next(&pacing->turns, NULL, NULL);
	if (next) {
		turns_take(&pacing->turns, next);
		wake(container_of(next, struct pacer, turn));
	} else {
		pacing->now--;
	}
	pthread_mutex_unlock(&pacing->lock);
}

void pacing_cancel(struct pacing *pacing, struct pacer *pacer)
{
	pthread_mutex_lock(&pacing->lock);
	if (pacer->waits) {
		turns_remove(&pacing->turns, &pacer->turn);
		pacer->has_turn = false;
		wake(pacer);
	}
	pthread_mutex_unlock(&pacing->lock);
}
