/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control files are rows of a table. Adding one is adding a row.
 *
 *	text file	show [and store]	a value, rendered at each read from offset 0
 *	anything else	ops			a stream, the image, a file whose reads wait
 *
 * A directory's table is an array that ends with a row without a name (enclave_files.c,
 * root_files.c, sim_directory.c). All callbacks run in the loop thread.
 */
#ifndef NEFS_CONTROL_H
#define NEFS_CONTROL_H

#include "node.h"
#include <nefs/error.h>
#include <stddef.h>
#include <stdio.h>

/* Most rows of a table. */
#define CONTROL_ROWS_MAX 100

struct spool_file;

/* Returned by store: the answer comes later, by way of ops->park. */
#define STORE_PARKED 1

/* What a special file does by itself. NULL members behave as for a text file. */
struct control_ops {
	/* Prepares a handle; 0 or a negative errno. */
	int (*open)(struct handle *handle, struct nefs_error *err);
	/* Answers the request, now or (parked) later. */
	void (*read)(fuse_req_t req, struct handle *handle, size_t size, off_t offset);
	/* Answers the request by control_end_write, now or later. */
	void (*write)(
		fuse_req_t req, struct handle *handle, const char *data, size_t size, off_t offset);
	/*
	 * truncate(2): 0, a negative errno, or NODE_LATER, upon which it tells the outcome itself (control_outcome)
	 * and then `end`.
	 */
	int (*truncate)(
		struct node *node, uint64_t size, struct node_end *end, struct nefs_error *err);
	/* A staged file was renamed over it; takes the file over. */
	int (*adopt)(struct node *node, struct node *staged, struct nefs_error *err);
	/* The file that it is, with a reference for the caller, for a backup; NULL: it is empty. */
	struct spool_file *(*content)(struct node *node);
	/* Is there something to read? Makes it a stream for poll(2). */
	bool (*readable)(struct handle *handle);
	/*
	 * After STORE_PARKED: puts the request, which was not interrupted, where its outcome will be told
	 * (parked_keep). NULL: out of memory. The caller sets what answers it.
	 */
	struct parked *(*park)(struct node *node, fuse_req_t req);
	/* st_size, and whether that is known (node.h). */
	uint64_t (*size)(struct node *node);
	bool (*settled)(struct node *node);
	/* A handle is about to be closed by its user. */
	void (*close)(struct handle *handle);
	/* It is about to be this user's: 0 or a negative errno. */
	int (*chown)(struct node *node, uid_t uid);
};

enum control_flags {
	CONTROL_POLL = 1,     /* ERR|PRI from a change until re-read, as kernfs does */
	CONTROL_SETTABLE = 2, /* unlink resets it to its default and hides it */
	CONTROL_REPORTS = 4,  /* its store tells `error` about its outcome itself */
	CONTROL_VOLATILE = 8, /* its content moves by itself: the kernel asks at each stat(2) */
	CONTROL_UNSET = 16,  /* it has no value at first: its time is 0 then, older than any file */
	CONTROL_STEADY = 32, /* its size never changes: a read by sendfile(2) may wait, too */
	CONTROL_UNLISTED = 64, /* who knows its name finds it: reading it sleeps */
	CONTROL_COMMAND =
		128, /* an order, no setting: it keeps its name where it can't be unlinked */
};

struct control {
	const char *name;
	mode_t mode; /* permissions */
	unsigned int flags;
	int private; /* the callbacks': one of them may serve many rows */
	/*
	 * Where in the directory's object (which begins with struct directory) the node of this file
	 * is kept, for node_changed: offsetof(struct ..., ...). 0: its changes are told to nobody.
	 */
	size_t handle;
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

/*
 * The row of a directory's `error` file, for the sentences of what was refused in it. Directories
 * without one tell their parent's.
 */
#define CONTROL_ERROR_ROW                                                                          \
	{                                                                                          \
		.name = "error", .mode = 0444, .flags = CONTROL_POLL,                              \
		.handle = offsetof(struct directory, error_node), .show = control_show_error       \
	}
void control_show_error(struct node *node, FILE *out);

/* For a show: there is no memory for what it would have written, so who reads gets ENOMEM. */
void control_show_failed(struct node *node);

/* Gives a directory the nodes of a table, which stays the caller's. 0 or -ENOMEM. */
int control_populate(struct directory *directory, const struct control *table);

/* A file of CONTROL_UNSET has lost its value: its time is as at first. */
void control_unset(struct node *node);

/* Can it be set, and so unset by unlink(2)? Can it be written at all? */
bool control_is_settable(const struct node *row);
bool control_is_writable(const struct node *row);

/* Takes a row's name, and gives it back: it is hidden, or not. */
void control_hide(struct node *row);
void control_show(struct node *row);

/*
 * A settable row loses its name: it is reset, hidden, and another file when it is made again.
 */
void control_withdraw(struct node *row);

/* Gives the rows that can only be read the names back that they were robbed of. */
void control_show_read_only(struct directory *directory);

/* Renders a text file; *text is malloc'ed. 0 or -ENOMEM. */
int control_render(struct node *node, char **text, size_t *size);

/*
 * Stores a value, by write(2) or by a committed rename, and records the outcome in the directory's
 * `error` file. Returns 0, a negative errno, or STORE_PARKED.
 */
int control_store(struct node *node, const char *text, size_t size);

/*
 * Sets a directory's `error` file, or its parent's where it has none; "" clears it. about: the name in
 * the directory whose success ends it (control_accepted), or NULL.
 */
void control_set_error(struct directory *directory, const char *about, const char *sentence);

/*
 * An operation on this name was refused: `error` says so until the same name is accepted, or another is
 * refused. The directory is told, which sees to journal and log. The sentence must name what it is about.
 */
void control_refused(struct directory *directory, const char *about, const struct nefs_error *err);

/* An operation on this name went well: a sentence about it is gone from `error`. */
void control_accepted(struct directory *directory, const char *about);

/* One of the two, as err->code says; the file's name is put in front of the sentence. */
void control_outcome(struct directory *directory, const char *file, struct nefs_error *err);

/*
 * Answers a write that ops->write was given, and tells its outcome: the bytes taken or a negative errno, with
 * err as its sentence, if there is one.
 */
void control_end_write(
	fuse_req_t req, struct handle *handle, ssize_t result, struct nefs_error *err);

/* A text file's read. */
void control_read_text(fuse_req_t req, struct handle *handle, size_t size, off_t offset);

/*
 * For files whose text is made otherwise. A read from the beginning wants a new text; reads behind it
 * continue what that one saw, so that nobody gets half of one value and half of another.
 */
bool control_wants_text(const struct handle *handle, off_t offset);

/* Gives a handle its text, with a reference to it: the present content has been seen. */
void control_take_text(struct handle *handle, struct text *text);

/*
 * What the file tells is void: a text of more than VALUE_MAX bytes is taken from those who have it. Who was in the
 * middle of it gets ESTALE, and who was at its end its end: else each text that ever was could be kept.
 */
void control_lose_texts(struct node *node);

/* Answers a read from it. */
void control_reply_text(fuse_req_t req, const struct handle *handle, size_t size, off_t offset);

#endif
