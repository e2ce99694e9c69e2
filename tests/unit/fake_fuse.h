/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What libfuse would do with the answers of the tree. The functions of libfuse that nefs/ calls are
 * defined here, and so found before the library's: a request is an object that keeps its answer.
 */
#ifndef FAKE_FUSE_H
#define FAKE_FUSE_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <sys/statvfs.h>

/* Most bytes kept of an answer. */
#define FAKE_REPLY_MAX 8192

enum fake_reply {
	REPLY_NOTHING, /* not answered */
	REPLY_ERROR,
	REPLY_BUFFER,
	REPLY_WRITE,
	REPLY_ENTRY,
	REPLY_CREATE,
	REPLY_OPEN,
	REPLY_ATTRIBUTES,
	REPLY_POLL,
	REPLY_NONE,
	REPLY_STATFS,
};

/* A zeroed one is a request that is not answered, of a caller that goes on waiting. */
struct fuse_req {
	struct tree *tree;
	struct fuse_ctx context;
	bool interrupted; /* the caller was, before anything was done */
	bool gone;	  /* the answer comes too late: it is refused with ENOENT */

	unsigned int answers; /* how often it was answered: once is right */
	enum fake_reply reply;
	int error; /* of REPLY_ERROR, positive; 0 is success */
	size_t size;
	char data[FAKE_REPLY_MAX];
	struct fuse_entry_param entry;
	struct fuse_file_info info;
	struct stat attributes;
	struct statvfs statfs;
	double timeout;
	unsigned int events;

	fuse_interrupt_func_t on_interrupt;
	void *interrupt_data;
};

struct fuse_pollhandle {
	unsigned int notified, destroyed;
};

struct fuse_session {
	unsigned int invalidated; /* inodes told */
	fuse_ino_t last;	  /* the newest of them */
};

/* Its caller gets a signal now: what waits is told. */
void fake_interrupt(struct fuse_req *req);

#endif
