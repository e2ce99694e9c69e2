/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm_keeper.h"
#include "slots.h"
#include <errno.h>
#include <nefs/bell.h>
#include <nefs/cleanup.h>
#include <nefs/thread.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct vm_keeper {
	const struct vm_ops *ops;
	struct vm_config config;
	struct dma_view memory; /* config's */
	char *vsock;		/* config's */
	struct vm *vm;		/* the thread's, once that runs */
	int news;
	int orders; /* a bell: kill or crash is set */
	bool has_thread;
	pthread_t thread;

	pthread_mutex_t lock; /* everything below */
	enum vm_stage stage;
	int code; /* of the start */
	struct nefs_error error;
	int console; /* -1: none, or given away */
	bool kill;
	bool crash;
	char end[SLOT_EXPLAIN_SIZE];
};

static void enter(struct vm_keeper *keeper, enum vm_stage stage)
{
	pthread_mutex_lock(&keeper->lock);
	keeper->stage = stage;
	pthread_mutex_unlock(&keeper->lock);
	if (keeper->news >= 0)
		nefs_bell_ring(keeper->news);
}

static bool start(struct vm_keeper *keeper)
{
	struct nefs_error err = { 0 };
	int console = -1;
	int code = keeper->ops->start(&keeper->config, &keeper->vm, &err);

	/* Read by now, and it may be much that others want. */
	dma_view_clear(&keeper->memory);
	if (!code && keeper->config.debug)
		console = keeper->ops->console(keeper->vm);
	pthread_mutex_lock(&keeper->lock);
	keeper->code = code;
	keeper->error = err;
	keeper->console = console;
	pthread_mutex_unlock(&keeper->lock);
	enter(keeper, code ? VM_FAILED : VM_RUNNING);
	return !code;
}

/* Waits for an order or the end. True: it is to be killed. */
static bool attend(struct vm_keeper *keeper)
{
	struct pollfd watched[] = {
		{ .fd = keeper->ops->pidfd(keeper->vm), .events = POLLIN },
		{ .fd = keeper->orders, .events = POLLIN },
	};
	bool kill, crash;

	for (;;) {
		if (poll(watched, 2, -1) < 0)
			continue;
		nefs_bell_silence(keeper->orders);
		pthread_mutex_lock(&keeper->lock);
		kill = keeper->kill;
		crash = keeper->crash;
		keeper->crash = false;
		pthread_mutex_unlock(&keeper->lock);
		if (kill || watched[0].revents)
			return kill;
		if (crash)
			keeper->ops->crash(keeper->vm);
	}
}

static void *keeper_main(void *argument)
{
	struct vm_keeper *keeper = argument;
	char end[SLOT_EXPLAIN_SIZE] = "";

	if (!start(keeper))
		return NULL;
	if (!attend(keeper))
		keeper->ops->describe_end(keeper->vm, end, sizeof(end));
	keeper->ops->destroy(keeper->vm);
	pthread_mutex_lock(&keeper->lock);
	memcpy(keeper->end, end, sizeof(end));
	pthread_mutex_unlock(&keeper->lock);
	enter(keeper, VM_ENDED);
	return NULL;
}

static void release(struct vm_keeper *keeper)
{
	nefs_cleanup_close(&keeper->news);
	nefs_cleanup_close(&keeper->orders);
	nefs_cleanup_close(&keeper->console);
	dma_view_clear(&keeper->memory);
	free(keeper->vsock);
	pthread_mutex_destroy(&keeper->lock);
	free(keeper);
}

/* What there is to make before a thread. 0 or a negative errno. */
static int prepare(struct vm_keeper *keeper, const struct vm_config *config)
{
	if (!keeper->ops->instant) {
		keeper->news = nefs_bell_new();
		keeper->orders = keeper->news < 0 ? -1 : nefs_bell_new();
		if (keeper->news < 0 || keeper->orders < 0)
			return keeper->news < 0 ? keeper->news : keeper->orders;
	}
	keeper->config = *config;
	keeper->config.memory = &keeper->memory;
	if (config->vsock) {
		keeper->vsock = strdup(config->vsock);
		keeper->config.vsock = keeper->vsock;
		if (!keeper->vsock)
			return -ENOMEM;
	}
	return 0;
}

int vm_keeper_new(const struct vm_ops *ops, const struct vm_config *config, struct dma_view *memory,
	struct vm_keeper **result, struct nefs_error *err)
{
	struct vm_keeper *keeper = calloc(1, sizeof(*keeper));
	int failed;

	if (!keeper)
		return nefs_error_set(err, ENOMEM, "out of memory for a VM");
	keeper->ops = ops;
	keeper->news = keeper->orders = keeper->console = -1;
	pthread_mutex_init(&keeper->lock, NULL);
	failed = prepare(keeper, config);
	if (!failed) {
		keeper->memory = *memory;
		*memory = (struct dma_view){ 0 };
		if (ops->instant)
			start(keeper);
		else
			failed = nefs_thread_start(&keeper->thread, keeper_main, keeper);
	}
	if (failed) {
		release(keeper);
		return nefs_error_set(
			err, -failed, "cannot start a thread for a VM: %s", strerror(-failed));
	}
	keeper->has_thread = !ops->instant;
	*result = keeper;
	return 0;
}

int vm_keeper_news(const struct vm_keeper *keeper)
{
	return keeper->news;
}

enum vm_stage vm_keeper_stage(struct vm_keeper *keeper)
{
	enum vm_stage stage;

	pthread_mutex_lock(&keeper->lock);
	stage = keeper->stage;
	pthread_mutex_unlock(&keeper->lock);
	return stage;
}

int vm_keeper_outcome(struct vm_keeper *keeper, struct nefs_error *err)
{
	int code;

	pthread_mutex_lock(&keeper->lock);
	code = keeper->code;
	*err = keeper->error;
	pthread_mutex_unlock(&keeper->lock);
	return code;
}

int vm_keeper_console(struct vm_keeper *keeper)
{
	int fd;

	pthread_mutex_lock(&keeper->lock);
	fd = keeper->console;
	keeper->console = -1;
	pthread_mutex_unlock(&keeper->lock);
	return fd == -1 ? -ENOTCONN : fd;
}

void vm_keeper_describe_end(struct vm_keeper *keeper, char *text, size_t size)
{
	pthread_mutex_lock(&keeper->lock);
	snprintf(text, size, "%s", keeper->end);
	pthread_mutex_unlock(&keeper->lock);
}

void vm_keeper_kill(struct vm_keeper *keeper)
{
	if (!keeper->has_thread) {
		if (keeper->stage == VM_RUNNING) {
			keeper->ops->destroy(keeper->vm);
			enter(keeper, VM_ENDED);
		}
		return;
	}
	pthread_mutex_lock(&keeper->lock);
	keeper->kill = true;
	pthread_mutex_unlock(&keeper->lock);
	nefs_bell_ring(keeper->orders);
}

bool vm_keeper_crash(struct vm_keeper *keeper)
{
	if (!keeper->has_thread)
		return false;
	pthread_mutex_lock(&keeper->lock);
	keeper->crash = true;
	pthread_mutex_unlock(&keeper->lock);
	nefs_bell_ring(keeper->orders);
	return true;
}

void vm_keeper_free(struct vm_keeper *keeper)
{
	if (!keeper)
		return;
	vm_keeper_kill(keeper);
	if (keeper->has_thread)
		pthread_join(keeper->thread, NULL);
	release(keeper);
}
