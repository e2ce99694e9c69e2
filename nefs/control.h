/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control files are rows of a table. Adding one is adding a row.
 *
 *	text file	show [and store]	a value, rendered at each read from offset 0
 *	anything else	ops			a stream, the image, a file whose reads wait
 *
 * A directory's table is an array that ends with a row without a name (enclave_files.c,
 * root_files.c). All callbacks run in the loop thread.
 */
#ifndef NEFS_CONTROL_H
#define NEFS_CONTROL_H

#include "node.h"
#include <nefs/error.h>
#include <stdio.h>

/* Returned by store: the answer comes later, by way of enclave_park (enclave.h). */
#define STORE_PARKED 1

/* What a special file does by itself. NULL members behave as for a text file. */
struct control_ops {
	/* Prepares a handle; 0 or a negative errno. */
	int (*open)(struct handle *handle, struct nefs_error *err);
	/* Answers the request, now or (parked) later. */
	void (*read)(fuse_req_t req, struct handle *handle, size_t size, off_t offset);
	/* Returns the bytes taken or a negative errno. */
	ssize_t (*write)(struct handle *handle, const char *data, size_t size, off_t offset,
		struct nefs_error *err);
	/* truncate(2). */
	int (*truncate)(struct node *node, uint64_t size, struct nefs_error *err);
	/* A staged file was renamed over it; takes the file over. */
	int (*adopt)(struct node *node, struct node *staged, struct nefs_error *err);
	/* Is there something to read? Makes it a stream for poll(2). */
	bool (*readable)(struct handle *handle);
	/* st_size. */
	uint64_t (*size)(struct node *node);
};

enum control_flags {
	CONTROL_POLL = 1,     /* ERR|PRI from a change until re-read, as kernfs does */
	CONTROL_SETTABLE = 2, /* unlink resets it to its default and hides it */
	CONTROL_REPORTS = 4,  /* its store tells `error` about its outcome itself */
};

struct control {
	const char *name;
	mode_t mode; /* permissions */
	unsigned int flags;
	/* Writes the present content to out. */
	void (*show)(struct node *node, FILE *out);
	/*
	 * Takes one value as written. 0, a negative errno with a sentence (the old value stays),
	 * or STORE_PARKED.
	 */
	int (*store)(struct node *node, const char *text, size_t size, struct nefs_error *err);
	/* Back to the default; for CONTROL_SETTABLE files. */
	void (*reset)(struct node *node);
	const struct control_ops *ops;
};

/* Renders a text file; *text is malloc'ed. 0 or -ENOMEM. */
int control_render(struct node *node, char **text, size_t *size);

/*
 * Stores a value, by write(2) or by a committed rename, and records the outcome in the directory's
 * `error` file. Returns 0, a negative errno, or STORE_PARKED.
 */
int control_store(struct node *node, const char *text, size_t size);

/*
 * Records the outcome of an operation on the directory in its `error` file: err->code 0 clears it.
 * Names the file in front of the sentence if file is not NULL.
 */
void control_outcome(struct directory *directory, const char *file, struct nefs_error *err);

/* The answer to POLL. */
unsigned int control_poll(struct handle *handle);

/* A text file's read, and write. */
void control_read_text(fuse_req_t req, struct handle *handle, size_t size, off_t offset);

#endif
