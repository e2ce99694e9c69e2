/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From what the device says to what nefs says: NE_ERR_* and device errno in, an errno of the
 * interface (docs/interface.md §4) and a sentence out.
 *
 * Pure functions; any thread.
 */
#ifndef NEFS_NE_ERRORS_H
#define NEFS_NE_ERRORS_H

#include <nefs/error.h>
#include <stddef.h>

/* One NE_ERR_* value. */
struct ne_error_row {
	int ne;		    /* 256..275 */
	int code;	    /* errno of the contract */
	const char *name;   /* "NE_ERR_..." */
	const char *cause;  /* a clause: what is the matter */
	const char *advice; /* a clause: what to do */
};

/* The row of an NE_ERR_* value, or NULL if it is none. */
const struct ne_error_row *ne_error_find(int ne);

/* What the launch was doing: it decides what a plain errno of the device means. */
enum ne_step {
	NE_STEP_OPEN,	    /* opening the device node */
	NE_STEP_CREATE_VM,  /* NE_CREATE_VM: a slot is allocated */
	NE_STEP_LOAD_INFO,  /* NE_GET_IMAGE_LOAD_INFO */
	NE_STEP_SET_MEMORY, /* NE_SET_USER_MEMORY_REGION */
	NE_STEP_ADD_VCPU,   /* NE_ADD_VCPU */
	NE_STEP_START,	    /* NE_START_ENCLAVE */
};

/*
 * Turns a failed step into the contract's errno and a sentence. rc is the negative result of the
 * step; known is a clause in the device's own words, or NULL; the format gives the figures, a
 * clause like "after 2 of 4 vCPUs". Returns the negative errno of the contract.
 */
int ne_error_report(struct nefs_error *err, enum ne_step step, int rc, const char *known,
	const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
