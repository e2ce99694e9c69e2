/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The upper seam: what the filesystem asks of a backend. Configuration goes in, enclave events
 * come out; everything that is specific to Nitro Enclaves is behind it.
 *
 * Every function here belongs to the loop thread and returns at once, unless its comment says
 * otherwise. Work that blocks runs in the workers; results come back through the listener, in the
 * loop thread, never from inside the call that caused them.
 */
#ifndef NEFS_BACKEND_H
#define NEFS_BACKEND_H

#include <nefs/error.h>
#include <nefs/workers.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

/* What the mount options say about the backend. Strings stay the caller's. */
struct backend_options {
	const char *kind;      /* "kernel" or "sim" */
	const char *device;    /* kernel: path of the device node, NULL = /dev/nitro_enclaves */
	bool no_heartbeat;     /* kernel: an enclave runs once it has been started */
	bool any_arch;	       /* kernel: images of any architecture; sim takes them anyway */
	unsigned int sim_cpus; /* sim: CPU threads of the machine, two a core; 0 = 8 */
	uint64_t sim_memory;   /* sim: bytes of huge pages, a multiple of 2 MiB; 0 = 4 GiB */
	bool sim_vm_none;      /* sim: enclaves without a VM */
	unsigned int sim_reply_timeout_ms; /* sim: a dropped reply; 0 = 120 s as the driver */
};

/* Bytes of a measurement. */
#define BACKEND_PCR_SIZE 48

/* What to launch. The values have been checked against their ranges, not against the device. */
struct backend_config {
	const char *name;     /* the enclave's name, for sentences; copied */
	uint64_t memory;      /* bytes, a multiple of 2 MiB, >= 64 MiB */
	uint32_t vcpus;	      /* a count >= 1; equals cpu_count where cpus is set */
	const uint32_t *cpus; /* the CPUs wanted, ascending, or NULL: any; copied */
	size_t cpu_count;
	int image_fd;	     /* the EIF, readable; duplicated */
	uint64_t image_size; /* bytes, if it is known: fstat(2) may wait for a disk; 0: it is not */
	bool image_checked;  /* backend_image_describe has read this very content and
				    * found it whole: it is not read once more for that */
	uint8_t image_pcr0[BACKEND_PCR_SIZE]; /* what that found, if image_checked */
	uint64_t cid;			      /* 0: the device chooses */
	bool debug;			      /* debug mode: the console can be read */
	unsigned int boot_timeout;	      /* seconds to the heartbeat; 0: default formula */
	uid_t uid; /* whose the enclave is: a simulated one's VM runs as they, if it can */
	gid_t gid;
	uid_t data_owner; /* whose the image is: reading it, and what comes of it, is their work */
};

/* What the device gave. */
struct backend_grant {
	uint64_t slot_uid;
	uint64_t cid;
	uint64_t memory;  /* bytes */
	const char *cpus; /* cpu-list, "2-3"; owned by whoever owns the grant */
};

/* A copy, in one piece of memory: free(3) releases it with its cpus. NULL: out of memory. Any thread. */
struct backend_grant *backend_grant_copy(const struct backend_grant *grant);

/* How a launch came to its end. */
enum backend_end {
	BACKEND_FAILED,	 /* it never ran: refused, died while booting, or no heartbeat */
	BACKEND_STOPPED, /* backend_stop asked for it (error ECANCELED if it had not run yet) */
	BACKEND_CRASHED, /* it ran, and ended by itself */
};

/*
 * What a launch reports, always in this order:
 *	started? running? ended released
 * with console anywhere between started and released. The handle is gone when released returns.
 */
struct backend_listener {
	/*
	 * The device has started it (NE_START_ENCLAVE succeeded); it holds what grant says. The
	 * grant is gone when this returns: keep a backend_grant_copy.
	 */
	void (*started)(void *owner, const struct backend_grant *grant);
	/* Its heartbeat arrived, or, without heartbeats, its VM runs. */
	void (*running)(void *owner);
	/* What it printed (debug mode). */
	void (*console)(void *owner, const void *data, size_t size);
	/*
	 * It is over. error is never NULL; code 0 for a stop of a running enclave. A crash is news
	 * and told at once (in debug mode behind its last words, for which it waits 250 ms at most):
	 * what the enclave held is still being given back, and `released` says when that is done. A
	 * start that failed is told when all is given back, or after 250 ms if the device is slow; a
	 * stop that was asked for when the device has done it.
	 */
	void (*ended)(void *owner, enum backend_end how, const struct nefs_error *error);
	/* Slot, CPUs, pages and connections are given back. */
	void (*released)(void *owner);
};

struct backend;
struct backend_launch;

/*
 * Opens the backend. ENODEV, with a sentence that says what to try instead, if kernel was asked for
 * and there is no /dev/nitro_enclaves; EINVAL for bad options.
 */
int backend_open(sd_event *event, struct workers *workers, const struct backend_options *options,
	struct backend **backend, struct nefs_error *err);

/* "kernel" or "sim". */
const char *backend_name(const struct backend *backend);

/*
 * Begins a launch: validates the image and its signature, if it has one, takes memory, vCPUs and CID,
 * starts, waits for the heartbeat, watches. Everything or nothing: whatever fails, all is given back before
 * `released`. owner and listener must live until then. Fails at once only for ENOMEM, EMFILE, and EINVAL for
 * an image that is larger than its memory; all else is reported by `ended`.
 */
int backend_start(struct backend *backend, const struct backend_config *config,
	const struct backend_listener *listener, void *owner, struct backend_launch **launch,
	struct nefs_error *err);

/*
 * Ends a launch in any phase. One that is still in a worker is cancelled at its next step, or while it
 * reads its image. One that is
 * ending already goes on as it does, but a crash that was not told yet becomes a stop.
 */
void backend_stop(struct backend_launch *launch);

/* Closes the backend. Every launch must have been released. NULL is allowed. */
void backend_close(struct backend *backend);

/*
 * Could a file that begins with these bytes be an EIF? Looks at the magic only, as far as size
 * reaches. Any thread.
 */
bool backend_image_plausible(const void *head, size_t size);

/* As many bytes of an image tell its length. */
#define BACKEND_IMAGE_HEAD 548

/*
 * How long an image with this beginning is, if its header tells the truth; bytes behind that may belong
 * to it still. 0 while size is below BACKEND_IMAGE_HEAD. EINVAL, with the figures, for a header that no
 * image has, or one of more than max bytes. Any thread.
 */
int backend_image_length(
	const void *head, size_t size, uint64_t max, uint64_t *length, struct nefs_error *err);

/* What an image is: the texts of `measurements` and `image_info`. */
struct backend_image_report {
	char *measurements;		/* "PCR0 <hex>\n"..., malloc'ed */
	char *info;			/* JSON, malloc'ed */
	uint8_t pcr0[BACKEND_PCR_SIZE]; /* for a start: struct backend_config */
};

/*
 * Reads, validates and measures a whole image. EINVAL with the reason if it is not a valid EIF, or, without
 * reading it, if it is larger than all of this machine's memory, in which it can never run; ECANCELED once
 * pace (NULL: none) says so. Blocks: call it in a worker. The caller frees both texts.
 */
int backend_image_describe(int image_fd, struct nefs_pace *pace,
	struct backend_image_report *report, struct nefs_error *err);

/* ---- Rehearsing failures: backend=sim only, ENOTSUP elsewhere ---- */

/* The launch's enclave dies as if by itself. EINVAL if the device has not started it. */
int backend_sim_crash(
	struct backend *backend, struct backend_launch *launch, struct nefs_error *err);

/*
 * Replaces the fault plan (docs/interface.md §7, sim/fault). EINVAL or ERANGE with the line's number;
 * the old plan stays then. text need not be NUL-terminated.
 */
int backend_sim_set_faults(
	struct backend *backend, const char *text, size_t size, struct nefs_error *err);

/* The device's slots, a line each, malloc'ed; NULL if out of memory. */
char *backend_sim_slots(struct backend *backend);

#endif
