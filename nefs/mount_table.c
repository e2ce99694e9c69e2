/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mount_table.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

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

FILE *mount_table_open(void)
{
	return fopen("/proc/self/mountinfo", "re");
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

/* "ID PARENT MAJOR:MINOR ...", or the beginning of it */
static bool is_of(const char *line, dev_t device)
{
	unsigned int major, minor;

	return sscanf(line, "%*u %*u %u:%u ", &major, &minor) == 2 &&
	       makedev(major, minor) == device;
}

int mount_table_lists(int table, dev_t device)
{
	char piece[4096], line[64];
	size_t length = 0;
	ssize_t got = lseek(table, 0, SEEK_SET);

	while (got >= 0 && (got = read(table, piece, sizeof(piece))) > 0) {
		for (ssize_t i = 0; i < got; i++) {
			if (piece[i] != '\n') {
				/* What is looked for is at its beginning. */
				if (length < sizeof(line) - 1)
					line[length++] = piece[i];
				continue;
			}
			line[length] = '\0';
			length = 0;
			if (is_of(line, device))
				return 1;
		}
	}
	return got < 0 ? -errno : 0;
}

bool mount_table_sees(pid_t pid, dev_t device)
{
	NEFS_AUTO_CLOSE int table = -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
	table = open(path, O_RDONLY | O_CLOEXEC);
	return table >= 0 && mount_table_lists(table, device) > 0;
}
