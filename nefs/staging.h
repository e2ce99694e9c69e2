/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What configuration tools make next to the control files before they rename it over one: staged
 * files and *.lock directories (facts/conventions.md §3). Loop thread.
 */
#ifndef NEFS_STAGING_H
#define NEFS_STAGING_H

#include "node.h"
#include "spool.h"
#include <limits.h>

#define STAGED_COUNT_MAX 64

LIST_HEAD(staged_list, staged);

struct enclave;

struct staged {
	struct node node;	     /* first */
	LIST_ENTRY(staged) siblings; /* in enclave->staged */
	LIST_ENTRY(staged) known;    /* in enclave->known */
	bool linked;		     /* it has a name */
	char name[NAME_MAX + 1];
	struct spool_file *file; /* NULL: a lock directory */
};

struct staged *staged_find(struct enclave *enclave, const char *name);

/* Makes one. ENOSPC beyond STAGED_COUNT_MAX, EINVAL or ENAMETOOLONG for the name, ENOMEM. */
int staged_create(struct enclave *enclave, const char *name, bool lock, mode_t mode, uid_t uid,
	gid_t gid, struct staged **staged, struct nefs_error *err);

/* Takes its name; it goes when nothing refers to it any more. */
void staged_unlink(struct staged *staged);

/* Takes the names of all: rmdir. */
void staged_unlink_all(struct enclave *enclave);

/* Frees the node if it has no name and nobody knows it. */
void staged_collect(struct node *node);

struct staged *staged_of(struct node *node);
uint64_t staged_size(const struct node *node);

#endif
