/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Following links by hand, one at a time: realpath(3) has no answer for a link to a file that is yet to
 * be made, and stat(2) none to the question by which name a file is to be replaced.
 */
#include "target.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <stdio.h>
#include <string.h>

/* As many as the kernel follows. */
#define LINKS_MAX 40

static const char *kind_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a pipe";
	case S_IFSOCK:
		return "a socket";
	case S_IFBLK:
		return "a block device";
	default:
		return "a terminal or another device";
	}
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Is this open file what the standard output is? A device is not meant by its name: /dev/null. */
static bool is_standard_output(const struct stat *st)
{
	struct stat out;

	return (S_ISREG(st->st_mode) || S_ISFIFO(st->st_mode) || S_ISSOCK(st->st_mode)) &&
	       fstat(STDOUT_FILENO, &out) == 0 && same_file(st, &out);
}

static int use_standard_output(struct target *target, struct nefs_error *err)
{
	if (isatty(STDOUT_FILENO))
		return nefs_error_set(err, EINVAL,
			"the standard output is a terminal, which shows no such bytes; give a file "
			"name, or redirect it");
	target->standard_output = true;
	return 0;
}

/* Splits path (changed) into the directory, opened from `from`, and a name. */
static int enter(struct target *target, int from, char *path, struct nefs_error *err)
{
	char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	const char *directory = slash == path ? "/" : slash ? path : ".";

	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return nefs_error_set(err, EINVAL, "\"%s\" is a directory, not a file", path);
	if (strlen(name) > NAME_MAX)
		return nefs_error_set(err, ENAMETOOLONG,
			"the file name has %zu bytes; it may have at most %d", strlen(name),
			NAME_MAX);
	memcpy(target->name, name, strlen(name) + 1);
	if (slash)
		*slash = '\0';
	target->directory = openat(from, directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (target->directory < 0)
		return nefs_error_set(
			err, errno, "cannot open the directory %s: %s", directory, strerror(errno));
	return 0;
}

/*
 * A link that somebody else has put into a directory where everybody may: the kernel does not follow it
 * (protected_symlinks in proc(5)), whatever the sysctl says when a file is going to be made.
 */
static bool is_trap(int directory, const struct stat *link)
{
	struct stat st;

	return fstat(directory, &st) == 0 && (st.st_mode & S_ISVTX) && (st.st_mode & S_IWOTH) &&
	       link->st_uid != geteuid() && link->st_uid != st.st_uid;
}

/* Takes target one link on. */
static int follow(struct target *target, const char *path, struct nefs_error *err)
{
	NEFS_AUTO_CLOSE int from = target->directory;
	NEFS_AUTO_CLOSE int link = -1;
	char text[PATH_MAX];
	struct stat st;
	ssize_t size;

	target->directory = -1;
	/* By one descriptor, so that what is looked at is what is followed. */
	link = openat(from, target->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (link < 0 || fstat(link, &st) < 0)
		return nefs_error_set(err, errno, "cannot look at %s: %s", path, strerror(errno));
	if (is_trap(from, &st))
		return nefs_error_set(err, EACCES,
			"%s is, or leads through, a link of user %u in a directory where everybody "
			"may put one; it is not followed",
			path, (unsigned int)st.st_uid);
	size = readlinkat(link, "", text, sizeof(text));
	if (size < 0 || size == (ssize_t)sizeof(text))
		return nefs_error_set(err, size < 0 ? errno : ENAMETOOLONG,
			"cannot read the link %s: %s", path,
			strerror(size < 0 ? errno : ENAMETOOLONG));
	text[size] = '\0';
	return enter(target, from, text, err);
}

/* Follows by hand. Then target has the last directory and name, and st if there is something. */
static int walk(const char *path, struct target *target, struct nefs_error *err)
{
	NEFS_AUTO_FREE char *copy = strdup(path);
	int failed;

	if (!copy)
		return nefs_error_set(err, ENOMEM, "out of memory for a file name");
	failed = enter(target, AT_FDCWD, copy, err);
	for (int links = 0; !failed; links++) {
		if (fstatat(target->directory, target->name, &target->st, AT_SYMLINK_NOFOLLOW) <
			0) {
			if (errno != ENOENT)
				return nefs_error_set(
					err, errno, "cannot look at %s: %s", path, strerror(errno));
			target->exists = false;
			return 0;
		}
		target->exists = true;
		if (!S_ISLNK(target->st.st_mode))
			return 0;
		if (links == LINKS_MAX)
			return nefs_error_set(
				err, ELOOP, "%s leads through more than %d links", path, LINKS_MAX);
		failed = follow(target, path, err);
	}
	return failed;
}

static int find(const char *path, struct target *target, struct nefs_error *err)
{
	struct stat st;
	bool exists;
	int failed;

	if (strcmp(path, "-") == 0)
		return use_standard_output(target, err);
	/* What the kernel says of it comes first: /proc's links lead where their text does not. */
	exists = stat(path, &st) == 0;
	if (!exists && errno != ENOENT)
		return nefs_error_set(err, errno, "cannot look at %s: %s", path, strerror(errno));
	if (exists && is_standard_output(&st))
		return use_standard_output(target, err);
	if (exists && !S_ISREG(st.st_mode))
		return nefs_error_set(err, EINVAL,
			"%s is, or leads to, %s and no regular file; give another name, or - for "
			"the standard output",
			path, kind_name(st.st_mode));
	failed = walk(path, target, err);
	if (failed)
		return failed;
	if (exists != target->exists || (exists && !same_file(&st, &target->st)))
		return nefs_error_set(err, EINVAL,
			"%s leads to a file that has no name by which it could be replaced", path);
	return 0;
}

int target_find(const char *path, struct target *target, struct nefs_error *err)
{
	int failed;

	memset(target, 0, sizeof(*target));
	target->directory = -1;
	failed = find(path, target, err);
	if (failed) {
		nefs_cleanup_close(&target->directory);
		target->directory = -1;
	}
	return failed;
}
