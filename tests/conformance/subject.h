/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What conformance cases stand on: a driver behind ne_dev.h, and enclaves in a given state. A case
 * may ask for what any driver has, never for what only the simulated machine knows.
 */
#ifndef NEFS_CONFORMANCE_SUBJECT_H
#define NEFS_CONFORMANCE_SUBJECT_H

#include <nefs/ne_dev.h>
#include <stdio.h>

#define PAGE	    (2ULL << 20)
#define ENCLAVE_MIN (64ULL << 20)
#define HANG_UP_MS  20000 /* patience with a hang-up that must come */
#define QUIET_MS    100	  /* how long one that must not come is waited for */

#define POOL_CPUS_MAX	 1024
#define SUBJECT_CPUS_MAX 16

/*
 * What is done behind the driver's back; a member that is NULL or 0 cannot be had there. Results: 0
 * or a negative errno.
 */
struct lab {
	/* The enclave in this slot dies as if by itself. */
	int (*crash)(void *context, uint64_t slot_uid);
	/* An event without a cause. */
	int (*spurious)(void *context);
	/* Replaces the device's fault plan (docs/interface.md §7, sim/fault). */
	int (*faults)(void *context, const char *plan);
	/* Maps a huge page of a node that is not the pool's; undone by ne_dev's unmap. */
	int (*map_other_node)(void *context, void **address);
	/* How many slots of the device are in use. */
	int (*slots)(void *context);
	/* Has the next mapping, of so many pages, consist of pages that follow each other physically. */
	int (*arrange)(void *context, size_t pages);
	unsigned int regions_max; /* memory regions of a slot */
	void *context;
};

/* What a case needs beyond the least: one core in the pool, 64 pages of 2 MiB. */
enum need {
	NEED_SIBLINGS = 1 << 0,	  /* more than one thread a core */
	NEED_TWO_CORES = 1 << 1,  /* in the pool */
	NEED_CRASH = 1 << 2,	  /* lab.crash */
	NEED_SPURIOUS = 1 << 3,	  /* lab.spurious */
	NEED_FAULTS = 1 << 4,	  /* lab.faults */
	NEED_OTHER_NODE = 1 << 5, /* lab.map_other_node */
	NEED_REGIONS = 1 << 6,	  /* lab.regions_max, and more free pages than that */
	NEED_ARRANGE = 1 << 7,	  /* lab.arrange */
	NEED_SLOTS = 1 << 8,	  /* lab.slots */
	NEEDS = 9,
};

/* The CPU pool, as the driver tells it. */
struct pool {
	size_t count;
	size_t cores;
	size_t threads;		     /* of the first core */
	uint32_t ids[POOL_CPUS_MAX]; /* ascending */
	size_t core[POOL_CPUS_MAX];  /* of each, from 0 */
};

struct conformance {
	struct ne_dev *dev;
	const struct lab *lab;
	int device; /* a device fd */
	struct pool pool;
	uint64_t free_pages; /* of 2 MiB, with no enclave there */
};

enum state {
	STATE_NONE,    /* no enclave: the device fd */
	STATE_INIT,    /* just made */
	STATE_FILLED,  /* with 64 MiB and one core */
	STATE_RUNNING, /* started */
	STATE_CRASHED, /* started, ended by itself, seen to hang up */
};

/* An enclave of a case, or only memory. */
struct subject {
	struct conformance *conformance;
	int fd; /* -1: none */
	uint64_t slot_uid;
	uint64_t cid;
	void *memory; /* what ne_dev.map gave, NULL: none */
	uint64_t memory_size;
	uint32_t cpus[SUBJECT_CPUS_MAX];
	size_t cpu_count;
};

void subject_end(struct subject *subject);

/* A subject without anything, that is taken down at the end of its scope. */
#define SUBJECT(name)                                                                              \
	struct subject name                                                                        \
		__attribute__((cleanup(subject_end))) = { .conformance = conformance, .fd = -1 }

/*
 * Makes an enclave, in a subject that has nothing, and brings it into a state. False, with a
 * message on stdout, if that fails.
 */
bool subject_make(struct subject *subject, enum state state);

/* The steps of subject_make, with the ioctl's result. */
int subject_create(struct subject *subject);
int subject_map(struct subject *subject, uint64_t size);
int subject_add_memory(struct subject *subject);
int subject_add_vcpu(struct subject *subject, uint32_t *id);
int subject_add_core(struct subject *subject); /* all threads of one */
int subject_start(struct subject *subject, uint64_t cid);
int subject_crash(struct subject *subject);

/* Gives a part of a mapping, from an offset. */
int subject_add_part(struct subject *subject, const void *memory, uint64_t offset, uint64_t size);

/* Takes CPUs until there are none; returns how many, or a negative errno. */
int subject_take_pool(struct subject *subject);

int on_fd(struct conformance *conformance, int fd, unsigned long request, void *argument);

/* What poll(2) tells within some milliseconds, asked for all that it knows. */
int events_of(int fd, int milliseconds);

/* "0", "EBUSY", "NE_ERR_...". */
const char *result_name(int result, char text[64]);

/* An ioctl of a child process, on its copies of the fd and of the argument: its result. */
int in_a_child(struct subject *subject, unsigned long request, void *argument);

/* Free pages of 2 MiB; -1 if the device has none of that size at all. */
int64_t free_pages(struct conformance *conformance);

/*
 * A case of several steps: returns what it saw last, which has to be what is expected; a step
 * before that went wrong: CASE_FAILED, after a message on stdout.
 */
#define CASE_FAILED 0x7fffffff

struct conformance_case {
	const char *name;
	int (*run)(struct conformance *conformance);
	int expected;
	unsigned int needs; /* enum need, or-ed */
};

/* A check inside of a case. */
#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);             \
			return CASE_FAILED;                                                        \
		}                                                                                  \
	} while (0)

/* The same of a result, which the message names. */
#define EXPECT(call, expected)                                                                     \
	do {                                                                                       \
		if (!is_expected(__FILE__, __LINE__, #call, call, expected))                       \
			return CASE_FAILED;                                                        \
	} while (0)

bool is_expected(const char *file, int line, const char *what, int got, int expected);

/* The cases of each file, ended by one without a name. */
extern const struct conformance_case create_cases[];
extern const struct conformance_case vcpu_cases[];
extern const struct conformance_case memory_cases[];
extern const struct conformance_case start_cases[];
extern const struct conformance_case process_cases[];
extern const struct conformance_case life_cases[];
extern const struct conformance_case fault_cases[];

/* One ioctl with one argument in one state: a row of data. */
enum pointer {
	POINTER_GOOD,
	POINTER_NULL,
	POINTER_UNMAPPED, /* not to be touched */
	POINTER_KERNEL,
	POINTER_READ_ONLY,
	POINTER_HALF, /* only the first half of the argument is there */
};

enum address {
	ADDRESS_RAW,	  /* as given */
	ADDRESS_ENCLAVE,  /* relative to the memory that the enclave has */
	ADDRESS_FREE,	  /* relative to 8 MiB of huge pages that it hasn't */
	ADDRESS_ORDINARY, /* relative to 8 MiB of ordinary memory, aligned */
	ADDRESS_NOTHING,  /* relative to 8 MiB of address space that cannot be touched */
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

/* Ended by one without a name. */
extern const struct ioctl_case ioctl_cases[];

/* Runs a row; its result, or CASE_FAILED. */
int ioctl_case_run(struct conformance *conformance, const struct ioctl_case *row);

#endif
