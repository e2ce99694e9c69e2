/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of one launch, in the loop thread. What blocks is done by launch_sequence.c in a
 * worker; at most one piece of work of a launch is in the workers at a time.
 *
 *	PREPARING --> LISTENING --> STARTING --> BOOTING --> RUNNING
 *	 (worker)      (port 9000)   (worker)   (heartbeat)
 *	     \_____________\____________\___________\__________\___> ENDING --> gone
 *
 * ENDING is reached from everywhere by end_launch() and does the same everywhere: what is left on
 * the console is read, what has been taken is given back in a worker. They differ in when `ended` is
 * reported. A crash is news: as soon as the console has been read, which is at once where there is
 * none, whatever the device still has to do. A failure leaves nothing taken: when all has been given
 * back, too. Neither is delayed by more than GRACE_USEC, however slow the device or the console is. A
 * stop that was asked for is no news: it is reported when the device has done it.
 *
 * What takes and what gives back are different lanes of the workers: however many starts a device or an image
 * makes long, a stop finds a thread.
 */
#include "launch.h"

#include "console_reader.h"
#include "launch_sequence.h"
#include <errno.h>
#include <inttypes.h>
#include <nefs/cleanup.h>
#include <nefs/clock.h>
#include <nefs/container_of.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The longest that `ended` waits for the last words and, of a failure, for the device. */
#define GRACE_USEC 250000ULL

enum phase {
	PHASE_PREPARING,
	PHASE_LISTENING,
	PHASE_STARTING,
	PHASE_BOOTING,
	PHASE_RUNNING,
	PHASE_ENDING,
};

struct backend_launch {
	struct work work;
	struct backend *backend;
	const struct backend_listener *listener;
	void *owner;

	enum phase phase;
	bool busy; /* work is in the workers */
	/* Until the device has started it, and again if that is undone; then NULL. */
	struct launch_sequence *sequence;

	bool debug;
	int enclave_fd; /* once started; -1 */
	uint64_t slot_uid;
	uint64_t cid;
	uint64_t boot_ms;	 /* the longest that booting may take */
	uint64_t started_usec;	 /* CLOCK_MONOTONIC */
	uint64_t running_usec;	 /* the same */
	sd_event_source *hangup; /* of enclave_fd */
	sd_event_source *timer;	 /* heartbeat */
	sd_event_source *grace;	 /* made at the start: an end must need no memory */
	struct heartbeat_wait wait;
	struct console_reader console;

	/* Of PHASE_ENDING. */
	bool undone;   /* everything has been given back */
	bool drained;  /* the console has nothing more to say */
	bool reported; /* `ended` */
	enum backend_end how;
	struct nefs_error error; /* why; no code: nothing to say */

	char name[]; /* the enclave's */
};

static void settle(struct backend_launch *launch);

uint64_t backend_boot_timeout_ms(uint64_t image_size, uint64_t memory)
{
	const uint64_t image_unit = 6ULL << 30, memory_unit = 100ULL << 30;

	return 90000U * (image_size / image_unit + (image_size % image_unit != 0) +
				memory / memory_unit + (memory % memory_unit != 0));
}

uint64_t backend_launch_slot(const struct backend_launch *launch)
{
	if (launch->phase != PHASE_BOOTING && launch->phase != PHASE_RUNNING)
		return 0;
	return launch->slot_uid;
}

/* "12.3 s" or "57 ms". */
static const char *format_time(uint64_t usec, char *text, size_t size)
{
	if (usec < 10000000U)
		snprintf(text, size, "%" PRIu64 " ms", usec / 1000U);
	else
		snprintf(text, size, "%" PRIu64 ".%" PRIu64 " s", usec / 1000000U,
			usec / 100000U % 10U);
	return text;
}

static void submit(struct backend_launch *launch, enum work_lane lane,
	void (*run)(struct work *work), void (*done)(struct work *work))
{
	launch->work.lane = lane;
	launch->work.run = run;
	launch->work.done = done;
	launch->work.what = "a command to the device, or an enclave's memory,";
	launch->busy = true;
	workers_submit(launch->backend->workers, &launch->work);
}

/* ---- The end ---- */

static void undo_run(struct work *work)
{
	struct backend_launch *launch = container_of(work, struct backend_launch, work);

	if (launch->sequence)
		launch_sequence_undo(launch->sequence);
	else
		launch->backend->dev->ops->close(launch->backend->dev, launch->enclave_fd);
}

static void free_sequence(struct backend_launch *launch)
{
	if (!launch->sequence)
		return;
	launch_sequence_free(launch->sequence);
	free(launch->sequence);
	launch->sequence = NULL;
}

static void undo_done(struct work *work)
{
	struct backend_launch *launch = container_of(work, struct backend_launch, work);

	launch->busy = false;
	launch->undone = true;
	launch->enclave_fd = -1;
	free_sequence(launch);
	settle(launch);
}

static void undo(struct backend_launch *launch)
{
	submit(launch, WORK_RELEASE, undo_run, undo_done);
}

static void release(struct backend_launch *launch)
{
	console_reader_end(&launch->console);
	sd_event_source_disable_unref(launch->grace);
	launch->backend->launches--;
	launch->listener->released(launch->owner);
	free(launch);
}

static void report_end(struct backend_launch *launch)
{
	launch->reported = true;
	sd_event_source_set_enabled(launch->grace, SD_EVENT_OFF);
	launch->listener->ended(launch->owner, launch->how, &launch->error);
}

/* Reports what can be reported by now. The launch may be gone afterwards, if it was undone. */
static void settle(struct backend_launch *launch)
{
	if (!launch->reported && launch->drained &&
		(launch->undone || launch->how == BACKEND_CRASHED))
		report_end(launch);
	if (launch->reported && launch->undone)
		release(launch);
}

static void on_drained(struct console_reader *console)
{
	struct backend_launch *launch = container_of(console, struct backend_launch, console);

	launch->drained = true;
	settle(launch);
}

static int on_grace_over(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct backend_launch *launch = userdata;

	launch->drained = true;
	if (launch->how != BACKEND_STOPPED && !launch->reported)
		report_end(launch);
	settle(launch);
	return 0;
}

/* Whatever it was doing, it ends now. error is copied. Reports a crash, and nothing else, by itself. */
static void end_launch(
	struct backend_launch *launch, enum backend_end how, const struct nefs_error *error)
{
	struct backend *backend = launch->backend;

	if (launch->phase == PHASE_ENDING)
		return;
	launch->phase = PHASE_ENDING;
	launch->how = how;
	launch->error = *error;
	if (backend->heartbeat)
		heartbeat_release(backend->heartbeat, &launch->wait);
	launch->hangup = sd_event_source_disable_unref(launch->hangup);
	launch->timer = sd_event_source_disable_unref(launch->timer);
	/* Before the fd is closed: the console may still have to be connected to. */
	launch->drained = console_reader_drain(&launch->console);
	sd_event_source_set_time(launch->grace, nefs_now_usec() + GRACE_USEC);
	sd_event_source_set_enabled(launch->grace, SD_EVENT_ONESHOT);
	settle(launch);
	if (launch->busy)
		work_cancel(backend->workers, &launch->work);
	else
		undo(launch);
}

void backend_stop(struct backend_launch *launch)
{
	struct nefs_error error = { 0 };

	/* A crash that nobody has heard of yet: who asks for the end gets it, and when it is done. */
	if (launch->phase == PHASE_ENDING && launch->how == BACKEND_CRASHED && !launch->reported) {
		launch->how = BACKEND_STOPPED;
		nefs_error_clear(&launch->error);
	}
	if (launch->phase != PHASE_RUNNING)
		nefs_error_set(&error, ECANCELED,
			"%s: stopped before it ran; all it had taken is given back", launch->name);
	end_launch(launch, BACKEND_STOPPED, &error);
}

/* ---- Watching ---- */

static int on_hangup(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct backend_launch *launch = userdata;
	struct backend *backend = launch->backend;
	const char *advice = launch->debug
				     ? "its console has its last words"
				     : "write 1 to `debug`, start it again and read its console";
	char cause[512], time[32];
	struct nefs_error error;
	bool explained;

	explained = backend->dev->ops->explain &&
		    backend->dev->ops->explain(backend->dev, fd, cause, sizeof(cause)) && cause[0];
	if (!explained)
		snprintf(cause, sizeof(cause),
			"the device gives no reason, a crash and a clean exit look alike");

	if (launch->phase == PHASE_RUNNING) {
		nefs_error_set(&error, EIO,
			"%s: the enclave ended by itself after running for %s (%s): %s",
			launch->name,
			format_time(nefs_now_usec() - launch->running_usec, time, sizeof(time)),
			cause, advice);
		end_launch(launch, BACKEND_CRASHED, &error);
	} else {
		nefs_error_set(&error, EIO,
			"%s: the enclave ended while booting, %s after its start, before its heartbeat "
			"(%s): %s",
			launch->name,
			format_time(nefs_now_usec() - launch->started_usec, time, sizeof(time)),
			cause, advice);
		end_launch(launch, BACKEND_FAILED, &error);
	}
	return 0;
}

static void on_console(struct console_reader *console, const void *data, size_t size)
{
	struct backend_launch *launch = container_of(console, struct backend_launch, console);

	launch->listener->console(launch->owner, data, size);
}

static void set_running(struct backend_launch *launch)
{
	launch->phase = PHASE_RUNNING;
	launch->running_usec = nefs_now_usec();
	launch->timer = sd_event_source_disable_unref(launch->timer);
	launch->listener->running(launch->owner);
}

static void on_beat(struct heartbeat_wait *wait)
{
	struct backend_launch *launch = container_of(wait, struct backend_launch, wait);

	heartbeat_release(launch->backend->heartbeat, wait);
	set_running(launch);
}

static int on_boot_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct backend_launch *launch = userdata;
	struct nefs_error error;
	char time[32];

	nefs_error_set(&error, ETIMEDOUT,
		"%s: no heartbeat within %s after its start (%s): %s, or raise `boot_timeout`",
		launch->name, format_time(launch->boot_ms * 1000U, time, sizeof(time)),
		launch->wait.anomaly[0] ? launch->wait.anomaly
					: "it never connected to CID 3, port 9000",
		launch->debug ? "see how far its console shows it to have come"
			      : "write 1 to `debug`, start it again and read its console");
	end_launch(launch, BACKEND_FAILED, &error);
	return 0;
}

/* ---- The way up ---- */

/* The worker is back. False if that was in vain: the launch is at its end. */
static bool is_done(struct backend_launch *launch)
{
	struct nefs_error *error = &launch->sequence->error;

	launch->busy = false;
	if (launch->phase == PHASE_ENDING) {
		undo(launch);
		return false;
	}
	if (work_cancelled(&launch->work) && !error->code)
		nefs_error_set(error, ECANCELED, "%s: nefs itself ends", launch->name);
	return true;
}

static void start_run(struct work *work)
{
	struct backend_launch *launch = container_of(work, struct backend_launch, work);

	(void)launch_sequence_start(launch->sequence);
}

static bool watch(struct backend_launch *launch)
{
	struct backend *backend = launch->backend;
	struct nefs_error error;
	int failed;

	failed = sd_event_add_io(
		backend->event, &launch->hangup, launch->enclave_fd, EPOLLHUP, on_hangup, launch);
	if (failed >= 0 && backend->heartbeat)
		failed = sd_event_add_time_relative(backend->event, &launch->timer, CLOCK_MONOTONIC,
			launch->boot_ms * 1000U, NEFS_TIMER_ACCURACY_USEC, on_boot_timeout, launch);
	sd_event_source_set_description(launch->hangup, "enclave hang-up");
	if (launch->timer)
		sd_event_source_set_description(launch->timer, "boot timeout");
	if (failed >= 0)
		return true;
	nefs_error_set(
		&error, EIO, "%s: cannot watch the enclave: %s", launch->name, strerror(-failed));
	end_launch(launch, BACKEND_FAILED, &error);
	return false;
}

static void start_done(struct work *work)
{
	struct backend_launch *launch = container_of(work, struct backend_launch, work);
	struct launch_sequence *sequence = launch->sequence;
	struct backend_grant grant;

	if (!is_done(launch))
		return;
	if (sequence->error.code) {
		end_launch(launch, BACKEND_FAILED, &sequence->error);
		return;
	}
	launch->enclave_fd = sequence->enclave_fd;
	launch->slot_uid = sequence->slot_uid;
	launch->cid = sequence->cid;
	if (launch->boot_ms == 0)
		launch->boot_ms = backend_boot_timeout_ms(sequence->image_size, sequence->memory);
	launch->started_usec = nefs_now_usec();
	launch->phase = PHASE_BOOTING;
	/* It has started: from here on it is undone by closing its fd alone. */
	launch->sequence = NULL;
	if (watch(launch)) {
		grant = launch_sequence_grant(sequence);
		launch->listener->started(launch->owner, &grant);
	}
	launch_sequence_free(sequence);
	free(sequence);
	/* The listener may have stopped it. */
	if (launch->phase != PHASE_BOOTING)
		return;
	if (launch->debug) {
		launch->console = (struct console_reader){
			.event = launch->backend->event,
			.dev = launch->backend->dev,
			.enclave_fd = launch->enclave_fd,
			.cid = launch->cid,
			.data = on_console,
			.drained = on_drained,
		};
		console_reader_begin(&launch->console);
	}
	if (launch->backend->heartbeat)
		heartbeat_expect(launch->backend->heartbeat, &launch->wait, launch->cid);
	else
		set_running(launch);
}

static void on_listening(struct heartbeat_wait *wait, const struct nefs_error *failed)
{
	struct backend_launch *launch = container_of(wait, struct backend_launch, wait);

	if (failed) {
		struct nefs_error error = *failed;

		nefs_error_prefix(&error, "%s", launch->name);
		end_launch(launch, BACKEND_FAILED, &error);
		return;
	}
	launch->phase = PHASE_STARTING;
	submit(launch, WORK_DATA, start_run, start_done);
}

static void prepare_run(struct work *work)
{
	struct backend_launch *launch = container_of(work, struct backend_launch, work);

	(void)launch_sequence_prepare(launch->sequence);
}

static void prepare_done(struct work *work)
{
	struct backend_launch *launch = container_of(work, struct backend_launch, work);
	struct backend *backend = launch->backend;

	if (!is_done(launch))
		return;
	if (launch->sequence->error.code) {
		end_launch(launch, BACKEND_FAILED, &launch->sequence->error);
	} else if (backend->heartbeat) {
		/* As late as possible: other programs need the port, too. */
		launch->phase = PHASE_LISTENING;
		heartbeat_hold(backend->heartbeat, &launch->wait);
	} else {
		launch->phase = PHASE_STARTING;
		submit(launch, WORK_DATA, start_run, start_done);
	}
}

int backend_start(struct backend *backend, const struct backend_config *config,
	const struct backend_listener *listener, void *owner, struct backend_launch **result,
	struct nefs_error *err)
{
	size_t name_size = strlen(config->name) + 1;
	NEFS_AUTO_FREE struct backend_launch *launch = calloc(1, sizeof(*launch) + name_size);
	NEFS_AUTO_FREE struct launch_sequence *sequence = malloc(sizeof(*sequence));
	int failed;

	if (!launch || !sequence)
		return nefs_error_set(err, ENOMEM, "%s: out of memory for its start", config->name);
	memcpy(launch->name, config->name, name_size);
	failed = launch_sequence_init(
		sequence, backend->dev, backend->any_arch, launch->name, config, err);
	if (failed < 0)
		return failed;
	failed = sd_event_add_time(backend->event, &launch->grace, CLOCK_MONOTONIC, UINT64_MAX,
		NEFS_TIMER_ACCURACY_USEC, on_grace_over, launch);
	if (failed < 0) {
		launch_sequence_free(sequence);
		return nefs_error_set(err, ENOMEM, "%s: out of memory for its start", config->name);
	}
	sd_event_source_set_description(launch->grace, "grace");
	sd_event_source_set_enabled(launch->grace, SD_EVENT_OFF);
	launch->backend = backend;
	launch->listener = listener;
	launch->owner = owner;
	launch->work.owner = config->data_owner;
	sequence->pace = &launch->work.pace;
	launch->sequence = nefs_take_ptr(sequence);
	launch->debug = config->debug;
	launch->enclave_fd = -1;
	launch->boot_ms = config->boot_timeout * 1000ULL;
	launch->wait.listening = on_listening;
	launch->wait.beat = on_beat;
	launch->phase = PHASE_PREPARING;
	backend->launches++;
	submit(launch, WORK_DATA, prepare_run, prepare_done);
	*result = nefs_take_ptr(launch);
	return 0;
}
