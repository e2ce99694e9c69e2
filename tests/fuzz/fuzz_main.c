/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Replays files through a fuzz target, without libFuzzer: each argument is a file, or a folder of
 * files. Exits 1 if nothing was replayed.
 */
#include "fuzz.h"
#include <dirent.h>
#include <errno.h>

/* Largest file that is replayed. */
#define INPUT_MAX (16UL << 20)

static unsigned int replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *room = malloc(INPUT_MAX), *exact;
	size_t size;

	if (!file || !room) {
		fprintf(stderr, "cannot open %s: %s\n", path, strerror(errno));
		exit(EXIT_FAILURE);
	}
	size = fread(room, 1, INPUT_MAX, file);
	fclose(file);
	/* A block of just this size: ASan sees the first byte behind it. */
	exact = malloc(size > 0 ? size : 1);
	if (!exact)
		exit(EXIT_FAILURE);
	memcpy(exact, room, size);
	free(room);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	return 1;
}

static unsigned int replay(const char *path)
{
	DIR *directory = opendir(path);
	unsigned int count = 0;
	struct dirent *entry;

	if (!directory)
		return replay_file(path);
	while ((entry = readdir(directory))) {
		char inner[4096];

		if (entry->d_name[0] == '.')
			continue;
		if (snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name) >=
			(int)sizeof(inner))
			exit(EXIT_FAILURE);
		count += replay_file(inner);
	}
	closedir(directory);
	return count;
}

int main(int argc, char **argv)
{
	unsigned int count = 0;

	for (int i = 1; i < argc; i++)
		count += replay(argv[i]);
	printf("%u inputs replayed\n", count);
	return count > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
