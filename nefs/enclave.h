/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An enclave: its directory, what it was asked to be, and its life (life.h; the states: states.h).
 * Loop thread.
 *
 * `launch` outlives the last state by the time the device takes to give everything back; a start
 * that comes meanwhile waits for it.
 */
#ifndef NEFS_ENCLAVE_H
#define NEFS_ENCLAVE_H

#include "applied.h"
#include "fs.h"
#include "image.h"
#include "parked.h"
#include "records.h"
#include "repeats.h"
#include "settings.h"
#include "staging.h"
#include "states.h"
#include "text_log.h"
#include <nefs/backend.h>

#define ENCLAVE_NAME_MAX 64

/* Control files that change by themselves: the handles of their rows. */
struct enclave_nodes {
	struct node *memory_effective, *cpus_effective, *cid_effective, *slot;
	struct node *start, *pending, *state, *wait, *events, *journal_follow, *console_follow;
	struct node *image, *measurements, *image_info;
};

struct enclave {
	struct directory directory; /* first */
	struct enclave_nodes files;
	struct staging staging;
	struct quota_user
		*user; /* for whom it is counted (QUOTA_ENCLAVES), while it has a name; or NULL */

	struct settings settings;
	struct image image;
	struct timespec image_set; /* its time, while a draft of another is written */
	struct applied applied;	   /* what `launch` was given of both */

	enum enclave_state state;
	struct backend_launch *launch;
	struct backend_grant *grant; /* what the device gave; NULL while nothing is held */
	uint64_t counters[COUNTERS];
	struct text_log journal, console;
	struct own_records records; /* journal's */
	struct repeats repeats;	    /* of these */
	/* Whose doing is what comes of it later: of the last start, and of the image. */
	uid_t started_by, image_by;
	uint64_t console_begin; /* its position when the enclave was last started */

	char *start_text; /* as written */
	size_t start_size;

	struct parked_list waiting;    /* writers of `start` */
	sd_event_source *start_timer;  /* ends their wait */
	sd_event_source *report_timer; /* ends the wait for the size of what tells of the image */
	uint64_t wait_until;	       /* CLOCK_MONOTONIC usec; 0: nobody may wait */
};

/* Is this directory an enclave, and which? */
bool enclave_is(const struct directory *directory);
struct enclave *enclave_of(struct directory *directory);

/* Its name now; the last one if it has been removed. */
const char *enclave_name(const struct enclave *enclave);

/* What its state means. */
const struct state_meaning *enclave_meaning(const struct enclave *enclave);

struct enclave *enclave_find(struct fs *fs, const char *name);

/* mkdir(2) in the root: makes one (directory_ops). EEXIST, EINVAL for its name, EDQUOT, ENOMEM. */
int enclave_mkdir(struct directory *root, const char *name, mode_t mode, uid_t uid, gid_t gid,
	struct node **made, struct nefs_error *err);

/* A setting, its image or its state is another: looks at what is pending, and tells `pending`. */
void enclave_compare(struct enclave *enclave);

/* Tells the journals and the log. error is a sentence, or NULL. */
void enclave_tell(struct enclave *enclave, const char *event, const char *old_name,
	const struct nefs_error *error);

/* The enclave's table of control files (enclave_files.c). */
extern const struct control enclave_files[];

#endif
