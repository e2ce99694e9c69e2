/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes a file to several places in turn, and tells how fast:
 *
 *	bulk BLOCK ROUNDS SOURCE TARGET TARGET
 *
 * BLOCK is the size of a write in bytes. Each TARGET is made anew and removed afterwards, and neither
 * is in the time. A line: the medians in GB/s, and that of the rounds' ratios of the first to the
 * second.
 */
#include "samples.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Seconds that the writes took; ends the program if one fails. */
static double write_all(const char *path, const char *data, size_t size, size_t block)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	double begin = now_usec(), took;

	for (size_t done = 0; fd >= 0 && done < size; done += block) {
		size_t part = size - done < block ? size - done : block;

		if (write(fd, data + done, part) != (ssize_t)part) {
			close(fd);
			fd = -1;
		}
	}
	took = now_usec() - begin;
	if (fd < 0 || close(fd) || unlink(path)) {
		perror(path);
		exit(1);
	}
	return took / 1e6;
}

int main(int argc, char **argv)
{
	struct samples speeds[2] = { 0 }, ratios = { 0 };
	size_t block = argc == 6 ? strtoul(argv[1], NULL, 10) : 0;
	int rounds = argc == 6 ? atoi(argv[2]) : 0, fd;
	struct stat status;
	char *data;

	if (!block || rounds < 1)
		return 2;
	fd = open(argv[3], O_RDONLY);
	if (fd < 0 || fstat(fd, &status)) {
		perror(argv[3]);
		return 1;
	}
	data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (data == MAP_FAILED) {
		perror(argv[3]);
		return 1;
	}
	/* The first round only warms up. */
	for (int round = -1; round < rounds; round++) {
		double speed[2];

		for (int i = 0; i < 2; i++) {
			int target = (round + i) & 1;

			speed[target] =
				(double)status.st_size / 1e9 /
				write_all(argv[4 + target], data, (size_t)status.st_size, block);
		}
		if (round < 0)
			continue;
		samples_add(&speeds[0], speed[0]);
		samples_add(&speeds[1], speed[1]);
		samples_add(&ratios, speed[0] / speed[1]);
	}
	printf("%.3f %.3f %.3f\n", samples_percentile(&speeds[0], 50),
		samples_percentile(&speeds[1], 50), samples_percentile(&ratios, 50));
	return 0;
}
