/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mount table of any bytes; and one line with a mount point of these bytes, which must come out as it went
 * in, with the escapes that the kernel writes.
 */
#include "fuzz.h"
#include "mount_table.h"
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static FILE *table_of(const void *data, size_t size)
{
	FILE *table = fmemopen((void *)data, size, "r");

	must(table);
	return table;
}

static void read_table(const uint8_t *data, size_t size)
{
	struct mount_entry entry = { 0 };
	size_t lines = 1, entries = 0, length = 0;
	FILE *table;

	if (size == 0)
		return;
	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	table = table_of(data, size);
	while (mount_table_next(table, &entry)) {
		must(entry.point && entry.type && *entry.type);
		/* Of a line that no kernel writes both may be the same word. */
		length += strlen(entry.point);
		must(++entries <= lines && length <= size && strlen(entry.type) < size);
	}
	must(!entry.point && !entry.type);
	fclose(table);
}

/* Read by the piece, as a process does that may not allocate: the device of a line, whatever stands before it. */
static void look_for(const void *data, size_t size, dev_t device, int found)
{
	const int table = memfd_create("table", MFD_CLOEXEC);

	must(table >= 0 && write(table, data, size) == (ssize_t)size);
	must(found < 0 ? mount_table_lists(table, device) >= 0
		       : mount_table_lists(table, device) == found);
	close(table);
}

/* As the kernel escapes what would end a word, or begin an escape. */
static void print_escaped(FILE *out, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (strchr(" \t\n\\#\v\f\r", data[i]))
			fprintf(out, "\\%03o", data[i]);
		else
			fputc(data[i], out);
	}
}

/* A path has no NUL in it. */
static void read_point(const uint8_t *data, size_t size)
{
	struct mount_entry entry = { 0 };
	char *line = NULL;
	size_t length;
	FILE *out = open_memstream(&line, &length), *table;

	must(out);
	fputs("36 35 98:0 /root /", out);
	print_escaped(out, data, size);
	fputs(" rw,noatime master:1 - ext4 /dev/a rw\n", out);
	must(fclose(out) == 0);
	table = table_of(line, length);
	must(mount_table_next(table, &entry));
	must(entry.id == 36 && entry.parent == 35 && entry.device == makedev(98, 0));
	must(strlen(entry.point) == size + 1 && entry.point[0] == '/');
	must(memcmp(entry.point + 1, data, size) == 0);
	must(strcmp(entry.type, "ext4") == 0);
	must(!mount_table_next(table, &entry));
	fclose(table);
	look_for(line, length, makedev(98, 0), 1);
	look_for(line, length, makedev(98, 1), 0);
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_table(data, size);
	look_for(data, size, makedev(98, 0), -1);
	read_point(data, strnlen((const char *)data, size));
	return 0;
}
