/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "node.h"
#include "notifier.h"
#include "text.h"
#include "tree.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- ids ---- */

static struct node_list *list_of(struct node_ids *ids, uint64_t id)
{
	const size_t first = sizeof(ids->first) / sizeof(*ids->first);

	return ids->lists ? &ids->lists[id & (ids->size - 1)] : &ids->first[id & (first - 1)];
}

/* Without memory for more lists they get longer. */
static void grow(struct node_ids *ids)
{
	const size_t first = sizeof(ids->first) / sizeof(*ids->first);
	struct node_ids bigger = { .size = (ids->lists ? ids->size : first) * 4 };
	struct node *node;

	bigger.lists = calloc(bigger.size, sizeof(*bigger.lists));
	if (!bigger.lists)
		return;
	for (size_t i = 0; i < (ids->lists ? ids->size : first); i++) {
		struct node_list *list = ids->lists ? &ids->lists[i] : &ids->first[i];

		while ((node = LIST_FIRST(list))) {
			LIST_REMOVE(node, by_id);
			LIST_INSERT_HEAD(list_of(&bigger, node->ino), node, by_id);
		}
	}
	free(ids->lists);
	ids->lists = bigger.lists;
	ids->size = bigger.size;
}

static void give_id(struct node *node)
{
	struct tree *tree = node->directory->tree;
	struct node_ids *ids = &tree->ids;

	node->ino = ++tree->last_ino;
	if (ids->count >= 4 * (ids->lists ? ids->size : sizeof(ids->first) / sizeof(*ids->first)))
		grow(ids);
	LIST_INSERT_HEAD(list_of(ids, node->ino), node, by_id);
	ids->count++;
}

void node_end(struct node *node)
{
	LIST_REMOVE(node, by_id);
	node->directory->tree->ids.count--;
}

void node_ids_release(struct node_ids *ids)
{
	free(ids->lists);
	ids->lists = NULL;
}

fuse_ino_t node_id(const struct node *node)
{
	return node->ino;
}

struct node *node_from_id(struct tree *tree, fuse_ino_t id)
{
	struct node *node;

	LIST_FOREACH(node, list_of(&tree->ids, id), by_id)
	if (node->ino == id)
		return node;
	return NULL;
}

/* ---- nodes ---- */

void node_init(struct node *node, const struct node_ops *ops, struct directory *directory,
	mode_t mode, uid_t uid, gid_t gid, const struct timespec *made)
{
	node->ops = ops;
	node->directory = directory;
	give_id(node);
	node->mode = mode;
	node->uid = uid;
	node->gid = gid;
	node->atime = node->mtime = node->ctime = *made;
	node->changes = 1;
	LIST_INIT(&node->handles);
	LIST_INIT(&node->parked);
	LIST_INIT(&node->stats);
}

/* Whatever the kernel knows by its id. */
static void forget_all(struct node *node)
{
	if (!node->lookups)
		return;
	node->lookups = 0;
	directory_unref(node->directory);
}

void node_check_idle(struct node *node)
{
	if (node->name || !LIST_EMPTY(&node->handles) || !node->ops || !node->ops->idle)
		return;
	/* It does not wait for a FORGET, which may never come. */
	forget_all(node);
	node->ops->idle(node);
}

void node_remember(struct node *node)
{
	if (node->lookups++ == 0)
		directory_ref(node->directory);
}

void node_forget(struct node *node, uint64_t count)
{
	struct directory *directory = node->directory;

	if (count > node->lookups)
		count = node->lookups;
	if (!count)
		return;
	node->lookups -= count;
	if (!node->lookups)
		directory_unref(directory);
}

/* As on any filesystem: what is open and has no name any more has no link. */
static nlink_t links_of(const struct node *node)
{
	if (S_ISDIR(node->mode))
		return node_gone(node) ? 0 : 2 + node->directory->subdirectories;
	return node->name && !node->hidden && !node_gone(node);
}

void node_stat(struct node *node, struct stat *attributes)
{
	memset(attributes, 0, sizeof(*attributes));
	attributes->st_ino = node->ino;
	attributes->st_mode = node->mode;
	attributes->st_nlink = links_of(node);
	attributes->st_uid = node->told_uid = node->uid;
	attributes->st_gid = node->gid;
	attributes->st_size = node->ops ? (off_t)node->ops->size(node) : 0;
	attributes->st_blocks = (attributes->st_size + 511) / 512;
	/* Bulk data in requests of this size (docs/facts/fuse.md §2). */
	attributes->st_blksize = NODE_BLOCK_SIZE;
	attributes->st_atim = node->atime;
	attributes->st_mtim = node->mtime;
	attributes->st_ctim = node->ctime;
}

/* A signal ends the wait, not the call: stat(2) knows no EINTR. */
static void answer_stat(struct parked *parked, int result)
{
	struct node *node = parked->context;
	struct stat attributes;

	node_stat(node, &attributes);
	fuse_reply_attr(parked->req, &attributes, node_cache_seconds(node));
}

/*
 * Counts a request that waits for its caller. False: they have too many that do, which is told once in the log,
 * as who asks on and on must not fill it.
 */
static bool count_parked(
	fuse_req_t req, const struct node *node, struct quota_user **user, int *code)
{
	const uid_t uid = fuse_req_ctx(req)->uid;
	struct nefs_error err = { 0 };

	if (quota_user_get(&node->directory->tree->quota, uid, user, &err) == 0 &&
		quota_charge(*user, QUOTA_PARKED, 1, &err) == 0)
		return true;
	if (quota_is_news(*user, QUOTA_PARKED))
		node_log_refusal(node, uid, &err);
	quota_user_put(*user);
	*code = err.code;
	return false;
}

/* As parked_add; with too many that wait already NULL, too, and *code is the errno to be answered. */
static struct parked *park(
	struct parked_list *list, fuse_req_t req, const struct node *node, int *code)
{
	struct quota_user *user;
	struct parked *parked;

	*code = 0;
	if (!count_parked(req, node, &user, code))
		return NULL;
	parked = parked_add(list, req);
	if (parked)
		parked->user = user;
	else
		quota_give(user, QUOTA_PARKED);
	return parked;
}

void node_answer_stat(fuse_req_t req, struct node *node)
{
	struct stat attributes;
	struct parked *parked;
	int code = 0;

	if (node->ops && node->ops->settled && !node->ops->settled(node)) {
		parked = park(&node->stats, req, node, &code);
		if (parked) {
			parked->context = node;
			parked->answer = answer_stat;
		}
		/* Who may not wait gets what is known now. */
		if (!code)
			return;
	}
	node_stat(node, &attributes);
	fuse_reply_attr(req, &attributes, node_cache_seconds(node));
}

void node_settled(struct node *node)
{
	parked_drop(&node->stats, NULL, 0);
}

double node_cache_seconds(const struct node *node)
{
	return node->uncached ? 0.0 : TREE_CACHE_SECONDS;
}

/* Wakes a poll(2); the handle's next POLL brings a new poll handle. */
static void wake_pollers(struct node *node)
{
	struct handle *handle;

	LIST_FOREACH(handle, &node->handles, siblings)
	{
		if (!handle->poll)
			continue;
		fuse_lowlevel_notify_poll(handle->poll);
		fuse_pollhandle_destroy(handle->poll);
		handle->poll = NULL;
	}
}

void node_invalidate(struct node *node)
{
	struct fuse_session *session = node->directory->tree->session;

	/* Attributes only (a negative offset): that takes no lock of the kernel's, unlike names. */
	if (node->lookups && session && !node->uncached)
		fuse_lowlevel_notify_inval_inode(session, node_id(node), -1, 0);
	node_drop_pages(node);
}

bool node_page_locked(const struct node *node)
{
	const struct parked *parked;

	LIST_FOREACH(parked, &node->parked, siblings)
	if (parked->paging)
		return true;
	return false;
}

void node_drop_pages(struct node *node)
{
	struct tree *tree = node->directory->tree;

	if (!node->paged || !node->lookups || !tree->session || !tree->notifier)
		return;
	/* The notifier would wait for that page, and all who watch by inotify for the notifier. It is yet to be filled. */
	if (node_page_locked(node))
		return;
	node->paged = false;
	notifier_drop_pages(tree->notifier, tree->session, node_id(node));
}

void node_written(struct node *node)
{
	clock_gettime(CLOCK_REALTIME, &node->mtime);
	node->ctime = node->mtime;
}

void node_renamed(struct node *node)
{
	clock_gettime(CLOCK_REALTIME, &node->ctime);
}

void node_changed(struct node *node)
{
	node_written(node);
	node->changes++;
	node_invalidate(node);
	wake_pollers(node);
	if (node->ops->changed)
		node->ops->changed(node);
}

/* What it does by itself with what is open on it is over. */
static void close_all(struct node *node)
{
	struct handle *handle;

	wake_pollers(node);
	if (!LIST_EMPTY(&node->parked))
		parked_drop(&node->parked, NULL, ENODEV);
	LIST_FOREACH(handle, &node->handles, siblings)
	if (node->ops->close)
		node->ops->close(handle);
}

void node_drop_texts(struct node *node)
{
	struct handle *handle;

	LIST_FOREACH(handle, &node->handles, siblings)
	{
		text_unref(handle->text);
		handle->text = NULL;
	}
}

void node_renew(struct node *node)
{
	struct handle *handle;

	/* Else the kernel would not ask, and not learn that it has to look the name up again. */
	node_invalidate(node);
	close_all(node);
	node_drop_texts(node);
	while ((handle = LIST_FIRST(&node->handles))) {
		LIST_REMOVE(handle, siblings);
		handle->gone = true;
		LIST_INSERT_HEAD(&node->directory->former, handle, siblings);
	}
	forget_all(node);
	node_end(node);
	give_id(node);
	node->paged = false;
	node->changes++;
}

void node_hand_over(struct node *node, struct node *to)
{
	struct handle *handle;

	close_all(node);
	while ((handle = LIST_FIRST(&node->handles))) {
		LIST_REMOVE(handle, siblings);
		handle->node = to;
		LIST_INSERT_HEAD(&to->handles, handle, siblings);
		directory_ref(to->directory);
		directory_unref(node->directory);
	}
}

int node_gone(const struct node *node)
{
	return node->directory->removed ? ENODEV : 0;
}

void directory_init(struct directory *directory, struct tree *tree, const struct directory_ops *ops,
	mode_t mode, uid_t uid, gid_t gid)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	directory->tree = tree;
	directory->ops = ops;
	directory->refs = 1;
	node_init(&directory->node, NULL, directory, S_IFDIR | mode, uid, gid, &now);
	LIST_INSERT_HEAD(&tree->alive, directory, alive);
}

void directory_ref(struct directory *directory)
{
	directory->refs++;
}

void directory_unref(struct directory *directory)
{
	if (--directory->refs)
		return;
	LIST_REMOVE(directory, alive);
	for (size_t i = 0; i < directory->control_count; i++)
		node_end(&directory->controls[i]);
	node_end(&directory->node);
	free(directory->by_name);
	free(directory->entries);
	free(directory->controls);
	free(directory->error);
	free(directory->error_about);
	if (directory->ops->destroy)
		directory->ops->destroy(directory);
}

int node_chown(struct node *node, uid_t uid)
{
	const struct directory *directory = node->directory;

	if (uid == node->uid)
		return 0;
	if (node->ops)
		return node->ops->chown ? node->ops->chown(node, uid) : 0;
	/* One without a name counts for nobody. */
	if (directory->removed)
		return 0;
	return directory->ops->chown ? directory->ops->chown(node->directory, uid) : 0;
}

void node_log_refusal(const struct node *node, uid_t uid, const struct nefs_error *err)
{
	struct directory *root = node->directory->tree->root;

	if (root && root->ops->refused)
		root->ops->refused(root, node->name, uid, err);
}

void node_drop_requests(struct node *node)
{
	wake_pollers(node);
	node_settled(node);
	parked_drop(&node->parked, NULL, ENODEV);
}

void directory_drop_requests(struct directory *directory)
{
	for (size_t i = 0; i < directory->control_count; i++)
		node_drop_requests(&directory->controls[i]);
}

struct handle *handle_new(struct node *node, int flags)
{
	struct handle *handle = calloc(1, sizeof(*handle));

	if (!handle)
		return NULL;
	handle->node = node;
	handle->flags = handle->asked = flags;
	handle->opener = node->directory->tree->caller;
	LIST_INSERT_HEAD(&node->handles, handle, siblings);
	directory_ref(node->directory);
	return handle;
}

void handle_free(struct handle *handle)
{
	struct node *node = handle->node;
	struct directory *directory = node->directory;
	bool gone = handle->gone;

	parked_drop(&node->parked, handle, EINTR);
	LIST_REMOVE(handle, siblings);
	if (handle->poll)
		fuse_pollhandle_destroy(handle->poll);
	text_unref(handle->text);
	quota_give(handle->user, QUOTA_FILES);
	free(handle);
	if (!gone)
		node_check_idle(node);
	directory_unref(directory);
}

void handle_park_read(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	if (handle->flags & O_NONBLOCK)
		fuse_reply_err(req, EAGAIN);
	else
		handle_wait_read(req, handle, size, offset);
}

void handle_wait_read(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	struct parked *parked;
	int code;

	if (handle->paging && !handle->node->steady) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	parked = park(&handle->node->parked, req, handle->node, &code);
	if (code)
		fuse_reply_err(req, code);
	if (!parked)
		return;
	parked->paging = handle->paging;
	parked->handle = handle;
	parked->size = size;
	parked->offset = offset;
}

bool handle_writes(const struct handle *handle)
{
	return (handle->flags & O_ACCMODE) != O_RDONLY;
}

bool node_is_written(const struct node *node, const struct handle *but)
{
	const struct handle *handle;

	LIST_FOREACH(handle, &node->handles, siblings)
	if (handle != but && handle_writes(handle))
		return true;
	return false;
}

void node_close_handles(struct node *node)
{
	struct handle *handle;

	/* The node may go with the last of them. */
	for (handle = LIST_FIRST(&node->handles); handle;) {
		struct handle *next = LIST_NEXT(handle, siblings);

		handle_free(handle);
		handle = next;
	}
}
