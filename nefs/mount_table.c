/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mount_table.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* In place: the kernel writes a space, a tab, a newline, a backslash and a hash as \ooo. */
static void unescape(char *text)
{
	char *out = text;

	for (const char *in = text; *in; out++) {
		if (in[0] == '\\' && is_octal(in[1]) && is_octal(in[2]) && is_octal(in[3])) {
			*out = (char)((in[1] - '0') << 6 | (in[2] - '0') << 3 | (in[3] - '0'));
			in += 4;
		} else {
			*out = *in++;
		}
	}
	*out = '\0';
}

/* "ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - TYPE SOURCE ...", proc_pid_mountinfo(5) */
static bool parse(const char *line, struct mount_entry *entry)
{
	unsigned int major, minor;
	const char *type = strstr(line, " - ");

	if (!type || sscanf(line, "%u %u %u:%u %*s %ms", &entry->id, &entry->parent, &major, &minor,
			     &entry->point) != 5)
		return false;
	if (sscanf(type, " - %ms", &entry->type) != 1)
		return false;
	entry->device = makedev(major, minor);
	unescape(entry->point);
	return true;
}

void mount_entry_release(struct mount_entry *entry)
{
	free(entry->point);
	free(entry->type);
	*entry = (struct mount_entry){ 0 };
}

bool mount_table_next(FILE *table, struct mount_entry *entry)
{
	NEFS_AUTO_FREE char *line = NULL;
	size_t room = 0;

	mount_entry_release(entry);
	while (getline(&line, &room, table) >= 0) {
		if (parse(line, entry))
			return true;
		mount_entry_release(entry);
	}
	return false;
}

static FILE *open_table(pid_t pid)
{
	char path[64];

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
	return fopen(pid ? path : "/proc/self/mountinfo", "re");
}

FILE *mount_table_open(void)
{
	return open_table(0);
}

int mount_device(const char *path, dev_t *device)
{
	struct statx status;

	/* The number is the kernel's: a filesystem that does not answer is not asked. */
	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, 0, &status))
		return -errno;
	*device = makedev(status.stx_dev_major, status.stx_dev_minor);
	return 0;
}

bool mount_table_find(dev_t device, const char *point, bool any_point, struct mount_entry *entry)
{
	FILE *table = mount_table_open();
	struct mount_entry next = { 0 };
	bool exact = false;

	*entry = next;
	while (table && mount_table_next(table, &next)) {
		bool here = next.device == device && strcmp(next.point, point) == 0;

		if (here || (any_point && !exact && next.device == device)) {
			mount_entry_release(entry);
			*entry = next;
			next = (struct mount_entry){ 0 };
			exact = here;
		}
	}
	mount_entry_release(&next);
	if (table)
		fclose(table);
	return entry->point;
}

bool mount_table_has(unsigned int id, const char *type, const char *point)
{
	FILE *table = mount_table_open();
	struct mount_entry next = { 0 };
	bool found = false;

	while (table && !found && mount_table_next(table, &next))
		found = next.id == id && strcmp(next.type, type) == 0 &&
			strcmp(next.point, point) == 0;
	mount_entry_release(&next);
	if (table)
		fclose(table);
	return found;
}

bool mount_table_sees(pid_t pid, dev_t device)
{
	FILE *table = open_table(pid);
	struct mount_entry next = { 0 };
	bool found = false;

	while (table && !found && mount_table_next(table, &next))
		found = next.device == device;
	mount_entry_release(&next);
	if (table)
		fclose(table);
	return found;
}
