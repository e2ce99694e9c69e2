/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "life.h"
#include "control.h"
#include "directory.h"
#include <errno.h>
#include <nefs/clock.h>
#include <stdlib.h>
#include <string.h>

/* What a writer of `start` waits for: the kinds of its struct parked. */
enum wish {
	WISH_START,
	WISH_STOP,
};

/* ---- entering a state ---- */

static void changed(struct enclave *enclave, struct node *file)
{
	if (!enclave->directory.removed)
		node_changed(file);
}

static void set_grant(struct enclave *enclave, struct backend_grant *grant)
{
	if (!grant && !enclave->grant)
		return;
	free(enclave->grant);
	enclave->grant = grant;
	changed(enclave, enclave->files.memory_effective);
	changed(enclave, enclave->files.cpus_effective);
	changed(enclave, enclave->files.cid_effective);
	changed(enclave, enclave->files.slot);
}

static void count(struct enclave *enclave, enum counter counter)
{
	struct fs *fs = fs_of(&enclave->directory);

	enclave->counters[counter]++;
	fs->counters[counter]++;
	changed(enclave, enclave->files.events);
	node_changed(fs->root.events);
}

/* Counts and tells what a state stands for, as it has happened. */
static void record(
	struct enclave *enclave, enum enclave_state state, const struct nefs_error *error)
{
	const struct state_meaning *meaning = state_meaning(state);

	if (meaning->counter)
		count(enclave, meaning->counter);
	if (meaning->event)
		enclave_tell(enclave, meaning->event, NULL, error);
}

/* Answers those whose wish is decided by the state that an enclave is in now. */
static void answer_waiting(struct enclave *enclave, const struct nefs_error *error)
{
	const struct state_meaning *meaning = enclave_meaning(enclave);

	if (enclave->state == STATE_BOOTING || enclave->state == STATE_RUNNING)
		parked_answer(&enclave->waiting, WISH_START, 0);
	else if (!meaning->started && !meaning->changing)
		parked_answer(&enclave->waiting, WISH_START,
			error && error->code ? -error->code : -ECANCELED);
	if (enclave->state == STATE_QUEUED || !meaning->changing)
		parked_answer(&enclave->waiting, WISH_STOP, 0);
}

/* Nothing is under way any more that a writer could wait for. */
static void end_wait(struct enclave *enclave)
{
	enclave->wait_until = 0;
	if (enclave->start_timer)
		sd_event_source_set_enabled(enclave->start_timer, SD_EVENT_OFF);
}

/*
 * The only way from one state to another: its files, the journals, the counters, the `error` file and
 * those who wait learn of it here. Nobody sees half of it, as nothing else runs in the loop meanwhile.
 * error (NULL: none) is what led to it.
 */
static void enter(struct enclave *enclave, enum enclave_state state, const struct nefs_error *error)
{
	const struct state_meaning *before = enclave_meaning(enclave),
				   *meaning = state_meaning(state);
	/* A start behind a stop was taken back: that stop is told already. */
	bool told = enclave->state == STATE_RECYCLING && state == STATE_STOPPING;

	enclave->state = state;
	if (before->started != meaning->started)
		changed(enclave, enclave->files.start);
	if (strcmp(before->name, meaning->name) != 0) {
		changed(enclave, enclave->files.state);
		changed(enclave, enclave->files.wait);
		/* That no more will come is news for who follows it. */
		changed(enclave, enclave->files.console_follow);
	}
	if (!told)
		record(enclave, state, error);
	/* Only now: what it had is part of the record of its end. */
	if (!meaning->runs)
		set_grant(enclave, NULL);
	enclave_compare(enclave);
	/* An end that was asked for has no cause, and is nothing against what else was refused. */
	if (error && error->code)
		control_set_error(&enclave->directory, "start", error->text);
	else if (state == STATE_BOOTING)
		control_set_error(&enclave->directory, NULL, "");
	else if (meaning->settles)
		control_accepted(&enclave->directory, "start");
	answer_waiting(enclave, error);
	if (!meaning->changing || state == STATE_BOOTING)
		end_wait(enclave);
}

/* ---- who waits ---- */

static int on_start_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct enclave *enclave = userdata;

	/* The work goes on; who wants to see its end reads `wait`. */
	parked_answer(&enclave->waiting, WISH_START, 0);
	parked_answer(&enclave->waiting, WISH_STOP, 0);
	return 0;
}

/*
 * The time that writers may wait belongs to the enclave's operation, not to each of them: the
 * kernel lets the second writer of `start` through only when the first was answered, and two
 * waits in a row would be too long.
 */
static void begin_wait(struct enclave *enclave)
{
	uint64_t until = nefs_now_usec() + START_WAIT_USEC;

	if (enclave->wait_until)
		return;
	enclave->wait_until = until;
	if (enclave->start_timer) {
		sd_event_source_set_time(enclave->start_timer, until);
		sd_event_source_set_enabled(enclave->start_timer, SD_EVENT_ONESHOT);
		return;
	}
	sd_event_add_time(fs_of(&enclave->directory)->event, &enclave->start_timer, CLOCK_MONOTONIC,
		until, 0, on_start_timer, enclave);
	if (enclave->start_timer)
		sd_event_source_set_description(enclave->start_timer, "writers of start");
}

static int wait_or_go(const struct enclave *enclave)
{
	/* Without a timer nobody would end the wait. */
	return enclave->start_timer && nefs_now_usec() < enclave->wait_until ? STORE_PARKED : 0;
}

struct parked *enclave_park(struct enclave *enclave, fuse_req_t req)
{
	struct parked *parked = parked_keep(&enclave->waiting, req);

	if (parked)
		parked->kind = enclave->state == STATE_STOPPING ? WISH_STOP : WISH_START;
	return parked;
}

/* ---- what the backend reports ---- */

static void on_started(void *owner, const struct backend_grant *grant)
{
	struct enclave *enclave = owner;

	struct backend_grant *copy = backend_grant_copy(grant);
	struct nefs_error err = { 0 };

	set_grant(enclave, copy);
	if (enclave->state == STATE_STARTING)
		enter(enclave, STATE_BOOTING, NULL);
	if (!copy) {
		nefs_error_set(&err, ENOMEM,
			"out of memory: %s has started, but what the device gave cannot be shown until it "
			"is started again",
			enclave_name(enclave));
		control_refused(&enclave->directory, "start", &err);
	}
}

static void on_running(void *owner)
{
	struct enclave *enclave = owner;

	if (enclave->state == STATE_BOOTING)
		enter(enclave, STATE_RUNNING, NULL);
}

static void on_console(void *owner, const void *data, size_t size)
{
	struct enclave *enclave = owner;

	/* Its end is told after a while, though the console may have more to say: it may be removed by then. */
	if (!enclave->directory.removed)
		text_log_write(&enclave->console, data, size);
}

static void on_ended(void *owner, enum backend_end how, const struct nefs_error *error)
{
	static const enum enclave_state states[] = {
		[BACKEND_FAILED] = STATE_FAILED,
		[BACKEND_STOPPED] = STATE_STOPPED,
		[BACKEND_CRASHED] = STATE_CRASHED,
	};
	struct enclave *enclave = owner;
	enum enclave_state ended = states[how];

	/* Whoever asked for the end gets what was asked for, even if it came by itself. */
	if (how == BACKEND_CRASHED && enclave->state != STATE_RUNNING) {
		ended = STATE_STOPPED;
		error = NULL;
	}
	if (enclave->state == STATE_RECYCLING) {
		record(enclave, ended, error);
		enter(enclave, STATE_QUEUED, NULL);
	} else {
		enter(enclave, ended, error);
	}
}

static int check(const struct enclave *enclave, struct nefs_error *err);
static int launch(struct enclave *enclave, struct nefs_error *err);

static void on_released(void *owner)
{
	struct enclave *enclave = owner;
	struct nefs_error err = { 0 };

	enclave->launch = NULL;
	applied_release(&enclave->applied);
	fs_of(&enclave->directory)->launches--;
	/* What was complete when the start was asked for may have been changed since. */
	if (enclave->state == STATE_QUEUED && (check(enclave, &err) || launch(enclave, &err)))
		enter(enclave, STATE_FAILED, &err);
	directory_unref(&enclave->directory);
}

static const struct backend_listener listener = {
	.started = on_started,
	.running = on_running,
	.console = on_console,
	.ended = on_ended,
	.released = on_released,
};

/* ---- start, stop ---- */

/* What can be refused without asking the device. */
static int check(const struct enclave *enclave, struct nefs_error *err)
{
	int failed = settings_check(&enclave->settings, err);

	if (!failed)
		failed = image_check(&enclave->image, err);
	nefs_error_prefix(err, "%s cannot start", enclave_name(enclave));
	return failed;
}

static int launch(struct enclave *enclave, struct nefs_error *err)
{
	struct fs *fs = fs_of(&enclave->directory);
	const struct settings *settings = &enclave->settings;
	const struct setting_value *cpus = &enclave->applied.settings.values[SETTING_CPUS];
	struct backend_config config;
	int failed = applied_take(&enclave->applied, settings, enclave->image.file, err);

	if (failed)
		return failed;
	config = (struct backend_config){
		.name = enclave_name(enclave),
		.memory = settings_number(settings, SETTING_MEMORY),
		.vcpus = cpus->cpu_count ? (uint32_t)cpus->cpu_count
					 : (uint32_t)settings_number(settings, SETTING_VCPUS),
		.cpus = cpus->cpus,
		.cpu_count = cpus->cpu_count,
		.image_fd = enclave->applied.image->fd,
		.image_size = enclave->applied.image->size,
		.image_checked = enclave->image.sound,
		.cid = settings_number(settings, SETTING_CID),
		.debug = settings_number(settings, SETTING_DEBUG) != 0,
		.boot_timeout = (unsigned int)settings_number(settings, SETTING_BOOT_TIMEOUT),
		.uid = enclave->directory.node.uid,
		.gid = enclave->directory.node.gid,
		.data_owner = enclave->files.image->uid,
	};
	memcpy(config.image_pcr0, enclave->image.pcr0, sizeof(config.image_pcr0));
	failed = backend_start(fs->backend, &config, &listener, enclave, &enclave->launch, err);
	if (failed) {
		applied_release(&enclave->applied);
		return failed;
	}
	directory_ref(&enclave->directory);
	fs->launches++;
	/* What the life before said last stays, in console.1. */
	text_log_rotate(&enclave->console);
	enclave->console_begin = text_log_end(&enclave->console);
	enter(enclave, STATE_STARTING, NULL);
	return 0;
}

/* Of an enclave that is neither started nor about to be. */
static int begin_start(struct enclave *enclave, struct nefs_error *err)
{
	const uid_t caller = enclave->directory.tree->caller;
	int failed;

	if (caller != TREE_NO_CALLER)
		enclave->started_by = caller;

	/* Whoever starts it wants to see what becomes of it, `error` not least. */
	control_show_read_only(&enclave->directory);
	text_log_reveal(&enclave->journal);
	text_log_reveal(&enclave->console);
	failed = check(enclave, err);
	if (failed && enclave->state == STATE_STOPPING) {
		/* That one still runs: its state is not this start's to set. */
		control_refused(&enclave->directory, "start", err);
		return failed;
	}
	if (!failed && enclave->state == STATE_STOPPING)
		enter(enclave, STATE_RECYCLING, NULL);
	else if (!failed && enclave->launch)
		enter(enclave, STATE_QUEUED, NULL);
	else if (!failed)
		failed = launch(enclave, err);
	if (failed) {
		enter(enclave, STATE_FAILED, err);
		return failed;
	}
	begin_wait(enclave);
	return wait_or_go(enclave);
}

int enclave_start(struct enclave *enclave, struct nefs_error *err)
{
	switch (enclave->state) {
	case STATE_RUNNING:
		control_accepted(&enclave->directory, "start");
		return 0;
	case STATE_BOOTING:
		return 0;
	case STATE_QUEUED:
	case STATE_STARTING:
	case STATE_RECYCLING:
		return wait_or_go(enclave);
	default:
		return begin_start(enclave, err);
	}
}

int enclave_stop(struct enclave *enclave)
{
	struct nefs_error err = { 0 };

	switch (enclave->state) {
	case STATE_QUEUED:
		nefs_error_set(&err, ECANCELED,
			"%s was stopped before it had started; nothing is held",
			enclave_name(enclave));
		enter(enclave, STATE_STOPPED, &err);
		return 0;
	case STATE_STARTING:
	case STATE_BOOTING:
	case STATE_RUNNING:
		enter(enclave, STATE_STOPPING, NULL);
		backend_stop(enclave->launch);
		break;
	case STATE_RECYCLING:
		enter(enclave, STATE_STOPPING, NULL);
		break;
	case STATE_STOPPING:
		break;
	default:
		control_accepted(&enclave->directory, "start");
		return 0;
	}
	begin_wait(enclave);
	return wait_or_go(enclave);
}

void enclave_stop_all(struct fs *fs)
{
	struct directory *root = fs->tree.root;
	struct node *node;

	/* Set up half, there is nothing to stop. */
	if (!root)
		return;
	for (node = directory_next(root, 0); node; node = directory_next(root, node->ino))
		if (enclave_is(node->directory))
			enclave_stop(enclave_of(node->directory));
}
