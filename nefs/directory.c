/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "directory.h"
#include "tree.h"
#include <errno.h>
#include <nefs/cleanup.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct node *)a)->name, ((const struct node *)b)->name);
}

/* The place of the first entry with a st_ino above this one. */
static size_t place_behind(const struct directory *directory, uint64_t ino)
{
	size_t low = 0, high = directory->entry_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (directory->entries[middle]->ino <= ino)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int directory_add(struct directory *directory, struct node *node, const char *name)
{
	size_t place = place_behind(directory, node->ino);

	if (directory->entry_count == directory->entry_room) {
		size_t room = directory->entry_room ? directory->entry_room * 2 : 4;
		struct node **bigger =
			reallocarray(directory->entries, room, sizeof(*directory->entries));

		if (!bigger)
			return -ENOMEM;
		directory->entries = bigger;
		directory->entry_room = room;
	}
	node->name = strdup(name);
	if (!node->name)
		return -ENOMEM;
	if (!tsearch(node, &directory->by_name, compare_names)) {
		free((char *)nefs_take_ptr(node->name));
		return -ENOMEM;
	}
	memmove(&directory->entries[place + 1], &directory->entries[place],
		(directory->entry_count - place) * sizeof(*directory->entries));
	directory->entries[place] = node;
	directory->entry_count++;
	if (S_ISDIR(node->mode)) {
		node->directory->parent = directory;
		directory->subdirectories++;
	}
	node_written(&directory->node);
	return 0;
}

int directory_rename(struct directory *directory, struct node *node, const char *name)
{
	const char *old = node->name, *copy = strdup(name);

	if (!copy)
		return -ENOMEM;
	tdelete(node, &directory->by_name, compare_names);
	node->name = copy;
	if (!tsearch(node, &directory->by_name, compare_names)) {
		/* What tdelete has just freed is there for the old name. */
		node->name = old;
		tsearch(node, &directory->by_name, compare_names);
		free((char *)copy);
		return -ENOMEM;
	}
	free((char *)old);
	node_renamed(node);
	node_written(&directory->node);
	return 0;
}

/* A file's directory is another one: so is what its handles and the kernel's memory of it refer to. */
static void change_directory(struct node *node, struct directory *to)
{
	struct directory *from = node->directory;
	unsigned int references = node->lookups ? 1 : 0;
	struct handle *handle;

	LIST_FOREACH(handle, &node->handles, siblings)
	references++;
	node->directory = to;
	while (references--) {
		directory_ref(to);
		directory_unref(from);
	}
}

int directory_move(struct directory *to, struct node *node, const char *name)
{
	struct directory *from = node->directory;
	char *old = NULL;

	if (from == to || S_ISDIR(node->mode))
		return directory_rename(to, node, name);
	old = strdup(node->name);
	if (!old)
		return -ENOMEM;
	directory_remove(from, node);
	if (directory_add(to, node, name)) {
		/* What this needs was freed a moment ago. */
		directory_add(from, node, old);
		free(old);
		return -ENOMEM;
	}
	change_directory(node, to);
	node_renamed(node);
	free(old);
	return 0;
}

void directory_remove(struct directory *directory, struct node *node)
{
	size_t place = place_behind(directory, node->ino - 1);

	tdelete(node, &directory->by_name, compare_names);
	memmove(&directory->entries[place], &directory->entries[place + 1],
		(directory->entry_count - place - 1) * sizeof(*directory->entries));
	directory->entry_count--;
	free((char *)node->name);
	node->name = NULL;
	if (S_ISDIR(node->mode)) {
		node->directory->parent = NULL;
		directory->subdirectories--;
	}
	node_written(&directory->node);
}

struct node *directory_row(struct directory *directory, const char *name)
{
	for (size_t i = 0; i < directory->control_count; i++)
		if (strcmp(directory->controls[i].name, name) == 0)
			return &directory->controls[i];
	return NULL;
}

struct node *directory_find(struct directory *directory, const char *name)
{
	const struct node key = { .name = name };
	struct node *row = directory_row(directory, name), **found;
	const struct fixed_name *fixed;

	if (row)
		return row->hidden ? NULL : row;
	SLIST_FOREACH(fixed, &directory->fixed, siblings)
	if (strcmp(fixed->name, name) == 0)
		return fixed->node && !fixed->node->hidden ? fixed->node : NULL;
	found = tfind(&key, &directory->by_name, compare_names);
	return found && !(*found)->hidden ? *found : NULL;
}

struct node *directory_next(const struct directory *directory, uint64_t ino)
{
	size_t place = place_behind(directory, ino);

	return place < directory->entry_count ? directory->entries[place] : NULL;
}

bool directory_path(const struct node *node, char path[DIRECTORY_PATH_MAX])
{
	const struct directory *directory = node->directory, *root = directory->tree->root;
	char *at = path + DIRECTORY_PATH_MAX - 1;

	*at = '\0';
	/* From the end, up to the root: a directory's own name comes by way of its parent. */
	while (node != &root->node) {
		size_t length = node->name ? strlen(node->name) : 0;

		if (!length || length + 1 > (size_t)(at - path))
			return false;
		if (*at)
			*--at = '/';
		at -= length;
		memcpy(at, node->name, length);
		directory = S_ISDIR(node->mode) ? directory->parent : directory;
		if (!directory)
			return false;
		node = &directory->node;
	}
	memmove(path, at, strlen(at) + 1);
	return true;
}

/* Whatever the kernel still remembers by an id of it is nobody's: it may do so for as long as it likes. */
static void forget_all(struct directory *directory)
{
	for (size_t i = 0; i < directory->control_count; i++)
		node_forget(&directory->controls[i], UINT64_MAX);
	node_forget(&directory->node, UINT64_MAX);
}

void directory_removed(struct directory *directory)
{
	directory->removed = true;
	if (directory->parent)
		directory_remove(directory->parent, &directory->node);
	directory_drop_requests(directory);
	forget_all(directory);
	directory_unref(directory);
}
