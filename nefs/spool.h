/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files in the spool directory: images and staged files. They have no names there, so that
 * nothing is left behind however the daemon ends. Loop thread (the fd may be read elsewhere).
 *
 * To close a large file gives back its pages or blocks, some 100 ms for each GiB: a worker does that.
 */
#ifndef NEFS_SPOOL_H
#define NEFS_SPOOL_H

#include <fuse_lowlevel.h>
#include <nefs/error.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

/* The largest file: far above any EIF, far below what makes arithmetic wrap. */
#define SPOOL_FILE_MAX (1ULL << 40)

struct workers;

LIST_HEAD(closing_list, closing);

struct spool {
	int directory;		     /* fd */
	struct workers *workers;     /* that close large files; NULL: the caller of unref does */
	struct closing_list closing; /* what they have not said to be closed yet */
};

struct spool_file {
	struct spool *spool;
	int fd;
	uint64_t size;
	unsigned int refs;
};

/*
 * Opens the spool directory, made with mode 0700 if it isn't there, locks it (claim.h) and tries to
 * write. The workers must outlast every file's last reference. 0 or a negative errno (EBUSY: another
 * daemon's), and then directory is -1. Blocks: before the loop runs.
 */
int spool_open(
	struct spool *spool, const char *path, struct workers *workers, struct nefs_error *err);

/*
 * Lets another daemon have the directory, too. `remove` (NULL: it stays) is its path, to be removed with the
 * directory above it, as far as they are empty and nobody else's by now: no file can be made in it then.
 */
void spool_give_up(struct spool *spool, const char *remove);
void spool_close(struct spool *spool);

/* An empty file with one reference; ENOSPC, EMFILE, ENOMEM, ... with a sentence. */
int spool_file_new(struct spool *spool, struct spool_file **file, struct nefs_error *err);
void spool_file_ref(struct spool_file *file);
void spool_file_unref(struct spool_file *file); /* NULL is allowed */

/*
 * Gives back what a file holds, though somebody still reads it, for whom it ends here. Its references
 * stay.
 */
void spool_file_abandon(struct spool_file *file);

/*
 * pwrite(2), pread(2), ftruncate(2); results or negative errnos. A write that finds no room has what is
 * given up closed first, whose room the caller counts on.
 */
ssize_t spool_write(struct spool_file *file, const char *data, size_t size, off_t offset,
	struct nefs_error *err);
ssize_t spool_read(const struct spool_file *file, char *data, size_t size, off_t offset);
int spool_truncate(struct spool_file *file, uint64_t size, struct nefs_error *err);

/* Makes zeros of these bytes, as far as there are any, and gives their room back: 0 or a negative errno. */
int spool_punch(struct spool_file *file, uint64_t offset, uint64_t length);

/* Is there room for so many bytes more, now? 0, ENOSPC or another negative errno. Nothing is set aside. */
int spool_check_room(const struct spool *spool, uint64_t bytes);

/* Answers READ with what the file holds there. */
void spool_reply(fuse_req_t req, const struct spool_file *file, size_t size, off_t offset);

#endif
