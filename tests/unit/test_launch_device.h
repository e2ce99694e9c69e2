/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device for the tests of the launch: every call can be made to fail or to wait, everything
 * taken is counted. It knows no rules: those are the conformance suite's.
 */
#ifndef NEFS_TEST_LAUNCH_DEVICE_H
#define NEFS_TEST_LAUNCH_DEVICE_H

#include <nefs/ne_dev.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Calls that can be made to fail or to wait. */
enum test_call {
	TEST_OPEN,
	TEST_CREATE_VM,
	TEST_LOAD_INFO,
	TEST_MAP,
	TEST_SET_MEMORY,
	TEST_ADD_VCPU,
	TEST_START,
	TEST_CLOSE, /* of an enclave; can only wait */
	TEST_CALLS,
};

#define TEST_FDS_MAX 1024

struct test_device {
	struct ne_dev dev;     /* first */
	struct ne_dev_ops ops; /* of dev; heartbeat may be set before use */
	pthread_mutex_t lock;  /* everything below */
	pthread_cond_t changed;

	/* What goes wrong. */
	struct {
		int rc;		     /* negative: this call fails */
		unsigned int after;  /* so many that do not, first */
		bool waits;	     /* until test_device_let_go */
		unsigned int let_go; /* how often */
		unsigned int calls;
		unsigned int waiting;
	} plan[TEST_CALLS];
	uint64_t load_offset;
	uint64_t last_cid_given;
	const char *explanation; /* of any enclave, or NULL */

	/* What is taken. */
	uint64_t pages_free; /* of 2 MiB */
	unsigned int device_fds;
	unsigned int enclaves;
	unsigned int running;
	unsigned int vcpus;
	unsigned int mappings;
	unsigned int most_enclaves;
	char image_magic[4]; /* found at load_offset of the first region given last */

	/* By enclave fd. */
	struct test_enclave {
		bool used;
		bool running;
		int other_end; /* closing it hangs the enclave fd up */
		int console;   /* the write end, or -1 */
		int console_read;
		uint64_t cid;
		unsigned int vcpus;
		uint64_t memory;
	} by_fd[TEST_FDS_MAX];
};

struct test_device *test_device_new(uint64_t pages);

/* The enclave with this CID ends by itself. */
void test_device_crash(struct test_device *device, uint64_t cid);

/* The enclave with this CID prints. */
void test_device_print(struct test_device *device, uint64_t cid, const char *text);

/* Another write end of its console, so that this has no end before it is closed. */
int test_device_console(struct test_device *device, uint64_t cid);

/* How often the call was made, and how many threads wait in it now. */
unsigned int test_device_calls(struct test_device *device, enum test_call call);
unsigned int test_device_waiting(struct test_device *device, enum test_call call);

/* Waits until some thread waits in the call. */
void test_device_await(struct test_device *device, enum test_call call);

/* Those in the call go on waiting, whoever comes does not. */
void test_device_let_others_pass(struct test_device *device, enum test_call call);

/* No call waits any more. */
void test_device_let_go(struct test_device *device, enum test_call call);

/* Nothing is taken: no fd, page, vCPU or mapping. */
bool test_device_idle(struct test_device *device);

#endif
