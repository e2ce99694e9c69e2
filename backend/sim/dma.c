/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dma.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <nefs/io.h>
#include <stdatomic.h>
#include <string.h>

struct dma_file {
	atomic_uint users;
	int fd;
};

static struct dma_file *file_new(int fd, int *failed)
{
	struct dma_file *file = calloc(1, sizeof(*file));

	if (!file) {
		*failed = -ENOMEM;
		return NULL;
	}
	file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (file->fd < 0) {
		*failed = -errno;
		free(file);
		return NULL;
	}
	atomic_init(&file->users, 1);
	return file;
}

static struct dma_file *file_get(struct dma_file *file)
{
	atomic_fetch_add(&file->users, 1);
	return file;
}

static void file_put(struct dma_file *file)
{
	if (!file || atomic_fetch_sub(&file->users, 1) > 1)
		return;
	close(file->fd);
	free(file);
}

/* Makes room for one more entry in an array of ranges. */
static int reserve(struct dma_range **ranges, size_t count, size_t *room)
{
	size_t wanted = *room ? 2 * *room : 8;
	void *larger;

	if (count < *room)
		return 0;
	larger = realloc(*ranges, wanted * sizeof(**ranges));
	if (!larger)
		return -ENOMEM;
	*ranges = larger;
	*room = wanted;
	return 0;
}

/* Index of the first range that ends above iova. */
static size_t find(const struct dma_map *map, uint64_t iova)
{
	size_t low = 0, high = map->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (map->ranges[middle].iova + map->ranges[middle].size > iova)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Makes room for a range at its place, *at. */
static int make_place(
	struct dma_map *map, uint64_t iova, uint64_t size, uint64_t offset, size_t *at)
{
	*at = find(map, iova);

	if (size == 0 || size > UINT64_MAX - iova || size > INT64_MAX || offset > INT64_MAX - size)
		return -EINVAL;
	if (*at < map->count && map->ranges[*at].iova < iova + size)
		return -EEXIST;
	if (map->count == DMA_RANGES_MAX)
		return -ENOSPC;
	return reserve(&map->ranges, map->count, &map->room);
}

static void insert(struct dma_map *map, size_t at, struct dma_range range)
{
	memmove(map->ranges + at + 1, map->ranges + at, (map->count - at) * sizeof(map->ranges[0]));
	map->ranges[at] = range;
	map->count++;
}

int dma_map_add(struct dma_map *map, uint64_t iova, uint64_t size, int fd, uint64_t offset)
{
	struct dma_file *file;
	size_t at;
	int failed = make_place(map, iova, size, offset, &at);

	if (failed)
		return failed;
	file = file_new(fd, &failed);
	if (!file)
		return failed;
	insert(map, at, (struct dma_range){ iova, size, offset, file });
	return 0;
}

int dma_map_add_hidden(struct dma_map *map, uint64_t iova, uint64_t size)
{
	size_t at;
	int failed = make_place(map, iova, size, 0, &at);

	if (!failed)
		insert(map, at, (struct dma_range){ .iova = iova, .size = size });
	return failed;
}

int dma_map_remove(struct dma_map *map, uint64_t iova, uint64_t size)
{
	size_t first = find(map, iova);
	size_t last = first;

	if (size == 0 || size > UINT64_MAX - iova)
		return -EINVAL;
	while (last < map->count && map->ranges[last].iova < iova + size) {
		const struct dma_range *range = &map->ranges[last];

		if (range->iova < iova || range->iova + range->size > iova + size)
			return -EINVAL;
		last++;
	}
	if (first == last)
		return -ENOENT;
	for (size_t i = first; i < last; i++)
		file_put(map->ranges[i].file);
	memmove(map->ranges + first, map->ranges + last,
		(map->count - last) * sizeof(map->ranges[0]));
	map->count -= last - first;
	return 0;
}

bool dma_map_covers(const struct dma_map *map, uint64_t iova, uint64_t size)
{
	size_t at = find(map, iova);

	if (size > UINT64_MAX - iova)
		return false;
	while (size > 0) {
		const struct dma_range *range = &map->ranges[at];
		uint64_t part;

		if (at == map->count || range->iova > iova || !range->file)
			return false;
		part = range->iova + range->size - iova;
		if (part >= size)
			return true;
		iova += part;
		size -= part;
		at++;
	}
	return true;
}

void dma_map_clear(struct dma_map *map)
{
	for (size_t i = 0; i < map->count; i++)
		file_put(map->ranges[i].file);
	free(map->ranges);
	*map = (struct dma_map){ 0 };
}

int dma_view_append(struct dma_view *view, const struct dma_map *map, uint64_t iova, uint64_t size)
{
	size_t at = find(map, iova);

	if (!dma_map_covers(map, iova, size) || size > UINT64_MAX - view->size)
		return -EFAULT;
	while (size > 0) {
		const struct dma_range *range = &map->ranges[at];
		uint64_t skipped = iova - range->iova;
		uint64_t part = range->size - skipped;
		int failed = reserve(&view->parts, view->count, &view->room);

		if (failed)
			return failed;
		if (part > size)
			part = size;
		view->parts[view->count++] = (struct dma_range){
			.size = part,
			.offset = range->offset + skipped,
			.file = file_get(range->file),
		};
		view->size += part;
		iova += part;
		size -= part;
		at++;
	}
	return 0;
}

int dma_view_read(const struct dma_view *view, void *buffer, size_t size, uint64_t offset)
{
	char *at = buffer;

	if (offset > view->size || size > view->size - offset)
		return -EFAULT;
	for (size_t i = 0; i < view->count && size > 0; i++) {
		const struct dma_range *part = &view->parts[i];
		uint64_t here;
		int failed;

		if (offset >= part->size) {
			offset -= part->size;
			continue;
		}
		here = part->size - offset < size ? part->size - offset : size;
		failed = nefs_pread_all(part->file->fd, at, here, part->offset + offset);
		/* A file that ends before its mapping: there is no memory at that address. */
		if (failed)
			return failed == -ENODATA ? -EFAULT : -EIO;
		at += here;
		size -= here;
		offset = 0;
	}
	return 0;
}

void dma_view_clear(struct dma_view *view)
{
	for (size_t i = 0; i < view->count; i++)
		file_put(view->parts[i].file);
	free(view->parts);
	*view = (struct dma_view){ 0 };
}
