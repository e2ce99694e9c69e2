/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "input.h"
#include "internal.h"
#include "nameless.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/io.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* An open input. */
struct input {
	const char *path; /* for sentences */
	int fd;
	bool stream; /* is read to its end; its size is not known before */
	uint64_t size;
};

static bool is_standard_input(const char *path)
{
	return strcmp(path, "-") == 0;
}

bool tool_is_stream(const char *path)
{
	struct stat st;

	return is_standard_input(path) ||
	       (stat(path, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)));
}

/* What is wrong with a file of this kind; NULL if it can be read. */
static const char *unfit_kind(mode_t mode, bool standard_input)
{
	if (S_ISREG(mode) || S_ISFIFO(mode) || (S_ISSOCK(mode) && standard_input))
		return NULL;
	if (S_ISDIR(mode))
		return "is a directory";
	if (S_ISSOCK(mode))
		return "is a socket";
	if (S_ISBLK(mode))
		return "is a block device";
	return "is a terminal or another device";
}

static int check_kind(const char *path, mode_t mode, bool standard_input, struct nefs_error *err)
{
	const char *unfit = unfit_kind(mode, standard_input);

	if (unfit)
		return nefs_error_set(err, EINVAL,
			"%s %s; give a file, a pipe, or - for the standard input", path, unfit);
	return 0;
}

/* A file that says it is empty may be one of /proc, whose size nobody knows before it is read. */
static bool has_unknown_size(const struct stat *st)
{
	return !S_ISREG(st->st_mode) || st->st_size == 0;
}

static int open_input(const char *path, struct input *input, struct nefs_error *err)
{
	const bool standard_input = is_standard_input(path);
	NEFS_AUTO_CLOSE int fd = -1;
	struct stat st;
	int failed;

	input->path = standard_input ? "the standard input" : path;
	/* Looked at before it is opened: opening a device can do things of its own. */
	if ((standard_input ? fstat(STDIN_FILENO, &st) : stat(path, &st)) < 0)
		return nefs_error_set(
			err, errno, "cannot open %s: %s", input->path, strerror(errno));
	failed = check_kind(input->path, st.st_mode, standard_input, err);
	if (failed)
		return failed;
	/* A FIFO's open waits for its writer, as everybody's does. */
	fd = standard_input ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
			    : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return nefs_error_set(
			err, errno, "cannot open %s: %s", input->path, strerror(errno));
	failed = check_kind(input->path, st.st_mode, standard_input, err);
	if (failed)
		return failed;
	input->stream = has_unknown_size(&st);
	input->size = (uint64_t)st.st_size;
	input->fd = nefs_take_fd(&fd);
	return 0;
}

/* Some bytes; 0 at the end. The count, or a negative errno with a sentence. */
static ssize_t read_some(
	const struct input *input, void *buffer, size_t size, struct nefs_error *err)
{
	ssize_t got;

	for (;;) {
		struct pollfd readable = { .fd = input->fd, .events = POLLIN };

		got = read(input->fd, buffer, size);
		if (got >= 0 || (errno != EINTR && errno != EAGAIN))
			break;
		/* Whoever shares the standard input may have made it non-blocking. */
		if (errno == EAGAIN)
			poll(&readable, 1, -1);
	}
	if (got < 0)
		return nefs_error_set(
			err, errno, "cannot read %s: %s", input->path, strerror(errno));
	return got;
}

/* A pipe whose writer has failed looks like an empty file: better say so than build with it. */
static int check_not_empty(const struct input *input, uint64_t size, struct nefs_error *err)
{
	struct stat st;

	if (size > 0 || (fstat(input->fd, &st) == 0 && S_ISREG(st.st_mode)))
		return 0;
	return nefs_error_set(err, EINVAL,
		"nothing came through %s: what writes into it has failed, or it was read before",
		input->path);
}

/* Reads to the end into a nameless file, whose fd it returns; or a negative errno. */
static int keep_stream(const struct input *input, struct nefs_error *err)
{
	NEFS_AUTO_FREE uint8_t *buffer = malloc(EIF_BUFFER_SIZE);
	NEFS_AUTO_CLOSE int kept = -1;
	uint64_t size = 0;
	ssize_t got;
	int failed;

	if (!buffer)
		return nefs_error_set(err, ENOMEM, "out of memory for reading %s", input->path);
	kept = nameless_open(err);
	if (kept < 0)
		return kept;
	while ((got = read_some(input, buffer, EIF_BUFFER_SIZE, err)) > 0) {
		failed = nefs_write_all(kept, buffer, (size_t)got);
		if (failed)
			return nefs_error_set(err, -failed,
				"cannot keep what comes through %s, more than %llu bytes, in %s: "
				"%s; set TMPDIR to a directory with more room",
				input->path, (unsigned long long)size, nameless_directory(),
				strerror(-failed));
		size += (uint64_t)got;
	}
	if (got < 0)
		return (int)got;
	failed = check_not_empty(input, size, err);
	return failed ? failed : nefs_take_fd(&kept);
}

int tool_open_source(const char *path, struct eif_source *source, struct nefs_error *err)
{
	NEFS_AUTO_CLOSE int fd = -1;
	struct input input;
	int failed;

	source->fd = -1;
	failed = open_input(path, &input, err);
	if (failed)
		return failed;
	fd = input.fd;
	if (input.stream) {
		int kept = keep_stream(&input, err);

		if (kept < 0)
			return kept;
		close(fd);
		fd = kept;
	}
	failed = eif_source_fd(source, fd, err);
	if (failed)
		nefs_error_prefix(err, "%s", input.path);
	else
		nefs_take_fd(&fd);
	return failed;
}

static int too_large(const char *path, const char *size, size_t max, struct nefs_error *err)
{
	return nefs_error_set(
		err, EFBIG, "%s has %s bytes; it may have at most %zu", path, size, max);
}

/* Reads up to max bytes; one more byte than that is EFBIG. */
static int load_stream(
	const struct input *input, char *bytes, size_t max, size_t *size, struct nefs_error *err)
{
	size_t have = 0;
	ssize_t got;

	while ((got = read_some(input, bytes + have, max + 1 - have, err)) > 0) {
		have += (size_t)got;
		if (have > max)
			return too_large(input->path, "more", max, err);
	}
	if (got < 0)
		return (int)got;
	*size = have;
	return check_not_empty(input, have, err);
}

int tool_load(const char *path, size_t max, char **text, size_t *size, struct nefs_error *err)
{
	NEFS_AUTO_CLOSE int fd = -1;
	struct input input;
	size_t room;
	char *bytes;
	int failed;

	failed = open_input(path, &input, err);
	if (failed)
		return failed;
	fd = input.fd;
	if (!input.stream && input.size > max) {
		char number[24];

		snprintf(number, sizeof(number), "%llu", (unsigned long long)input.size);
		return too_large(input.path, number, max, err);
	}
	room = (input.stream ? max : (size_t)input.size) + 1;
	bytes = calloc(1, room);
	if (!bytes)
		return nefs_error_set(err, ENOMEM, "out of memory for %s", input.path);
	if (input.stream) {
		failed = load_stream(&input, bytes, max, size, err);
	} else {
		*size = (size_t)input.size;
		failed = nefs_pread_all(fd, bytes, *size, 0);
		if (failed)
			nefs_error_set(
				err, -failed, "cannot read %s: %s", input.path, strerror(-failed));
	}
	if (failed) {
		explicit_bzero(bytes, room);
		free(bytes);
		return failed;
	}
	bytes[*size] = '\0';
	*text = bytes;
	return 0;
}
