/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tree.h"
#include "directory.h"
#include "staging.h"
#include "text_log.h"
#include <errno.h>

void tree_drop_requests(struct tree *tree)
{
	struct directory *directory;

	LIST_FOREACH(directory, &tree->alive, alive)
	{
		directory_drop_requests(directory);
		if (directory->ops->drop_requests)
			directory->ops->drop_requests(directory);
	}
}

/* Forgets all that refers to a directory from outside, and its name; it may be gone then. */
static void release(struct directory *directory)
{
	struct handle *handle;

	directory_ref(directory);
	while ((handle = LIST_FIRST(&directory->former)))
		handle_free(handle);
	if (directory->staging)
		staging_release(directory);
	while (!LIST_EMPTY(&directory->logs))
		text_log_release(LIST_FIRST(&directory->logs));
	for (size_t i = 0; i < directory->control_count; i++) {
		node_close_handles(&directory->controls[i]);
		node_forget(&directory->controls[i], UINT64_MAX);
	}
	node_close_handles(&directory->node);
	node_forget(&directory->node, UINT64_MAX);
	if (!directory->removed)
		directory_removed(directory);
	directory_unref(directory);
}

void tree_release(struct tree *tree)
{
	struct directory *directory;

	while ((directory = LIST_FIRST(&tree->alive)))
		release(directory);
	node_ids_release(&tree->ids);
	text_stream_close(&tree->render);
}
