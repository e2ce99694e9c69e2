/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "staging.h"
#include "enclave.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct staged *staged_of(struct node *node)
{
	return (struct staged *)node;
}

struct staged *staged_find(struct enclave *enclave, const char *name)
{
	struct staged *staged;

	LIST_FOREACH(staged, &enclave->staged, siblings)
	if (strcmp(staged->name, name) == 0)
		return staged;
	return NULL;
}

int staged_create(struct enclave *enclave, const char *name, bool lock, mode_t mode, uid_t uid,
	gid_t gid, struct staged **result, struct nefs_error *err)
{
	struct fs *fs = enclave->directory.fs;
	struct staged *staged;

	if (strlen(name) > NAME_MAX)
		return nefs_error_set(
			err, ENAMETOOLONG, "a file name has at most %d bytes", NAME_MAX);
	if (enclave->staged_count >= STAGED_COUNT_MAX)
		return nefs_error_set(err, ENOSPC,
			"%s: %d files are staged here already, which is the limit; remove what is left "
			"of earlier attempts",
			name, STAGED_COUNT_MAX);
	staged = calloc(1, sizeof(*staged));
	if (!staged)
		return nefs_error_set(err, ENOMEM, "out of memory for a staged file");
	if (!lock) {
		staged->file = spool_file_new(fs->spool, err);
		if (!staged->file) {
			free(staged);
			return err->code ? -err->code : -ENOMEM;
		}
	}
	node_init(&staged->node, fs, lock ? NODE_LOCK : NODE_STAGED, &enclave->directory,
		(lock ? S_IFDIR : S_IFREG) | (mode & 07777), uid, gid);
	snprintf(staged->name, sizeof(staged->name), "%s", name);
	staged->linked = true;
	LIST_INSERT_HEAD(&enclave->staged, staged, siblings);
	LIST_INSERT_HEAD(&enclave->known, staged, known);
	enclave->staged_count++;
	*result = staged;
	return 0;
}

void staged_unlink(struct staged *staged)
{
	struct enclave *enclave = enclave_of(staged->node.directory);

	LIST_REMOVE(staged, siblings);
	enclave->staged_count--;
	staged->linked = false;
	staged_collect(&staged->node);
}

void staged_unlink_all(struct enclave *enclave)
{
	struct staged *staged;

	while ((staged = LIST_FIRST(&enclave->staged)))
		staged_unlink(staged);
}

void staged_collect(struct node *node)
{
	struct staged *staged = staged_of(node);

	if (staged->linked || node->lookups || !LIST_EMPTY(&node->handles))
		return;
	LIST_REMOVE(staged, known);
	spool_file_unref(staged->file);
	free(staged);
}

uint64_t staged_size(const struct node *node)
{
	const struct staged *staged = (const struct staged *)node;

	return staged->file ? staged->file->size : 0;
}
