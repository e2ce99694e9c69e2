/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text that grows: a file that can be read to its end, and the one before it. When the file is full it
 * is called NAME.1, with its inode, and a new one begins under its name, as the files of a log do: who
 * has it open reads on to its end and finds the next one under the name.
 *
 * Positions count from the first byte that was ever written, so that a stream (follow.h) goes on over
 * rotations. Loop thread.
 */
#ifndef NEFS_TEXT_LOG_H
#define NEFS_TEXT_LOG_H

#include "node.h"
#include <stddef.h>

/* Files without a name whose text is kept for those who have them open. Older ones answer ESTALE. */
#define TEXT_LOG_OPEN_MAX 8

/* A file may have so much whatever its owner has already, and so has room for any record. Bytes. */
#define TEXT_LOG_FREE 8192

struct text_log_limits {
	size_t bytes;	/* most of one file */
	size_t records; /* most of one file; 0: as many as fit */
	/* Its memory is taken at once, and does not grow by what happens. */
	bool reserved;
};

/* One file of a log, which is without a name once two came after it. */
struct text_segment {
	struct node node; /* first */
	LIST_ENTRY(text_segment) siblings;
	struct text_log *log;
	uint64_t base; /* position of its first byte */
	size_t size, room, records;
	char *text; /* NULL: nothing written yet, or given up */
};

LIST_HEAD(text_segment_list, text_segment);

struct text_log {
	LIST_ENTRY(text_log) siblings; /* in its directory */
	struct directory *directory;
	const struct text_log_limits *limits;
	struct fixed_name name, older_name;   /* "journal", "journal.1" */
	struct text_segment *current, *older; /* those with these names; older may be NULL */
	struct text_segment first;	      /* the first file, which most logs are content with */
	struct text_segment_list segments;    /* all, the newest first, until they are freed */
	bool moved;    /* the notifier's rename(2) was answered, its mknod(2) was not */
	uint64_t told; /* the notifier's errand for its last growth; 0: none */
	struct quota_user *
		user; /* for whom the memory is counted (QUOTA_TEXT); NULL: it is reserved, or nobody's */
	struct node *stream; /* shown with its mode and owner; or NULL */
	char *spare;	     /* reserved: the memory of the next file; or NULL */
	struct text_segment_list spare_segments; /* reserved: the next files themselves */
	unsigned int spare_count;		 /* of these */
};

/*
 * Makes an empty one with its first file, of the directory's owner. Where that one's logs take more than they may
 * (QUOTA_TEXT) its files are full earlier, and the text goes of those that are open without a name. The strings and limits stay the
 * caller's; stream is the row of its stream, or NULL. 0 or -ENOMEM; in either case text_log_release ends it.
 */
int text_log_init(struct text_log *log, struct directory *directory,
	const struct text_log_limits *limits, const char *name, const char *older_name, mode_t mode,
	struct node *stream);

/*
 * Appends a record, of limits->bytes at most, which stays in one piece, and tells who waits for it. Out of
 * memory: the record is lost, false.
 */
bool text_log_append(struct text_log *log, const char *record, size_t size);

/*
 * Appends what is no record: a full file ends behind a newline if there is one to end behind. Without
 * memory for it the rest is lost.
 */
void text_log_write(struct text_log *log, const char *data, size_t size);

/* Begins a new file, if there is anything in this one. */
void text_log_rotate(struct text_log *log);

/* Position of the oldest byte that still has a name, and of the byte to come. */
uint64_t text_log_oldest(const struct text_log *log);
uint64_t text_log_end(const struct text_log *log);

/* The bytes from a position on, as many as lie in one file; 0 at the end and before the oldest. */
size_t text_log_peek(const struct text_log *log, uint64_t position, const char **data);

/* Is this name one of its files', be there such a file or not? */
bool text_log_owns(const struct directory *directory, const char *name);

/* Does this entry of a directory belong to a log? */
bool text_log_is(const struct node *node);

/*
 * For the notifier, which repeats a rotation (notifier.h): what it shall see under a name that stands for
 * `found` by now; whether a rename(2) is the one that has happened; the file that it shall have made, or NULL.
 */
struct node *text_log_before(struct directory *directory, const char *name, struct node *found);
bool text_log_moved(struct directory *directory, const char *name, const char *new_name);
struct node *text_log_made(struct directory *directory, const char *name);

/* It is this user's from now on, with what it takes: 0 or -ENOMEM, and nothing has changed. */
int text_log_chown(struct text_log *log, uid_t uid);

/* rmdir: takes the names of its files. They go when nobody has them open any more. */
void text_log_unlink(struct text_log *log);

/* What was unlinked is shown again. */
void text_log_reveal(struct text_log *log);

/* Wakes the pollers of its files, those without a name included. */
void text_log_drop_requests(struct text_log *log);

/* Frees all of it, whatever the kernel still knows of its files. */
void text_log_release(struct text_log *log);

#endif
