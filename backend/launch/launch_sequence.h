/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The worker's side of a launch: what blocks. Each function runs in a worker, one at a time for a
 * sequence; between two of them the loop thread may look at the results.
 */
#ifndef NEFS_LAUNCH_SEQUENCE_H
#define NEFS_LAUNCH_SEQUENCE_H

#include "memory_plan.h"
#include <nefs/backend.h>
#include <nefs/error.h>
#include <nefs/ne_dev.h>
#include <nefs/pace.h>
#include <stdbool.h>
#include <stdint.h>

struct launch_sequence {
	/* What is asked for; see struct backend_config. All owned by the sequence but name and dev. */
	struct ne_dev *dev;
	const char *name;
	bool any_arch; /* images of another architecture than this machine's are welcome */
	uint64_t memory;
	uint32_t vcpus;
	uint32_t *cpus; /* vcpus of them, or NULL */
	int image_fd;
	bool image_checked; /* its CRC is known to fit, and its PCR0 is this: */
	uint8_t image_pcr0[BACKEND_PCR_SIZE];
	uint64_t wanted_cid;
	bool debug;
	uid_t uid;
	gid_t gid;

	/* Of reading; the loop thread may cancel at any time: give up before the next step, too. NULL: none. */
	struct nefs_pace *pace;

	/* What has been taken so far. */
	int enclave_fd; /* -1: none */
	struct enclave_memory mapped;
	uint64_t slot_uid;
	uint64_t cid;
	uint32_t *got_cpus; /* in the order of their adding, then sorted */
	uint32_t got_cpu_count;
	uint64_t image_size;  /* bytes */
	uint64_t load_offset; /* bytes */
	char *cpu_list;	      /* the same, as text: once all have been added */

	struct nefs_error error; /* of the step that failed; its sentence begins with the name */
};

/*
 * Fills a fresh sequence from a configuration; takes copies. ENOMEM, EMFILE; EINVAL for an image that is
 * larger than its memory. Loop thread, quick.
 */
int launch_sequence_init(struct launch_sequence *sequence, struct ne_dev *dev, bool any_arch,
	const char *name, const struct backend_config *config, struct nefs_error *err);

/*
 * Validates the image, then takes a slot, memory with the image in it, and vCPUs. 0, or a negative
 * errno with sequence->error; what has been taken until then stays for launch_sequence_undo.
 */
int launch_sequence_prepare(struct launch_sequence *sequence);

/* NE_START_ENCLAVE, then the mappings are dropped: the device holds the pages. As above. */
int launch_sequence_start(struct launch_sequence *sequence);

/* Gives back all that has been taken, in reverse. May block for as long as the device likes. */
void launch_sequence_undo(struct launch_sequence *sequence);

/* What the device gave, after a successful start; valid until launch_sequence_free. Quick. */
struct backend_grant launch_sequence_grant(const struct launch_sequence *sequence);

/* Frees the object's own things. Nothing may be taken any more, or it has been handed on. */
void launch_sequence_free(struct launch_sequence *sequence);

#endif
