/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The running daemon: what main.c sets up, mount.c mounts and ending.c gives back. Loop thread. */
#ifndef NEFS_DAEMON_H
#define NEFS_DAEMON_H

#include "exit_status.h"
#include "fs.h"
#include "options.h"
#include "request_buffers.h"
#include "unmounter.h"
#include <nefs/error.h>
#include <nefs/shortage.h>
#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

/* A daemon and what it holds, in the order in which it is taken. */
struct daemon {
	struct options options;
	struct fs fs;
	struct request_buffers buffers; /* that requests are received in */
	struct nefs_shortage shortage;
	void *reserve; /* memory that is given up for a request that must be served; NULL: it was */
	sd_event_source *requests, *mounts;
	bool mounted;
	bool gone;		    /* it was unmounted, here at least */
	dev_t device;		    /* of the mount */
	int mark;		    /* that it is ours; -1: none */
	struct unmounter unmounter; /* an ordinary user's */
	/*
	 * Not sd_event_exit: a loop that has ended can't be run again, and enclaves are stopped by
	 * running it on.
	 */
	bool quit;
	bool broken;  /* the mount gives nothing any more, or nothing but errors */
	bool caller;  /* somebody waits for the mount, and reads stderr */
	bool answers; /* FUSE_INIT is done: whoever uses the mount gets an answer */
	enum exit_status status;
	bool stopping; /* the enclaves are given time to stop */
};

/* Who ends an event source reads its name in systemd's debug output. added: what adding it has returned. */
int daemon_name_source(int added, sd_event_source *source, const char *name);

/*
 * libfuse's session, by the options of the mount. 0 or a negative errno; status is the exit status then, as
 * for daemon_mount.
 */
int daemon_make_session(struct daemon *daemon, struct fuse_args *args, struct nefs_error *err);

/* Mounts, and serves nothing yet: `answers` is set once the loop has served FUSE_INIT. */
int daemon_mount(struct daemon *daemon, struct nefs_error *err);

/* Unmounts, if it is mounted; whoever waits for an answer gets one. */
void daemon_unmount(struct daemon *daemon);

/* The loop shall end, and this is why: it is told once, and at once. errno_code: 0, or positive. */
void daemon_end(struct daemon *daemon, int errno_code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Is no longer who serves the mount and has the spool directory, which is removed if it is named here and
 * nobody else's.
 */
void daemon_let_go(struct daemon *daemon, const char *spool);

/* Gives everything back, in reverse order; whatever has not been taken is skipped. Runs the loop. */
void daemon_tear_down(struct daemon *daemon);

#endif
