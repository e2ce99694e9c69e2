/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The names in a directory: its rows (control.h), and its entries, which are directories and staged
 * files. An entry's node owns its name. The files of logs have names of their own (struct fixed_name).
 * Loop thread.
 */
#ifndef NEFS_DIRECTORY_H
#define NEFS_DIRECTORY_H

#include "node.h"

/* Longest path of a file, relative to the mount, with its NUL: root, enclave, one below, file. */
#define DIRECTORY_PATH_MAX 1024

/*
 * Gives a node a name in a directory that has none of the kind; a directory gets its parent by it.
 * 0 or -ENOMEM.
 */
int directory_add(struct directory *directory, struct node *node, const char *name);

/*
 * In two steps, for what must not fail half way: room for one entry more and a copy of its name, which is the
 * caller's to give to one of the two below or to free; NULL: out of memory. Nothing may be added in between.
 */
char *directory_prepare(struct directory *directory, const char *name);
void directory_add_prepared(struct directory *directory, struct node *node, char *name);

/* An entry gets another name, which must be free, perhaps in another directory if it is a file. */
void directory_move_prepared(struct directory *to, struct node *node, char *name);

/* Another name in the same directory. 0 or -ENOMEM: the old one stays. */
int directory_rename(struct directory *directory, struct node *node, const char *name);

/* Takes an entry's name. */
void directory_remove(struct directory *directory, struct node *node);

/* The row of this name, hidden or not; NULL if the table has no such row. */
struct node *directory_row(struct directory *directory, const char *name);

/* What a name stands for, what is hidden excepted; NULL if nothing. */
struct node *directory_find(struct directory *directory, const char *name);

/* The first entry with a st_ino above this one, in their order; NULL: none. */
struct node *directory_next(const struct directory *directory, uint64_t ino);

/*
 * Writes the path of a node's file, or of a directory, relative to the mount ("web/state"; "" for the
 * root). False if it has none any more.
 */
bool directory_path(const struct node *node, char path[DIRECTORY_PATH_MAX]);

/*
 * Its name is gone: it leaves its parent, its files answer ENODEV from now on, and who waits on them
 * is woken. Gives back the references of the name and of the kernel's memory: it is gone now, unless a file
 * of it is open, or it is referred to otherwise.
 */
void directory_removed(struct directory *directory);

#endif
