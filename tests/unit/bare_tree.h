/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A tree with nothing in it but what a test puts there, and requests that end in fake_fuse.h. */
#ifndef BARE_TREE_H
#define BARE_TREE_H

#include "control.h"
#include "directory.h"
#include "fake_fuse.h"
#include "spool.h"
#include "staging.h"
#include "temporary.h"
#include "tree.h"

struct bare_tree {
	struct tree tree;
	struct fuse_session session;
	struct spool spool;
	char spool_path[TEMPORARY_MAX];
	unsigned int made, destroyed; /* directories; the root is one */
};

struct bare_directory {
	struct directory directory; /* first */
	struct bare_tree *bare;
	struct staging staging;
	struct node *kept[4]; /* for the handles of a table's rows */
	bool busy;	      /* rmdir and unlink are refused with EBUSY */
	unsigned int dropped; /* calls of drop_requests */
	unsigned int refusals;
	uid_t refused_to; /* the last of them */
};

/* The handle of a row: one of kept. */
#define BARE_HANDLE(nth) offsetof(struct bare_directory, kept[nth])

/* A tree with a root of these rows (NULL: none), and a spool without workers. */
void bare_tree_set_up(struct bare_tree *bare, const struct control *rows);

/* Frees it, and checks that each directory was destroyed once. */
void bare_tree_tear_down(struct bare_tree *bare);

/*
 * A directory with a name in another (NULL: with none, and the caller has its reference). Files can be
 * staged in it. rows: NULL for none.
 */
struct bare_directory *bare_directory_new(struct bare_tree *bare, struct directory *parent,
	const char *name, const struct control *rows);

/* A request to the tree, by the user 1000 of the group 100. */
struct fuse_req bare_request(struct bare_tree *bare);

/* The last operation, whose request is the test's `req`, was answered once: with this error; so. */
#define CHECK_ERROR(expected)                                                                      \
	do {                                                                                       \
		CU_ASSERT_EQUAL(req.answers, 1);                                                   \
		CU_ASSERT_EQUAL(req.reply, REPLY_ERROR);                                           \
		CU_ASSERT_EQUAL(req.error, (expected));                                            \
	} while (0)

#define CHECK_REPLY(expected)                                                                      \
	do {                                                                                       \
		CU_ASSERT_EQUAL(req.answers, 1);                                                   \
		CU_ASSERT_EQUAL(req.reply, (expected));                                            \
	} while (0)

#endif
