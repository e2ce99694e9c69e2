/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An enclave: its directory, what it was asked to be, and its life. Loop thread.
 *
 *	init/stopped/failed/crashed --start 1--> starting --> running --stop--> stopping --> stopped
 *					starting --> failed		running --> crashed
 *
 * `launch` outlives the last state by the time the device takes to give everything back; a start
 * that comes meanwhile waits for it.
 */
#ifndef NEFS_ENCLAVE_H
#define NEFS_ENCLAVE_H

#include "console.h"
#include "control.h"
#include "fs.h"
#include "parked.h"
#include "settings.h"
#include "staging.h"
#include <nefs/backend.h>

#define ENCLAVE_NAME_MAX 64

/* How long a write to `start` may wait (design.md §1). */
#define START_PATIENCE_USEC 5000000ULL

enum enclave_state {
	STATE_INIT,
	STATE_STARTING,
	STATE_RUNNING,
	STATE_STOPPING,
	STATE_STOPPED,
	STATE_FAILED,
	STATE_CRASHED,
};

struct enclave {
	struct directory directory; /* first */
	LIST_ENTRY(enclave) alive;  /* in fs->alive, also when it was removed */
	char name[ENCLAVE_NAME_MAX + 1];
	uint64_t id; /* in the journal */

	struct settings settings;
	struct spool_file *image; /* NULL: none */
	bool image_stale;	  /* truncate(2) to 0: the next write begins a new one */
	char *measurements;	  /* of this image; NULL: not computed */
	char *image_info;
	uint64_t image_generation;
	bool describing; /* the report is being made */

	enum enclave_state state;
	struct backend_launch *launch;
	bool start_queued; /* start as soon as the old launch is released */
	bool device_started;
	struct backend_grant *grant; /* what the device gave; NULL while nothing is held */
	struct nefs_error error;
	uint64_t counters[COUNTERS];
	struct console console;
	uint64_t journal_dropped; /* seq of its newest record that fell out of the ring */

	char *start_text; /* as written */
	size_t start_size;

	struct parked_list waiting; /* writers of `start` */
	sd_event_source *patience;  /* ends their wait */
	uint64_t patience_until;    /* CLOCK_MONOTONIC usec; 0: no operation */

	struct staged_list staged; /* those with a name */
	struct staged_list known;  /* all, until they are freed */
	unsigned int staged_count;
};

/* Is this directory an enclave, and which? */
bool enclave_is(const struct directory *directory);
struct enclave *enclave_of(struct directory *directory);

/* 0, or -EINVAL if no enclave may be called so. */
int enclave_check_name(const char *name, struct nefs_error *err);

struct enclave *enclave_find(struct fs *fs, const char *name);

/* mkdir, rmdir, rename: 0 or a negative errno; the journal is told. */
int enclave_create(struct fs *fs, const char *name, mode_t mode, uid_t uid, gid_t gid,
	struct enclave **enclave, struct nefs_error *err);
int enclave_remove(struct enclave *enclave, struct nefs_error *err);
int enclave_rename(struct enclave *enclave, const char *name, struct nefs_error *err);

const char *enclave_state_name(enum enclave_state state);

/* Starting, running or stopping: its settings are frozen. */
bool enclave_active(const struct enclave *enclave);

/* Starting or stopping: `wait` sleeps. */
bool enclave_changing(const struct enclave *enclave);

/*
 * `start`: 0 where it holds or is done, STORE_PARKED if the caller may wait for the outcome by
 * enclave_park, or a negative errno.
 */
int enclave_start(struct enclave *enclave, struct nefs_error *err);
int enclave_stop(struct enclave *enclave);

/* What a caller that was told STORE_PARKED waits for. */
enum parked_kind {
	PARKED_START,
	PARKED_STOP,
};

/* The kind of the operation under way, for the caller of enclave_start/_stop. */
struct parked *enclave_park(struct enclave *enclave, fuse_req_t req, enum parked_kind kind);

/* Stops everything: the daemon is ending. */
void enclave_stop_all(struct fs *fs);

/* Answers those who wait for this kind of outcome with it. */
void enclave_answer(struct enclave *enclave, enum parked_kind kind, int result);

/* The image has changed: what is known of it is void. */
void enclave_image_changed(struct enclave *enclave);

/* Tells the root's and the enclave's events files, and the journal. */
void enclave_journal(
	struct enclave *enclave, const char *event, const char *old_name, const char *error);

/* The enclave's table of control files (enclave_files.c). */
extern const struct control enclave_files[];

#endif
