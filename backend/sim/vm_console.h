/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The console of an enclave in debug mode: what its VM prints is read as it comes, so that a guest
 * never waits for a reader, and the last VM_CONSOLE_MAX bytes are kept for one that comes later, even
 * after the enclave's end.
 *
 * The device's thread reads; everything else may be called from any thread.
 */
#ifndef NEFS_SIM_VM_CONSOLE_H
#define NEFS_SIM_VM_CONSOLE_H

#include <stddef.h>
#include <systemd/sd-event.h>

/* Most bytes kept for a reader that is slow or not there; older ones are dropped. */
#define VM_CONSOLE_MAX (1U << 20)

struct vm_console;

/* Reads fd, which is its own from now on (closed on failure, too). Device thread. NULL with errno. */
struct vm_console *vm_console_new(sd_event *event, int fd);

/* Gives its reader what it takes, then the end. Device thread. NULL is allowed. */
void vm_console_free(struct vm_console *console);

/*
 * A stream (O_NONBLOCK) of what nobody has read yet and of all that follows; the caller's to close. Whoever
 * read before gets an end. Negative errno.
 */
int vm_console_attach(struct vm_console *console);

/* The VM has ended: takes what is left, and ends the reader's stream behind it. Device thread. */
void vm_console_finish(struct vm_console *console);

#endif
