/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files in the spool directory: images and staged files. They have no names there, so that
 * nothing is left behind however the daemon ends. Loop thread (the fd may be read elsewhere).
 */
#ifndef NEFS_SPOOL_H
#define NEFS_SPOOL_H

#include <nefs/error.h>
#include <stdint.h>
#include <sys/types.h>

/* The largest file: far above any EIF, far below what makes arithmetic wrap. */
#define SPOOL_FILE_MAX (1ULL << 40)

struct spool_file {
	int fd;
	uint64_t size;
	unsigned int refs;
};

/* Opens the spool directory, made with mode 0700 if it isn't there. Returns its fd. */
int spool_open(const char *path, struct nefs_error *err);

/* An empty file with one reference; NULL with a sentence (ENOSPC, EMFILE, ...). */
struct spool_file *spool_file_new(int spool, struct nefs_error *err);
void spool_file_ref(struct spool_file *file);
void spool_file_unref(struct spool_file *file); /* NULL is allowed */

/* pwrite(2), pread(2), ftruncate(2); results or negative errnos. */
ssize_t spool_write(struct spool_file *file, const char *data, size_t size, off_t offset,
	struct nefs_error *err);
ssize_t spool_read(const struct spool_file *file, char *data, size_t size, off_t offset);
int spool_truncate(struct spool_file *file, uint64_t size, struct nefs_error *err);

#endif
