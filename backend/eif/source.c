/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the bytes of an image come from. */
#include "internal.h"
#include <errno.h>
#include <nefs/io.h>
#include <nefs/paced_read.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_fd(const struct eif_source *source, void *buffer, size_t size, uint64_t offset)
{
	/* It was long enough when it was opened: ENODATA is of one that somebody has cut since. */
	return nefs_pread_all(source->fd, buffer, size, offset);
}

static int read_memory(const struct eif_source *source, void *buffer, size_t size, uint64_t offset)
{
	memcpy(buffer, (const uint8_t *)source->memory + offset, size);
	return 0;
}

int eif_source_fd(struct eif_source *source, int fd, struct nefs_error *err)
{
	struct stat st;

	memset(source, 0, sizeof(*source));
	source->fd = -1;
	if (fstat(fd, &st) < 0)
		return nefs_error_set(err, EIO, "cannot look at the file: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return nefs_error_set(err, EINVAL, "not a regular file");
	source->read = read_fd;
	source->size = (uint64_t)st.st_size;
	source->fd = fd;
	source->in_memory = nefs_is_in_memory(fd);
	return 0;
}

void eif_source_memory(struct eif_source *source, const void *memory, uint64_t size)
{
	memset(source, 0, sizeof(*source));
	source->fd = -1;
	source->read = read_memory;
	source->size = size;
	source->memory = memory;
}

/* Are there so many bytes? */
static int check_range(
	const struct eif_source *source, size_t size, uint64_t offset, struct nefs_error *err)
{
	if (offset > source->size || source->size - offset < size)
		return nefs_error_set(err, EIO,
			"cannot read %zu bytes at offset %llu: there are %llu bytes", size,
			(unsigned long long)offset, (unsigned long long)source->size);
	return 0;
}

/* What reading them has returned, as a sentence. */
static int explain(int failed, size_t size, uint64_t offset, struct nefs_error *err)
{
	if (failed == -ECANCELED)
		return nefs_error_set(err, ECANCELED, "stopped while the image was being read");
	if (failed == -ENODATA)
		return nefs_error_set(err, EIO,
			"cannot read %zu bytes at offset %llu: the file was cut short meanwhile",
			size, (unsigned long long)offset);
	if (failed < 0)
		return nefs_error_set(err, EIO, "cannot read %zu bytes at offset %llu: %s", size,
			(unsigned long long)offset, strerror(-failed));
	return 0;
}

int eif_source_get(const struct eif_source *source, void *buffer, size_t size, uint64_t offset,
	struct nefs_error *err)
{
	int failed = size ? check_range(source, size, offset, err) : 0;

	if (failed || !size)
		return failed;
	return explain(source->read(source, buffer, size, offset), size, offset, err);
}

/* The same, behind which a turn has begun. */
static int get_paced(const struct eif_source *source, void *buffer, size_t size, uint64_t offset,
	struct nefs_error *err)
{
	int failed = check_range(source, size, offset, err);

	if (failed)
		return failed;
	if (source->read == read_fd)
		return explain(nefs_paced_read(source->fd, source->in_memory, buffer, size, offset,
				       source->pace),
			size, offset, err);
	failed = nefs_pace_begin(source->pace);
	if (!failed) {
		failed = source->read(source, buffer, size, offset);
		if (failed)
			nefs_pace_end(source->pace);
	}
	return explain(failed, size, offset, err);
}

int eif_source_stream(const struct eif_source *source, uint64_t offset, uint64_t size,
	eif_sink *sink, void *context, struct nefs_error *err)
{
	NEFS_AUTO_FREE uint8_t *buffer = NULL;
	size_t room = size < EIF_BUFFER_SIZE ? (size_t)size : EIF_BUFFER_SIZE;

	if (size == 0)
		return 0;
	buffer = malloc(room);
	if (!buffer)
		return nefs_error_set(err, ENOMEM, "out of memory for reading the image");
	while (size > 0) {
		size_t piece = size < room ? (size_t)size : room;
		int failed = get_paced(source, buffer, piece, offset, err);

		if (failed)
			return failed;
		failed = sink(context, buffer, piece, err);
		nefs_pace_end(source->pace);
		if (failed)
			return failed;
		offset += piece;
		size -= piece;
	}
	return 0;
}
