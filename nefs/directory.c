/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "directory.h"
#include "tree.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

/* The place of that name among the names, or where it would be. */
static size_t place_of_name(const struct directory *directory, const char *name)
{
	size_t low = 0, high = directory->entry_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(directory->by_name[middle]->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void insert(struct node **list, size_t place, size_t count, struct node *node)
{
	memmove(&list[place + 1], &list[place], (count - place) * sizeof(*list));
	list[place] = node;
}

/* count: before. */
static void take_out(struct node **list, size_t place, size_t count)
{
	memmove(&list[place], &list[place + 1], (count - place - 1) * sizeof(*list));
}

/* Room for one entry more, in both lists. 0 or -ENOMEM. */
static int make_room(struct directory *directory)
{
	size_t room = directory->entry_room ? directory->entry_room * 2 : 4;
	struct node **bigger;

	if (directory->entry_count < directory->entry_room)
		return 0;
	bigger = reallocarray(directory->entries, room, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	directory->entries = bigger;
	bigger = reallocarray(directory->by_name, room, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	directory->by_name = bigger;
	directory->entry_room = room;
	return 0;
}

void directory_add_prepared(struct directory *directory, struct node *node, char *name)
{
	node->name = name;
	insert(directory->entries, place_behind(directory, node->ino), directory->entry_count,
		node);
	insert(directory->by_name, place_of_name(directory, name), directory->entry_count, node);
	directory->entry_count++;
	if (S_ISDIR(node->mode)) {
		node->directory->parent = directory;
		directory->subdirectories++;
	}
	node_written(&directory->node);
}

char *directory_prepare(struct directory *directory, const char *name)
{
	return make_room(directory) ? NULL : strdup(name);
}

int directory_add(struct directory *directory, struct node *node, const char *name)
{
	char *copy = directory_prepare(directory, name);

	if (!copy)
		return -ENOMEM;
	directory_add_prepared(directory, node, copy);
	return 0;
}

int directory_rename(struct directory *directory, struct node *node, const char *name)
{
	char *copy = strdup(name);

	if (!copy)
		return -ENOMEM;
	directory_move_prepared(directory, node, copy);
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

void directory_move_prepared(struct directory *to, struct node *node, char *name)
{
	struct directory *from = node->directory;

	if (S_ISDIR(node->mode))
		from = from->parent;
	directory_remove(from, node);
	directory_add_prepared(to, node, name);
	if (!S_ISDIR(node->mode) && from != to)
		change_directory(node, to);
	node_renamed(node);
}

void directory_remove(struct directory *directory, struct node *node)
{
	take_out(
		directory->entries, place_behind(directory, node->ino - 1), directory->entry_count);
	take_out(directory->by_name, place_of_name(directory, node->name), directory->entry_count);
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
	struct node *row = directory_row(directory, name), *found;
	const struct fixed_name *fixed;
	size_t place;

	if (row)
		return row->hidden ? NULL : row;
	SLIST_FOREACH(fixed, &directory->fixed, siblings)
	if (strcmp(fixed->name, name) == 0)
		return fixed->node && !fixed->node->hidden ? fixed->node : NULL;
	place = place_of_name(directory, name);
	if (place == directory->entry_count)
		return NULL;
	found = directory->by_name[place];
	return strcmp(found->name, name) == 0 && !found->hidden ? found : NULL;
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
	for (size_t i = 0; i < directory->control_count; i++) {
		node_drop_texts(&directory->controls[i]);
		node_forget(&directory->controls[i], UINT64_MAX);
	}
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
