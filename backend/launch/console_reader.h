/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading the console of an enclave in debug mode, in the loop.
 *
 * Connecting is tried again, less and less often, for as long as the enclave lives; after its end
 * what is left is read, so that its last words are seen before its end is reported.
 */
#ifndef NEFS_CONSOLE_READER_H
#define NEFS_CONSOLE_READER_H

#include <nefs/ne_dev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* Embedded by its launch; zeroed before console_reader_begin. Loop thread only. */
struct console_reader {
	/* Set by the user before console_reader_begin. */
	sd_event *event;
	struct ne_dev *dev;
	int enclave_fd;
	uint64_t cid;
	void (*data)(struct console_reader *console, const void *data, size_t size);
	/* After console_reader_drain: nothing more will come. Called once, from the loop. */
	void (*drained)(struct console_reader *console);

	/* The rest is the console's. */
	int fd; /* -1: not connected */
	sd_event_source *io;
	sd_event_source *retry;
	uint64_t pause; /* usec before the next attempt */
	bool begun;
	bool draining;
};

/* Starts reading. Cannot fail: without memory there is no output. */
void console_reader_begin(struct console_reader *console);

/*
 * The enclave is over, but its fd is still open: reads what is left. Returns true if there is
 * nothing left, and drained() is not called then; false if drained() will be called.
 */
bool console_reader_drain(struct console_reader *console);

/* Stops reading, whatever is left. Allowed at any time, also if it was never begun. */
void console_reader_end(struct console_reader *console);

#endif
