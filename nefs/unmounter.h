/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An ordinary user's mount is taken down by fusermount3, a setuid program, and nothing that a filter on system
 * calls lies on may run one. So a process without the filter is kept for that, from before there is one to
 * the end: it waits, and knows nothing but the mount point.
 */
#ifndef NEFS_UNMOUNTER_H
#define NEFS_UNMOUNTER_H

#include <nefs/error.h>
#include <sys/types.h>

struct unmounter {
	pid_t process; /* 0: there is none */
	int order;     /* a pipe's end: one byte has it unmount, an end without one has it end */
};

#define UNMOUNTER_NONE ((struct unmounter){ .process = 0, .order = -1 })

/*
 * Starts the process, which holds no fd of this one. While there are no other threads. 0 or a negative errno with a
 * sentence.
 */
int unmounter_start(struct unmounter *unmounter, const char *point, struct nefs_error *err);

/* Has it unmount, lazily, and returns once it has. Without one nothing happens. */
void unmounter_unmount(struct unmounter *unmounter);

/* Ends it if it is still there. */
void unmounter_end(struct unmounter *unmounter);

#endif
