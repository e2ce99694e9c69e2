/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "console_reader.h"

#include <errno.h>
#include <nefs/clock.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

/* Read at once; then the loop serves somebody else. */
#define CHUNK 32768

#define PAUSE_MIN_USEC 20000ULL
#define PAUSE_MAX_USEC 1000000ULL

static void try_connect(struct console_reader *console);

static void disconnect(struct console_reader *console)
{
	console->io = sd_event_source_disable_unref(console->io);
	if (console->fd >= 0)
		close(console->fd);
	console->fd = -1;
}

/* Nothing more will be read. */
static void finish(struct console_reader *console)
{
	bool tell = console->draining;

	console_reader_end(console);
	if (tell)
		console->drained(console);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct console_reader *console = userdata;

	try_connect(console);
	return 0;
}

static void retry_later(struct console_reader *console)
{
	if (!console->retry) {
		console_reader_end(console);
		return;
	}
	sd_event_source_set_time(console->retry, nefs_now_usec() + console->pause);
	sd_event_source_set_enabled(console->retry, SD_EVENT_ONESHOT);
	console->pause *= 2;
	if (console->pause > PAUSE_MAX_USEC)
		console->pause = PAUSE_MAX_USEC;
}

static int on_output(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct console_reader *console = userdata;
	char data[CHUNK];
	ssize_t got = read(fd, data, sizeof(data));

	if (got > 0) {
		console->pause = PAUSE_MIN_USEC;
		console->data(console, data, (size_t)got);
		return 0;
	}
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got < 0 && !console->draining) {
		/* Refused or reset: the hypervisor's end may not be up yet. */
		disconnect(console);
		retry_later(console);
		return 0;
	}
	finish(console);
	return 0;
}

static void try_connect(struct console_reader *console)
{
	int failed;

	console->fd =
		console->dev->ops->console(console->dev, console->enclave_fd, console->cid, NULL);
	if (console->fd < 0) {
		console->fd = -1;
		if (!console->draining)
			retry_later(console);
		return;
	}
	failed = sd_event_add_io(
		console->event, &console->io, console->fd, EPOLLIN, on_output, console);
	if (failed < 0) {
		disconnect(console);
		if (!console->draining)
			retry_later(console);
		return;
	}
	sd_event_source_set_description(console->io, "console");
	/* Behind everything that is waited for: a chatty enclave only delays its own text. */
	sd_event_source_set_priority(console->io, SD_EVENT_PRIORITY_NORMAL + 10);
}

void console_reader_begin(struct console_reader *console)
{
	console->fd = -1;
	console->pause = PAUSE_MIN_USEC;
	console->begun = true;
	/* At once, so that nothing has to be allocated later. Without it there is one attempt. */
	if (sd_event_add_time(console->event, &console->retry, CLOCK_MONOTONIC, UINT64_MAX,
		    NEFS_TIMER_ACCURACY_USEC, on_retry, console) >= 0) {
		sd_event_source_set_description(console->retry, "console retry");
		sd_event_source_set_enabled(console->retry, SD_EVENT_OFF);
	}
	try_connect(console);
}

bool console_reader_drain(struct console_reader *console)
{
	if (!console->begun)
		return true;
	console->draining = true;
	if (console->fd < 0) {
		/* It may have printed and died between two attempts. */
		sd_event_source_set_enabled(console->retry, SD_EVENT_OFF);
		try_connect(console);
	}
	if (console->fd >= 0)
		return false;
	console_reader_end(console);
	return true;
}

void console_reader_end(struct console_reader *console)
{
	if (!console->begun)
		return;
	console->retry = sd_event_source_disable_unref(console->retry);
	disconnect(console);
	console->begun = false;
	console->draining = false;
}
