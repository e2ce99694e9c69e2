/* SPDX-License-Identifier: GPL-2.0-or-later */
/* I/O of files of the spool whose end is waited for: by its event loop, or without workers. */
#ifndef SPOOL_NOW_H
#define SPOOL_NOW_H

#include "spool_job.h"

ssize_t spool_write_now(struct spool_file *file, const char *data, size_t size, off_t offset,
	struct nefs_error *err);
int spool_resize_now(struct spool_file *file, uint64_t size, struct nefs_error *err);
int spool_allocate_now(
	struct spool_file *file, uint64_t size, bool keeps_size, struct nefs_error *err);
int spool_punch_now(
	struct spool_file *file, uint64_t offset, uint64_t length, struct nefs_error *err);

#endif
