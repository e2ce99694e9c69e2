/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "output.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* How many random names are tried. */
#define NAME_TRIES 100

static int failed_with(struct nefs_error *err, const char *what, const char *name)
{
	return nefs_error_set(err, errno, "cannot %s %s: %s", what, name, strerror(errno));
}

/* A name in the target's directory that no other file is likely to have. */
static int choose_temporary(struct eif_output *output, struct nefs_error *err)
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return failed_with(err, "get random bytes for", "a temporary name");
	snprintf(output->temporary, sizeof(output->temporary), ".%.200s.%016llx", output->name,
		(unsigned long long)random);
	return 0;
}

static int open_named(struct eif_output *output, mode_t mode, struct nefs_error *err)
{
	for (int i = 0; i < NAME_TRIES; i++) {
		int failed = choose_temporary(output, err);

		if (failed)
			return failed;
		output->fd = openat(output->directory, output->temporary,
			O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, mode);
		if (output->fd >= 0)
			return 0;
		if (errno != EEXIST)
			break;
	}
	output->temporary[0] = '\0';
	return failed_with(err, "create a file beside", output->name);
}

/* The name by which an open file without a name can be reached. */
static void proc_name(const struct eif_output *output, char name[64])
{
	snprintf(name, 64, "/proc/self/fd/%d", output->fd);
}

static int open_file(struct eif_output *output, mode_t mode, struct nefs_error *err)
{
	char self[64];

	output->fd = openat(output->directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
	if (output->fd < 0) {
		if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
			return failed_with(err, "create a file beside", output->name);
		return open_named(output, mode, err);
	}
	/* Giving it a name goes by way of /proc, which a chroot need not have. */
	proc_name(output, self);
	if (access(self, F_OK) == 0)
		return 0;
	close(output->fd);
	output->fd = -1;
	return open_named(output, mode, err);
}

int eif_output_open(struct eif_output *output, const char *path, mode_t mode, bool follow,
	struct nefs_error *err)
{
	NEFS_AUTO_FREE char *real = follow ? realpath(path, NULL) : NULL;
	NEFS_AUTO_FREE char *directory = NULL;
	const char *slash, *name;
	struct stat st;
	int failed;

	*output = (struct eif_output)EIF_OUTPUT_INIT;
	if (real)
		path = real;
	slash = strrchr(path, '/');
	name = slash ? slash + 1 : path;
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return nefs_error_set(err, EINVAL, "%s is a directory, not a file", path);
	if (strlen(name) > NAME_MAX)
		return nefs_error_set(err, ENAMETOOLONG,
			"the file name has %zu bytes; it may have at most %d", strlen(name),
			NAME_MAX);
	memcpy(output->name, name, strlen(name) + 1);
	directory = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	if (!directory)
		return nefs_error_set(err, ENOMEM, "out of memory for a file name");
	output->directory = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (output->directory < 0)
		return failed_with(err, "open the directory", directory);
	/* Replacing /dev/null by an image would be a long night. */
	if (fstatat(output->directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)) {
		failed = nefs_error_set(
			err, EINVAL, "%s exists and is no regular file; give another name", path);
		goto out;
	}
	failed = open_file(output, mode, err);
out:
	if (failed)
		eif_output_discard(output);
	return failed;
}

/* Names the nameless file. */
static int link_as(struct eif_output *output, const char *name)
{
	char self[64];

	proc_name(output, self);
	return linkat(AT_FDCWD, self, output->directory, name, AT_SYMLINK_FOLLOW);
}

int eif_output_commit(struct eif_output *output, bool replace, struct nefs_error *err)
{
	int failed;

	if (fsync(output->fd) < 0)
		return failed_with(err, "write to disk", output->name);
	if (!output->temporary[0] && !replace) {
		if (link_as(output, output->name) < 0)
			return failed_with(err, "create", output->name);
		eif_output_discard(output);
		return 0;
	}
	if (!output->temporary[0]) {
		failed = choose_temporary(output, err);
		if (failed)
			return failed;
		if (link_as(output, output->temporary) < 0) {
			failed = failed_with(err, "create a file beside", output->name);
			output->temporary[0] = '\0';
			return failed;
		}
	}
	if (renameat2(output->directory, output->temporary, output->directory, output->name,
		    replace ? 0 : RENAME_NOREPLACE) < 0)
		return failed_with(err, "create", output->name);
	output->temporary[0] = '\0';
	eif_output_discard(output);
	return 0;
}

void eif_output_discard(struct eif_output *output)
{
	if (output->temporary[0])
		unlinkat(output->directory, output->temporary, 0);
	output->temporary[0] = '\0';
	nefs_cleanup_close(&output->fd);
	output->fd = -1;
	nefs_cleanup_close(&output->directory);
	output->directory = -1;
}
