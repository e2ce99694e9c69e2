/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "text_log.h"
#include "control.h"
#include "directory.h"
#include "notifier.h"
#include "tree.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What the first write takes: an enclave that only exists has one record. */
#define FIRST_ROOM 256

/* The current file, the one before, and the next; the first of all is not used again. */
#define SPARE_SEGMENTS 3

/* A file of text ends behind a newline if one comes in its last part. */
#define LAST_PART(limits) ((limits)->bytes / 16)

static struct text_segment *segment_of(struct node *node)
{
	return (struct text_segment *)node;
}

/* ---- the memory of a file ---- */

static void give_back_text(struct text_segment *segment)
{
	struct text_log *log = segment->log;

	quota_release(log->user, QUOTA_TEXT, segment->room);
	if (log->limits->reserved && !log->spare)
		log->spare = segment->text;
	else
		free(segment->text);
	segment->text = NULL;
	segment->room = 0;
}

/* Touched now, so that it is the daemon's from the start. Not with zeros: compilers make calloc(3) of that. */
static char *reserve(size_t size)
{
	char *text = malloc(size);

	return text ? memset(text, '\n', size) : NULL;
}

/* Room for so many bytes more, which are within the limit. False: no memory, or its owner has too much. */
static bool make_room(struct text_segment *segment, size_t size)
{
	struct text_log *log = segment->log;
	size_t room = segment->room ? segment->room : FIRST_ROOM;
	char *text;

	if (size <= segment->room - segment->size)
		return true;
	if (log->limits->reserved) {
		segment->text =
			log->spare ? nefs_take_ptr(log->spare) : reserve(log->limits->bytes);
		segment->room = segment->text ? log->limits->bytes : 0;
		return segment->text != NULL;
	}
	while (room - segment->size < size)
		room *= 2;
	if (room > log->limits->bytes)
		room = log->limits->bytes;
	if (room > TEXT_LOG_FREE && quota_charge(log->user, QUOTA_TEXT, room - segment->room, NULL))
		return false;
	text = realloc(segment->text, room);
	if (!text) {
		if (room > TEXT_LOG_FREE)
			quota_release(log->user, QUOTA_TEXT, room - segment->room);
		return false;
	}
	if (room <= TEXT_LOG_FREE)
		quota_adjust(log->user, QUOTA_TEXT, segment->room, room);
	segment->text = text;
	segment->room = room;
	return true;
}

/* ---- what a file does as a node ---- */

/* For root, too, whom the kernel lets pass. */
static int refuse_write(struct node *node)
{
	const struct text_log *log = segment_of(node)->log;
	struct nefs_error err = { 0 };

	nefs_error_set(&err, EACCES, "it can only be read");
	/* Not by the node's own name: the record of it may be the one that takes it. */
	if (node->name)
		control_outcome(node->directory,
			node == &log->current->node ? log->name.name : log->older_name.name, &err);
	return -EACCES;
}

static int open_segment(struct handle *handle)
{
	/* O_TRUNC writes, too. */
	return (handle->flags & (O_ACCMODE | O_TRUNC)) == O_RDONLY ? 0 : refuse_write(handle->node);
}

static void read_segment(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	struct text_segment *segment = segment_of(handle->node);
	size_t got = 0;

	if (node_gone(&segment->node)) {
		fuse_reply_err(req, ENODEV);
		return;
	}
	if (segment->size && !segment->text) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	if (offset >= 0 && (uint64_t)offset < segment->size)
		got = segment->size - (size_t)offset;
	if (got > size)
		got = size;
	/* A read that reaches the end has seen what there is. */
	if ((uint64_t)offset + got >= segment->size)
		handle->seen = segment->node.changes;
	fuse_reply_buf(req, got ? segment->text + offset : NULL, got);
}

static void write_segment(
	fuse_req_t req, struct handle *handle, const char *data, size_t size, off_t offset)
{
	fuse_reply_err(req, EBADF);
}

static int resize_segment(struct node *node, uint64_t size, struct node_end *end)
{
	return node_gone(node) ? -ENODEV : refuse_write(node);
}

static unsigned int poll_segment(struct handle *handle)
{
	const struct node *node = handle->node;
	unsigned int always = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;

	if (node_gone(node))
		return always | POLLERR | POLLPRI | POLLHUP;
	return handle->seen == node->changes ? always : always | POLLERR | POLLPRI;
}

static uint64_t segment_size(struct node *node)
{
	return node_gone(node) ? 0 : segment_of(node)->size;
}

static void segment_changed(struct node *node)
{
	struct notifier *notifier = node->directory->tree->notifier;
	struct text_log *log = segment_of(node)->log;
	char path[DIRECTORY_PATH_MAX];

	/*
	 * Much may come at once: what is yet to be told of it will tell of this, too. And a directory of which the
	 * kernel knows nothing is watched by nobody.
	 */
	if (!notifier || !log->directory->node.lookups || !notifier_has_begun(notifier, log->told))
		return;
	if (!node->hidden && !node_gone(node) && directory_path(node, path))
		log->told = notifier_touch_soon(notifier, path);
}

/* Who still has it open is the last who can read it. */
static void close_segment(struct handle *handle)
{
	struct text_segment *segment = segment_of(handle->node);

	if (!segment->node.name && !LIST_NEXT(handle, siblings) &&
		LIST_FIRST(&segment->node.handles) == handle)
		give_back_text(segment);
}

static void keep_segment(struct text_log *log, struct text_segment *segment)
{
	LIST_INSERT_HEAD(&log->spare_segments, segment, siblings);
	log->spare_count++;
}

static void segment_idle(struct node *node)
{
	struct text_segment *segment = segment_of(node);
	struct text_log *log = segment->log;

	node_end(node);
	LIST_REMOVE(segment, siblings);
	give_back_text(segment);
	if (segment == &log->first)
		return;
	if (log->limits->reserved && log->spare_count < SPARE_SEGMENTS)
		keep_segment(log, segment);
	else
		free(segment);
}

/* The stream of a file is for whom the file is for. */
static void share_owner(struct node *node)
{
	const struct text_log *log = segment_of(node)->log;
	struct node *stream = log->stream;

	if (!stream || segment_of(node) != log->current)
		return;
	stream->mode = node->mode;
	stream->uid = node->uid;
	stream->gid = node->gid;
	stream->ctime = node->ctime;
	node_invalidate(stream);
}

static const struct node_ops segment_node_ops = {
	.open = open_segment,
	.read = read_segment,
	.write = write_segment,
	.close = close_segment,
	.resize = resize_segment,
	.poll = poll_segment,
	.size = segment_size,
	.owned = share_owner,
	.changed = segment_changed,
	.idle = segment_idle,
};

bool text_log_is(const struct node *node)
{
	return node->ops == &segment_node_ops;
}

/* ---- files come and go ---- */

/* Sets up a file, zeroed, without a name, to which nobody refers. */
static void set_up_segment(struct text_log *log, struct text_segment *segment,
	const struct node *like, const struct timespec *made)
{
	node_init(&segment->node, &segment_node_ops, log->directory, like->mode, like->uid,
		like->gid, made);
	/* It grows, and its name moves on to another, without the kernel's doing. */
	segment->node.uncached = true;
	segment->node.hidden = like->hidden;
	segment->log = log;
	LIST_INSERT_HEAD(&log->segments, segment, siblings);
}

/* The files that are there get the names of what they are now. */
static void give_names(struct text_log *log)
{
	log->name.node = log->current ? &log->current->node : NULL;
	log->older_name.node = log->older ? &log->older->node : NULL;
	if (log->current)
		log->current->node.name = log->name.name;
	if (log->older)
		log->older->node.name = log->older_name.name;
}

/* Without its name it goes, unless somebody has it open. */
static void drop(struct text_segment *segment)
{
	segment->node.name = NULL;
	node_check_idle(&segment->node);
}

/* Whoever collects files that are open and have no name gets no more than these of the memory. */
static void bound_open_ones(struct text_log *log, unsigned int most)
{
	struct text_segment *segment;
	unsigned int kept = 0;

	LIST_FOREACH(segment, &log->segments, siblings)
	if (!segment->node.name && segment->text && ++kept > most)
		give_back_text(segment);
}

int text_log_init(struct text_log *log, struct directory *directory,
	const struct text_log_limits *limits, const char *name, const char *older_name, mode_t mode,
	struct node *stream)
{
	const struct node like = {
		.mode = S_IFREG | mode, .uid = directory->node.uid, .gid = directory->node.gid
	};
	struct text_segment *first = &log->first;

	*first = (struct text_segment){ 0 };
	log->directory = directory;
	log->limits = limits;
	log->name.name = name;
	log->older_name.name = older_name;
	SLIST_INSERT_HEAD(&directory->fixed, &log->older_name, siblings);
	SLIST_INSERT_HEAD(&directory->fixed, &log->name, siblings);
	log->stream = stream;
	LIST_INIT(&log->segments);
	log->user = NULL;
	LIST_INIT(&log->spare_segments);
	log->spare_count = 0;
	LIST_INSERT_HEAD(&directory->logs, log, siblings);
	/* It is made with its directory: one look at the clock serves both. */
	set_up_segment(log, first, &like, &directory->node.mtime);
	log->current = first;
	give_names(log);
	if (!limits->reserved)
		return quota_user_get(
			&directory->tree->quota, directory->node.uid, &log->user, NULL);
	log->spare = reserve(limits->bytes);
	if (!log->spare || !make_room(first, limits->bytes))
		return -ENOMEM;
	log->spare = reserve(limits->bytes);
	while (log->spare_count < SPARE_SEGMENTS) {
		struct text_segment *spare = malloc(sizeof(*spare));

		if (!spare)
			return -ENOMEM;
		keep_segment(log, spare);
	}
	return log->spare ? 0 : -ENOMEM;
}

/* Whoever watches by inotify learns that there is another file under the name. */
static void tell_of_rotation(struct text_log *log)
{
	struct notifier *notifier = log->directory->tree->notifier;
	const struct node *node = &log->current->node;
	char path[DIRECTORY_PATH_MAX];

	if (notifier && !node->hidden && directory_path(node, path))
		notifier_rotated(notifier, path);
}

/* Zeroed. NULL: no memory. */
static struct text_segment *new_segment(struct text_log *log)
{
	struct text_segment *spare = LIST_FIRST(&log->spare_segments);

	if (!spare)
		return calloc(1, sizeof(*spare));
	LIST_REMOVE(spare, siblings);
	log->spare_count--;
	*spare = (struct text_segment){ 0 };
	return spare;
}

/* For a text of so many bytes. False: no memory, and the file stays. */
static bool rotate(struct text_log *log, size_t size)
{
	struct text_segment *full = log->current, *fresh = new_segment(log);
	struct timespec now;

	if (!fresh)
		return false;
	/* First, so that nothing has moved without it. What is reserved comes back with the oldest file. */
	fresh->log = log;
	if (!log->limits->reserved && !make_room(fresh, size)) {
		free(fresh);
		return false;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	set_up_segment(log, fresh, &full->node, &now);
	fresh->base = full->base + full->size;
	if (log->older)
		drop(nefs_take_ptr(log->older));
	log->older = full;
	log->current = fresh;
	give_names(log);
	node_written(&log->directory->node);
	bound_open_ones(log, TEXT_LOG_OPEN_MAX);
	tell_of_rotation(log);
	return true;
}

/* ---- text comes ---- */

static void add(struct text_log *log, const char *data, size_t size)
{
	struct text_segment *segment = log->current;

	memcpy(segment->text + segment->size, data, size);
	segment->size += size;
	segment->records++;
}

static void tell(struct text_log *log)
{
	node_changed(&log->current->node);
	/* What nobody has open is news to nobody. */
	if (log->stream && !LIST_EMPTY(&log->stream->handles))
		node_changed(log->stream);
}

/*
 * Room in the current file, if need be by what the log has itself: the files that only who has them open can read
 * go, and the one that is there is full.
 */
static bool make_way(struct text_log *log, size_t size)
{
	if (make_room(log->current, size))
		return true;
	if (!log->user)
		return false;
	bound_open_ones(log, 0);
	if (make_room(log->current, size))
		return true;
	return log->current->size && rotate(log, size);
}

bool text_log_append(struct text_log *log, const char *record, size_t size)
{
	const struct text_log_limits *limits = log->limits;
	const struct text_segment *segment = log->current;

	if (size > limits->bytes)
		return false;
	if (size > limits->bytes - segment->size ||
		(limits->records && segment->records >= limits->records)) {
		if (!rotate(log, size))
			return false;
	}
	if (!make_way(log, size))
		return false;
	add(log, record, size);
	tell(log);
	return true;
}

/* How much of what comes belongs into this file; 0: it is full. */
static size_t fitting(const struct text_log *log, const char *data, size_t size)
{
	const struct text_segment *segment = log->current;
	size_t room = log->limits->bytes - segment->size, from = 0;
	const char *end;

	if (size > room)
		size = room;
	if (room - size >= LAST_PART(log->limits))
		return size;
	/* The part that may be the last one: is there a place to end? */
	if (room > LAST_PART(log->limits))
		from = room - LAST_PART(log->limits);
	else if (segment->size && segment->text[segment->size - 1] == '\n')
		return 0;
	end = size > from ? memchr(data + from, '\n', size - from) : NULL;
	return end ? (size_t)(end - data) + 1 : size;
}

void text_log_write(struct text_log *log, const char *data, size_t size)
{
	while (size > 0) {
		size_t piece = fitting(log, data, size);

		if (!piece) {
			if (!rotate(log, 1))
				break;
			continue;
		}
		if (piece > TEXT_LOG_FREE && log->user && !make_room(log->current, piece))
			piece = TEXT_LOG_FREE;
		if (!make_way(log, piece))
			break;
		add(log, data, piece);
		tell(log);
		data += piece;
		size -= piece;
	}
}

void text_log_rotate(struct text_log *log)
{
	if (log->current->size)
		rotate(log, 0);
}

/* ---- streams ---- */

uint64_t text_log_oldest(const struct text_log *log)
{
	return (log->older ? log->older : log->current)->base;
}

uint64_t text_log_end(const struct text_log *log)
{
	return log->current->base + log->current->size;
}

size_t text_log_peek(const struct text_log *log, uint64_t position, const char **data)
{
	const struct text_segment *segment = log->current;

	if (position < segment->base)
		segment = log->older;
	if (!segment || position < segment->base || position - segment->base >= segment->size)
		return 0;
	*data = segment->text + (position - segment->base);
	return segment->size - (size_t)(position - segment->base);
}

/* ---- the directory ---- */

bool text_log_owns(const struct directory *directory, const char *name)
{
	const struct text_log *log;

	LIST_FOREACH(log, &directory->logs, siblings)
	if (strcmp(name, log->name.name) == 0 || strcmp(name, log->older_name.name) == 0)
		return true;
	return false;
}

/* ---- a rotation as it is repeated for those who watch ---- */

static struct text_log *find_log(struct directory *directory, const char *name)
{
	struct text_log *log;

	LIST_FOREACH(log, &directory->logs, siblings)
	if (log->current && log->older &&
		(strcmp(name, log->name.name) == 0 || strcmp(name, log->older_name.name) == 0))
		return log;
	return NULL;
}

struct node *text_log_before(struct directory *directory, const char *name, struct node *found)
{
	const struct text_log *log = find_log(directory, name);
	bool older;

	if (!log)
		return found;
	older = strcmp(name, log->older_name.name) == 0;
	return older == log->moved ? &log->older->node : NULL;
}

bool text_log_moved(struct directory *directory, const char *name, const char *new_name)
{
	struct text_log *log = find_log(directory, name);

	if (!log || strcmp(name, log->name.name) != 0 ||
		strcmp(new_name, log->older_name.name) != 0)
		return false;
	log->moved = true;
	return true;
}

struct node *text_log_made(struct directory *directory, const char *name)
{
	struct text_log *log = find_log(directory, name);

	if (!log || strcmp(name, log->name.name) != 0)
		return NULL;
	log->moved = false;
	return &log->current->node;
}

/* ---- its end ---- */

void text_log_unlink(struct text_log *log)
{
	struct text_segment *older = nefs_take_ptr(log->older),
			    *current = nefs_take_ptr(log->current), *segment;

	give_names(log);
	if (older)
		drop(older);
	if (current)
		drop(current);
	/* What is open of them answers ENODEV now, or will: its text is nobody's. */
	LIST_FOREACH(segment, &log->segments, siblings)
	give_back_text(segment);
	quota_user_put(nefs_take_ptr(log->user));
}

int text_log_chown(struct text_log *log, uid_t uid)
{
	const struct text_segment *segment;
	struct quota_user *user;
	int failed;

	if (log->limits->reserved)
		return 0;
	failed = quota_user_get(&log->directory->tree->quota, uid, &user, NULL);
	if (failed)
		return failed;
	LIST_FOREACH(segment, &log->segments, siblings)
	quota_move(log->user, user, QUOTA_TEXT, segment->room);
	quota_user_put(log->user);
	log->user = user;
	return 0;
}

void text_log_reveal(struct text_log *log)
{
	log->current->node.hidden = false;
	if (log->older)
		log->older->node.hidden = false;
}

void text_log_drop_requests(struct text_log *log)
{
	struct text_segment *segment;

	LIST_FOREACH(segment, &log->segments, siblings)
	node_drop_requests(&segment->node);
}

void text_log_release(struct text_log *log)
{
	struct text_segment *segment;

	if (!log->directory)
		return;
	text_log_unlink(log);
	/* Without a name each is gone with the last of its handles. */
	while ((segment = LIST_FIRST(&log->segments)))
		node_close_handles(&segment->node);
	free(nefs_take_ptr(log->spare));
	while ((segment = LIST_FIRST(&log->spare_segments))) {
		LIST_REMOVE(segment, siblings);
		free(segment);
	}
	LIST_REMOVE(log, siblings);
	SLIST_REMOVE(&log->directory->fixed, &log->name, fixed_name, siblings);
	SLIST_REMOVE(&log->directory->fixed, &log->older_name, fixed_name, siblings);
	log->directory = NULL;
}
