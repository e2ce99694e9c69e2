/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of an enclave: start, stop, and what the backend reports meanwhile. */
#include "control.h"
#include "enclave.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void changed(struct enclave *enclave, const char *file)
{
	if (!enclave->directory.removed)
		node_changed(directory_control(&enclave->directory, file));
}

static void set_state(struct enclave *enclave, enum enclave_state state)
{
	if (enclave->state == state)
		return;
	enclave->state = state;
	changed(enclave, "state");
	changed(enclave, "start");
	changed(enclave, "wait");
	changed(enclave, "console"); /* its end is news for who follows it */
}

static void count(struct enclave *enclave, enum counter counter)
{
	struct fs *fs = enclave->directory.fs;

	enclave->counters[counter]++;
	fs->counters[counter]++;
	changed(enclave, "events");
	node_changed(directory_control(&fs->root, "events"));
}

static void set_granted(struct enclave *enclave, const struct backend_grant *grant)
{
	static const char *const files[] = { "memory.effective", "cpus.effective", "cid.effective",
		"slot" };

	if (!grant && !enclave->grant)
		return;
	free(enclave->grant);
	enclave->grant = grant ? backend_grant_copy(grant) : NULL;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		changed(enclave, files[i]);
}

void enclave_answer(struct enclave *enclave, enum parked_kind kind, int result)
{
	struct parked *parked = LIST_FIRST(&enclave->waiting);

	while (parked) {
		struct parked *next = LIST_NEXT(parked, siblings);

		if (parked->kind == (int)kind) {
			LIST_REMOVE(parked, siblings);
			parked->answer(parked, result);
			free(parked);
		}
		parked = next;
	}
}

static uint64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int on_patience(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct enclave *enclave = userdata;

	(void)source;
	(void)usec;
	/* The work goes on; who wants to see its end reads `wait`. */
	enclave_answer(enclave, PARKED_START, 0);
	enclave_answer(enclave, PARKED_STOP, 0);
	return 0;
}

/*
 * The time that writers may wait belongs to the enclave's operation, not to each of them: the
 * kernel lets the second writer of `start` through only when the first was answered, and two
 * waits in a row would be too long.
 */
static void begin_patience(struct enclave *enclave)
{
	uint64_t until = now_usec() + START_PATIENCE_USEC;

	if (enclave->patience_until)
		return;
	enclave->patience_until = until;
	if (enclave->patience) {
		sd_event_source_set_time(enclave->patience, until);
		sd_event_source_set_enabled(enclave->patience, SD_EVENT_ONESHOT);
	} else {
		sd_event_add_time(enclave->directory.fs->event, &enclave->patience, CLOCK_MONOTONIC,
			until, 0, on_patience, enclave);
	}
}

static void end_patience(struct enclave *enclave)
{
	enclave->patience_until = 0;
	if (enclave->patience)
		sd_event_source_set_enabled(enclave->patience, SD_EVENT_OFF);
}

static int wait_or_go(const struct enclave *enclave)
{
	/* Without a timer nobody would end the wait. */
	return enclave->patience && now_usec() < enclave->patience_until ? STORE_PARKED : 0;
}

struct parked *enclave_park(struct enclave *enclave, fuse_req_t req, enum parked_kind kind)
{
	struct parked *parked = parked_add(&enclave->waiting, req);

	if (parked)
		parked->kind = (int)kind;
	return parked;
}

/* A start was refused or has failed: nothing is held, the cause is told. */
static void fail(struct enclave *enclave, const struct nefs_error *error)
{
	struct nefs_error copy = *error;

	set_state(enclave, STATE_FAILED);
	count(enclave, COUNT_FAILURES);
	control_outcome(&enclave->directory, NULL, &copy);
	enclave_journal(enclave, "failed", NULL, copy.text);
	enclave_answer(enclave, PARKED_START, -copy.code);
}

static void on_started(void *owner, const struct backend_grant *grant)
{
	struct enclave *enclave = owner;

	enclave->device_started = true;
	set_granted(enclave, grant);
	enclave_answer(enclave, PARKED_START, 0);
	if (enclave->state == STATE_STARTING)
		end_patience(enclave);
}

static void on_running(void *owner)
{
	struct enclave *enclave = owner;

	if (enclave->state != STATE_STARTING)
		return;
	set_state(enclave, STATE_RUNNING);
	count(enclave, COUNT_STARTS);
	enclave_journal(enclave, "running", NULL, NULL);
}

static void on_console(void *owner, const void *data, size_t size)
{
	struct enclave *enclave = owner;

	console_append(&enclave->console, data, size);
	changed(enclave, "console");
}

static void on_ended(void *owner, enum backend_end how, const struct nefs_error *error)
{
	struct enclave *enclave = owner;
	struct nefs_error copy = *error;

	/* Whoever asked for the end gets what was asked for, even if it came by itself. */
	if (how == BACKEND_CRASHED && enclave->state == STATE_STOPPING) {
		how = BACKEND_STOPPED;
		nefs_error_clear(&copy);
	}
	switch (how) {
	case BACKEND_STOPPED:
		set_state(enclave, STATE_STOPPED);
		count(enclave, COUNT_STOPS);
		control_outcome(&enclave->directory, NULL, &copy);
		enclave_journal(enclave, "stopped", NULL, NULL);
		if (!enclave->start_queued)
			enclave_answer(enclave, PARKED_START, -ECANCELED);
		break;
	case BACKEND_CRASHED:
		/* Some of it is still being given back; this enclave has it no more. */
		set_granted(enclave, NULL);
		set_state(enclave, STATE_CRASHED);
		count(enclave, COUNT_CRASHES);
		control_outcome(&enclave->directory, NULL, &copy);
		enclave_journal(enclave, "crashed", NULL, copy.text);
		break;
	case BACKEND_FAILED:
		fail(enclave, &copy);
		break;
	}
	enclave_answer(enclave, PARKED_STOP, 0);
	if (!enclave->start_queued)
		end_patience(enclave);
}

static void on_released(void *owner)
{
	struct enclave *enclave = owner;
	struct nefs_error err = { 0 };

	enclave->launch = NULL;
	enclave->directory.fs->launches--;
	set_granted(enclave, NULL);
	if (enclave->start_queued) {
		enclave->start_queued = false;
		/* Out of `starting`, where a deferred start has been so far. */
		if (enclave->state == STATE_STARTING)
			enclave->state = STATE_STOPPED;
		enclave_start(enclave, &err);
	}
	directory_unref(&enclave->directory);
}

static const struct backend_listener listener = {
	.started = on_started,
	.running = on_running,
	.console = on_console,
	.ended = on_ended,
	.released = on_released,
};

/* What can be refused without asking the device. */
static int check(const struct enclave *enclave, struct nefs_error *err)
{
	int failed = settings_check(&enclave->settings, err);

	if (!failed && (!enclave->image || !enclave->image->size))
		failed = nefs_error_set(err, EINVAL,
			"image is not set; write an EIF to it first: cat app.eif > image");
	nefs_error_prefix(err, "%s cannot start", enclave->name);
	return failed;
}

static int launch(struct enclave *enclave, struct nefs_error *err)
{
	struct fs *fs = enclave->directory.fs;
	const struct settings *settings = &enclave->settings;
	const struct backend_config config = {
		.name = enclave->name,
		.memory = settings->memory,
		.vcpus = settings->cpu_count ? (uint32_t)settings->cpu_count : settings->vcpus,
		.cpus = settings->cpu_count ? settings->cpus : NULL,
		.cpu_count = settings->cpu_count,
		.image_fd = enclave->image->fd,
		.cid = settings->cid,
		.debug = settings->debug,
		.boot_timeout = settings->boot_timeout,
	};
	int failed;

	enclave->device_started = false;
	failed = backend_start(fs->backend, &config, &listener, enclave, &enclave->launch, err);
	if (failed)
		return failed;
	directory_ref(&enclave->directory);
	fs->launches++;
	console_clear(&enclave->console);
	set_state(enclave, STATE_STARTING);
	enclave_journal(enclave, "starting", NULL, NULL);
	return 0;
}

int enclave_start(struct enclave *enclave, struct nefs_error *err)
{
	struct nefs_error none = { 0 };
	int failed;

	if (enclave->state == STATE_RUNNING) {
		control_outcome(&enclave->directory, NULL, &none);
		return 0;
	}
	if (enclave->state == STATE_STARTING)
		return enclave->device_started && !enclave->start_queued ? 0 : wait_or_go(enclave);
	failed = check(enclave, err);
	if (failed && enclave->state == STATE_STOPPING) {
		/* That one still runs: its state is not this start's to set. */
		control_outcome(&enclave->directory, NULL, err);
		return failed;
	}
	if (!failed && enclave->launch) {
		/* The last one is still being given back. */
		enclave->start_queued = true;
		enclave->device_started = false;
		if (enclave->state != STATE_STOPPING) {
			set_state(enclave, STATE_STARTING);
			changed(enclave, "start");
		}
	} else if (!failed) {
		failed = launch(enclave, err);
	}
	if (failed) {
		fail(enclave, err);
		return failed;
	}
	control_outcome(&enclave->directory, NULL, &none);
	begin_patience(enclave);
	return wait_or_go(enclave);
}

int enclave_stop(struct enclave *enclave)
{
	struct nefs_error cancelled = { 0 }, none = { 0 };

	if (enclave->start_queued) {
		enclave->start_queued = false;
		nefs_error_set(&cancelled, ECANCELED,
			"%s was stopped before it had started; nothing "
			"is held",
			enclave->name);
		enclave_answer(enclave, PARKED_START, -ECANCELED);
		if (enclave->state == STATE_STARTING) {
			set_state(enclave, STATE_STOPPED);
			count(enclave, COUNT_STOPS);
			control_outcome(&enclave->directory, NULL, &cancelled);
			enclave_journal(enclave, "stopped", NULL, NULL);
			end_patience(enclave);
			return 0;
		}
	}
	if (!enclave_active(enclave)) {
		control_outcome(&enclave->directory, NULL, &none);
		return 0;
	}
	if (enclave->state != STATE_STOPPING) {
		set_state(enclave, STATE_STOPPING);
		enclave_journal(enclave, "stopping", NULL, NULL);
		backend_stop(enclave->launch);
	}
	begin_patience(enclave);
	return wait_or_go(enclave);
}

void enclave_stop_all(struct fs *fs)
{
	for (size_t i = 0; i < fs->enclave_count; i++)
		enclave_stop(fs->enclaves[i]);
}
