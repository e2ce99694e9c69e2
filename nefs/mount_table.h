/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is mounted where, as /proc/PID/mountinfo has it. Nothing here sends a request to a filesystem. */
#ifndef NEFS_MOUNT_TABLE_H
#define NEFS_MOUNT_TABLE_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

/* One line of the table. Strings are the entry's, and unescaped. */
struct mount_entry {
	unsigned int id, parent;
	dev_t device;
	char *point;
	char *type;
};

/* Reads the next line; false at the end. The entry must be released, or given to the next call. */
bool mount_table_next(FILE *table, struct mount_entry *entry);
void mount_entry_release(struct mount_entry *entry);

/* Our own table, to be closed by fclose(3); NULL without /proc. */
FILE *mount_table_open(void);

/* The device number of the filesystem that path leads to. 0 or a negative errno. */
int mount_device(const char *path, dev_t *device);

/*
 * The mount of a filesystem in our table: the last one on `point`, or with any_point one that lies elsewhere
 * if none is there. False if there is none, and then entry holds nothing.
 */
bool mount_table_find(dev_t device, const char *point, bool any_point, struct mount_entry *entry);

/* Is a mount with that id, and of that type, in our table, and on that point? */
bool mount_table_has(unsigned int id, const char *type, const char *point);

/*
 * Has a table, an fd of /proc/PID/mountinfo, a mount of that filesystem? 1, 0, or a negative errno. From its
 * beginning, whatever was read of it before, and without memory: it is asked when there may be none.
 */
int mount_table_lists(int table, dev_t device);

/* Does another process see a mount of that filesystem? */
bool mount_table_sees(pid_t pid, dev_t device);

#endif
