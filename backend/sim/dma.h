/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the device sees of its driver's memory: DMA addresses, each backed by a piece of a file.
 *
 * For the simulated machine that is one memfd; for a QEMU guest behind vfio-user it is the guest's
 * RAM, mapped and remapped by its firmware. The map is the device's and is used under its lock; a
 * view is independent of it and can be read without any lock.
 */
#ifndef NEFS_SIM_DMA_H
#define NEFS_SIM_DMA_H

#include <nefs/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Most ranges of a map: a guest's firmware makes a few hundred. */
#define DMA_RANGES_MAX 16384

/* A file that backs one range, or a part of a view. Counted. */
struct dma_file;

struct dma_range {
	uint64_t iova; /* DMA address */
	uint64_t size; /* bytes, > 0, iova + size does not wrap */
	uint64_t offset;
	struct dma_file *file; /* NULL: nothing can be reached there */
};

/* All ranges, by ascending address, disjoint. Begins as { 0 }. */
struct dma_map {
	struct dma_range *ranges;
	size_t count;
	size_t room;
};

/* Parts of memory in a row, read as one space. Begins as { 0 }. */
struct dma_view {
	struct dma_range *parts; /* iova unused */
	size_t count;
	size_t room;
	uint64_t size;
};

/*
 * Adds a range; fd is duplicated. -EINVAL (empty or wrapping), -EEXIST (overlap), -ENOSPC
 * (DMA_RANGES_MAX), -ENOMEM, -EMFILE.
 */
int dma_map_add(struct dma_map *map, uint64_t iova, uint64_t size, int fd, uint64_t offset);

/* The same for a range that the driver has but does not show, such as firmware's ROM. */
int dma_map_add_hidden(struct dma_map *map, uint64_t iova, uint64_t size);

/*
 * Removes all ranges inside [iova, iova + size). -EINVAL if that would cut one in two, -ENOENT if
 * there is none.
 */
int dma_map_remove(struct dma_map *map, uint64_t iova, uint64_t size);

/* Can all of [iova, iova + size) be reached? */
bool dma_map_covers(const struct dma_map *map, uint64_t iova, uint64_t size);

void dma_map_clear(struct dma_map *map);

/* Appends [iova, iova + size) to a view. -EFAULT if it can't be reached, -ENOMEM. */
int dma_view_append(struct dma_view *view, const struct dma_map *map, uint64_t iova, uint64_t size);

/* Reads size bytes at offset of the view. -EFAULT beyond its end or its file's, -EIO. */
int dma_view_read(const struct dma_view *view, void *buffer, size_t size, uint64_t offset);

void dma_view_clear(struct dma_view *view);

#endif
