/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "output.h"
#include "nameless.h"
#include "target.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <nefs/io.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* How many random names are tried. */
#define NAME_TRIES 100

/* Permissions of a file that replaces none, less the umask. */
#define NEW_FILE_MODE 0666

#define COPY_SIZE (256U << 10)

static int failed_with(struct nefs_error *err, const char *what, const char *name)
{
	return nefs_error_set(err, errno, "cannot %s %s: %s", what, name, strerror(errno));
}

/* A file is never written over: a new one is made beside it. */
static int cannot_create(const struct eif_output *output, struct nefs_error *err)
{
	const bool closed = errno == EACCES || errno == EPERM || errno == EROFS;

	return nefs_error_set(err, errno, "cannot create a file in the directory of %s: %s%s",
		output->name, strerror(errno),
		closed ? "; choose a directory that can be written: a file is replaced there, not "
			 "written over"
		       : "");
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

static int open_named(struct eif_output *output, struct nefs_error *err)
{
	for (int i = 0; i < NAME_TRIES; i++) {
		int failed = choose_temporary(output, err);

		if (failed)
			return failed;
		output->fd = openat(output->directory, output->temporary,
			O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, NEW_FILE_MODE);
		if (output->fd >= 0)
			return 0;
		if (errno != EEXIST)
			break;
	}
	output->temporary[0] = '\0';
	return cannot_create(output, err);
}

/* The name by which an open file without a name can be reached. */
static void proc_name(const struct eif_output *output, char name[64])
{
	snprintf(name, 64, "/proc/self/fd/%d", output->fd);
}

static int open_file(struct eif_output *output, struct nefs_error *err)
{
	char self[64];

	output->fd = openat(output->directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, NEW_FILE_MODE);
	if (output->fd < 0) {
		if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
			return cannot_create(output, err);
		return open_named(output, err);
	}
	/* Giving it a name goes by way of /proc, which a chroot need not have. */
	proc_name(output, self);
	if (access(self, F_OK) == 0)
		return 0;
	close(output->fd);
	output->fd = -1;
	return open_named(output, err);
}

/*
 * What takes a file's place belongs to whom that belonged. Only root can give a file away; for others it
 * stays theirs, as with any rewrite, and then runs for nobody as its owner.
 */
static int keep_owner(const struct eif_output *output, struct nefs_error *err)
{
	const struct stat *old = &output->old;
	mode_t mode = old->st_mode & 07777;

	if (fchown(output->fd, old->st_uid, old->st_gid) < 0) {
		if (errno != EPERM)
			return failed_with(err, "keep the owner of", output->name);
		mode &= (mode_t) ~(S_ISUID | S_ISGID);
		if (fchown(output->fd, (uid_t)-1, old->st_gid) < 0 && errno != EPERM)
			return failed_with(err, "keep the group of", output->name);
	}
	if (fchmod(output->fd, mode) < 0)
		return failed_with(err, "keep the permissions of", output->name);
	return 0;
}

static int begin(struct eif_output *output, struct nefs_error *err)
{
	int failed = open_file(output, err);

	if (!failed && output->replaces)
		failed = keep_owner(output, err);
	if (failed)
		eif_output_discard(output);
	return failed;
}

int eif_output_open(struct eif_output *output, const char *path, struct nefs_error *err)
{
	struct target target;
	int failed;

	*output = (struct eif_output)EIF_OUTPUT_INIT;
	failed = target_find(path, &target, err);
	if (failed)
		return failed;
	if (target.standard_output) {
		output->to_stdout = true;
		output->fd = nameless_open(err);
		return output->fd < 0 ? output->fd : 0;
	}
	output->directory = target.directory;
	memcpy(output->name, target.name, sizeof(output->name));
	output->replaces = target.exists;
	output->old = target.st;
	return begin(output, err);
}

int eif_output_open_in(
	struct eif_output *output, int directory, const char *name, struct nefs_error *err)
{
	struct stat st;

	*output = (struct eif_output)EIF_OUTPUT_INIT;
	snprintf(output->name, sizeof(output->name), "%s", name);
	output->directory = fcntl(directory, F_DUPFD_CLOEXEC, 3);
	if (output->directory < 0)
		return failed_with(err, "open the directory of", name);
	/* Replacing a device or a pipe by a file would be a long night. */
	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode) &&
		!S_ISLNK(st.st_mode)) {
		eif_output_discard(output);
		return nefs_error_set(
			err, EINVAL, "%s exists and is no regular file; extract elsewhere", name);
	}
	return begin(output, err);
}

int eif_output_refuse_input(
	const struct eif_output *output, const char *path, struct nefs_error *err)
{
	struct stat st;

	if (!output->replaces || !path || stat(path, &st) < 0 || st.st_dev != output->old.st_dev ||
		st.st_ino != output->old.st_ino)
		return 0;
	return nefs_error_set(err, EINVAL,
		"%s is read, and would be replaced by what is written; give another name after -o",
		path);
}

/* Names the nameless file. */
static int link_as(struct eif_output *output, const char *name)
{
	char self[64];

	proc_name(output, self);
	return linkat(AT_FDCWD, self, output->directory, name, AT_SYMLINK_FOLLOW);
}

/* Sends what is complete now. */
static int send_to_stdout(struct eif_output *output, struct nefs_error *err)
{
	NEFS_AUTO_FREE uint8_t *buffer = malloc(COPY_SIZE);
	struct stat st;
	int failed = 0;

	if (!buffer)
		return nefs_error_set(err, ENOMEM, "out of memory for the standard output");
	if (fstat(output->fd, &st) < 0)
		return failed_with(err, "look at", "the temporary file");
	for (off_t at = 0; !failed && at < st.st_size;) {
		const off_t left = st.st_size - at;
		const size_t piece = left < (off_t)COPY_SIZE ? (size_t)left : COPY_SIZE;

		failed = nefs_pread_all(output->fd, buffer, piece, (uint64_t)at);
		if (!failed)
			failed = nefs_write_all(STDOUT_FILENO, buffer, piece);
		at += (off_t)piece;
	}
	if (failed)
		return nefs_error_set(
			err, -failed, "cannot write to the standard output: %s", strerror(-failed));
	eif_output_discard(output);
	return 0;
}

int eif_output_commit(struct eif_output *output, bool replace, struct nefs_error *err)
{
	int failed;

	if (output->to_stdout)
		return send_to_stdout(output, err);
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
			failed = cannot_create(output, err);
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
