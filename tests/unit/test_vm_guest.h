/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Real guests for the tests of the VM: images that boot, and what they say. */
#ifndef NEFS_TEST_VM_GUEST_H
#define NEFS_TEST_VM_GUEST_H

#include <nefs/eif.h>
#include <nefs/ne_dev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The path of a file that scripts/fetch gets, by the variable that names it. Where it is not there the
 * test ends as failed.
 */
const char *guest_download(const char *variable);

/*
 * An image of this kernel and a ramdisk with busybox and this /init (a busybox shell script), in
 * a memfd that the caller closes. A failure ends the test.
 */
int guest_image(const char *kernel, const char *cmdline, const char *init);

/* A started enclave on a simulated machine. */
struct guest {
	struct ne_dev *dev;
	int fd; /* the enclave fd */
	uint64_t uid;
	uint64_t cid;
	int console;	    /* -1: none */
	char said[1 << 16]; /* by the console, not looked for yet */
	size_t said_size;
};

/*
 * Creates an enclave with memory bytes and two vCPUs, puts what image_fd holds at 8 MiB (-1:
 * nothing) and starts it; opens the console in debug mode. Returns what NE_START_ENCLAVE did;
 * guest_end is due in any case.
 */
int guest_start(struct guest *guest, struct ne_dev *dev, uint64_t memory, int image_fd, bool debug);

void guest_end(struct guest *guest);

/* Reads the console on until it says this (true), or ends, or says nothing for a minute. */
bool guest_says(struct guest *guest, const char *text);

/* Does the enclave fd hang up within 60 s? */
bool guest_hung_up(struct guest *guest);

/* Why the enclave ended; "(nothing)" if nobody said. Valid until the next call. */
const char *guest_explanation(const struct guest *guest);

/* Is part in text? Prints both if not. */
bool contains(const char *text, const char *part);

/* A child process of this one with such a name, of which there must be one; -1: none. */
pid_t guest_process(const char *name);

#endif
