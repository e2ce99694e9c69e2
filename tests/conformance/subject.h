/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What conformance cases stand on: a driver behind ne_dev.h, and enclaves in a given state. A case
 * may ask for what any driver has, never for what only the simulated machine knows.
 */
#ifndef NEFS_CONFORMANCE_SUBJECT_H
#define NEFS_CONFORMANCE_SUBJECT_H

#include <nefs/ne_dev.h>

#define PAGE	    (2ULL << 20)
#define ENCLAVE_MIN (64ULL << 20)

/* What needs the device's cooperation; a member that is NULL cannot be done there. */
struct lab {
	/* The enclave in this slot dies as if by itself. 0 or a negative errno. */
	int (*crash)(void *context, uint64_t slot_uid);
	/* An event without a cause. */
	int (*spurious)(void *context);
	void *context;
};

struct conformance {
	struct ne_dev *dev;
	const struct lab *lab;
	int device; /* a device fd */
};

enum state {
	STATE_NONE,    /* no enclave: the device fd */
	STATE_INIT,    /* just made */
	STATE_FILLED,  /* with 64 MiB and one core */
	STATE_RUNNING, /* started */
	STATE_CRASHED, /* started, ended by itself, seen to hang up */
};

/* An enclave of a case. */
struct subject {
	int fd; /* -1: none */
	uint64_t slot_uid;
	uint64_t cid;
	void *memory; /* what ne_dev.map gave, NULL: none */
	uint64_t memory_size;
	uint32_t cpus[2];
};

#define SUBJECT_NONE                                                                               \
	{                                                                                          \
		.fd = -1                                                                           \
	}

/* Makes an enclave and brings it into a state. False, with a message on stdout, if that fails. */
bool subject_make(struct conformance *conformance, enum state state, struct subject *subject);
void subject_end(struct conformance *conformance, struct subject *subject);

/* The steps of subject_make, with the ioctl's result. */
int subject_create(struct conformance *conformance, struct subject *subject);
int subject_map(struct conformance *conformance, struct subject *subject, uint64_t size);
int subject_add_memory(struct conformance *conformance, struct subject *subject);
int subject_add_vcpu(struct conformance *conformance, struct subject *subject, uint32_t *id);
int subject_start(struct conformance *conformance, struct subject *subject, uint64_t cid);
int subject_crash(struct conformance *conformance, struct subject *subject);

int on_fd(struct conformance *conformance, int fd, unsigned long request, void *argument);

/* poll(2)'s revents within some milliseconds. */
int events_of(int fd, int milliseconds);

/* "0", "EBUSY", "NE_ERR_...". */
const char *result_name(int result, char text[64]);

/*
 * A case of several steps: returns what it saw last, which has to be what is expected; a step
 * before that went wrong: CASE_FAILED, after a message on stdout.
 */
#define CASE_FAILED 0x7fffffff

struct conformance_case {
	const char *name;
	int (*run)(struct conformance *conformance);
	int expected;
	bool needs_crash, needs_spurious;
};

extern const struct conformance_case life_cases[];
size_t life_case_count(void);

/* One ioctl with one argument in one state: a row of data. */
enum pointer {
	POINTER_GOOD,
	POINTER_NULL,
	POINTER_UNMAPPED,
	POINTER_KERNEL,
	POINTER_READ_ONLY,
};

enum address {
	ADDRESS_RAW,	  /* as given */
	ADDRESS_ENCLAVE,  /* relative to the memory that the enclave has */
	ADDRESS_FREE,	  /* relative to 8 MiB of huge pages that it hasn't */
	ADDRESS_ORDINARY, /* relative to 8 MiB of ordinary memory, aligned */
	ADDRESS_NOTHING,  /* relative to 8 MiB of address space without memory */
};

struct ioctl_case {
	const char *name;
	enum state state;
	unsigned long request;
	int expected;
	enum pointer pointer;
	uint64_t flags; /* or the vCPU's id */
	uint64_t value; /* a CID, or a size */
	enum address address;
	uint64_t offset;
};

extern const struct ioctl_case ioctl_cases[];
size_t ioctl_case_count(void);

/* Runs a row; its result, or CASE_FAILED. */
int ioctl_case_run(struct conformance *conformance, const struct ioctl_case *row);

#endif
