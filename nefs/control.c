/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control.h"
#include "directory.h"
#include "notifier.h"
#include "text.h"
#include "tree.h"
#include "values.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <nefs/cleanup.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* What kernfs answers for each of its files. */
#define POLL_ALWAYS (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM)

/* ---- values ---- */

/* Into tree->render. 0 or -ENOMEM. */
static int render(struct node *node)
{
	struct tree *tree = node->directory->tree;

	if (!tree->render.out && text_stream_open(&tree->render))
		return -ENOMEM;
	text_stream_begin(&tree->render);
	tree->render_failed = false;
	if (node->control->show)
		node->control->show(node, tree->render.out);
	return text_stream_end(&tree->render) || tree->render_failed ? -ENOMEM : 0;
}

void control_show_failed(struct node *node)
{
	node->directory->tree->render_failed = true;
}

int control_render(struct node *node, char **text, size_t *size)
{
	struct tree *tree = node->directory->tree;

	if (render(node))
		return -ENOMEM;
	*size = tree->render.size;
	*text = malloc(*size + 1);
	if (!*text)
		return -ENOMEM;
	memcpy(*text, tree->render.text, *size + 1);
	return 0;
}

void control_show_error(struct node *node, FILE *out)
{
	if (node->directory->error)
		fprintf(out, "%s\n", node->directory->error);
}

/* The directory whose `error` tells what is refused in this one. */
static struct directory *that_tells(struct directory *directory)
{
	while (!directory->error_node && directory->parent)
		directory = directory->parent;
	return directory;
}

/* A name as the directory knows it whose `error` tells: "sub/file" if it is not its own. */
struct told_name {
	char text[2 * (NAME_MAX + 1)];
};

static const char *told_name(
	const struct directory *directory, const char *about, struct told_name *told)
{
	if (directory->error_node || !about || !directory->node.name)
		return about;
	snprintf(told->text, sizeof(told->text), "%s/%s", directory->node.name, about);
	return told->text;
}

void control_set_error(struct directory *directory, const char *about, const char *sentence)
{
	struct told_name told;
	char *after;

	about = told_name(directory, about, &told);
	directory = that_tells(directory);
	if (!directory->error_node || directory->removed)
		return;
	free(directory->error_about);
	directory->error_about = about && *sentence ? strdup(about) : NULL;
	/* A change is one event for its pollers; the same again is none. */
	if (strcmp(directory->error ? directory->error : "", sentence) == 0)
		return;
	/* Without memory for it none is better than the one before, which was about something else. */
	after = *sentence ? strdup(sentence) : NULL;
	free(directory->error);
	directory->error = after;
	node_changed(directory->error_node);
}

void control_refused(struct directory *directory, const char *about, const struct nefs_error *err)
{
	struct directory *telling = that_tells(directory);

	if (telling->ops->refused)
		telling->ops->refused(telling, about, directory->tree->caller, err);
	control_set_error(directory, about, err->text);
}

void control_accepted(struct directory *directory, const char *about)
{
	const struct directory *telling = that_tells(directory);
	struct told_name told;

	if (telling->error_about &&
		strcmp(telling->error_about, told_name(directory, about, &told)) == 0)
		control_set_error(directory, NULL, "");
}

void control_outcome(struct directory *directory, const char *file, struct nefs_error *err)
{
	nefs_error_prefix(err, "%s", file);
	if (err->code)
		control_refused(directory, file, err);
	else
		control_accepted(directory, file);
}

int control_store(struct node *node, const char *text, size_t size)
{
	const struct control *control = node->control;
	struct nefs_error err = { 0 };
	int result;

	if (node_gone(node))
		return -ENODEV;
	if (!control->store)
		return -EACCES;
	if (size > VALUE_MAX)
		result = nefs_error_set(&err, E2BIG,
			"%zu bytes were written at once, a value has at most %d", size, VALUE_MAX);
	else
		result = control->store(node, text, size, &err);
	if (!(control->flags & CONTROL_REPORTS) || size > VALUE_MAX)
		control_outcome(node->directory, control->name, &err);
	return result;
}

bool control_wants_text(const struct handle *handle, off_t offset)
{
	/* What the page cache gets is everybody's: it must not be what this reader saw once. */
	return offset == 0 || handle->paging || (!handle->text && !handle->lost);
}

void control_take_text(struct handle *handle, struct text *text)
{
	text_unref(handle->text);
	handle->text = text;
	handle->lost = 0;
	handle->seen = handle->node->changes;
}

void control_lose_texts(struct node *node)
{
	struct handle *handle;

	LIST_FOREACH(handle, &node->handles, siblings)
	{
		if (!handle->text || handle->text->size <= VALUE_MAX)
			continue;
		handle->lost = handle->text->size;
		text_unref(handle->text);
		handle->text = NULL;
	}
}

void control_reply_text(fuse_req_t req, const struct handle *handle, size_t size, off_t offset)
{
	const struct text *text = handle->text;

	if (!text) {
		if (offset < 0 || (uint64_t)offset < handle->lost)
			fuse_reply_err(req, ESTALE);
		else
			fuse_reply_buf(req, NULL, 0);
		return;
	}
	if (offset < 0 || (uint64_t)offset >= text->size)
		size = 0;
	else if (size > text->size - (size_t)offset)
		size = text->size - (size_t)offset;
	fuse_reply_buf(req, size ? text->data + offset : NULL, size);
}

void control_read_text(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	const struct tree *tree = handle->node->directory->tree;
	struct text *text;

	if (control_wants_text(handle, offset)) {
		text = render(handle->node) ? NULL : text_new(tree->render.text, tree->render.size);
		if (!text) {
			fuse_reply_err(req, ENOMEM);
			return;
		}
		control_take_text(handle, text);
	}
	control_reply_text(req, handle, size, offset);
}

/* ---- what a control file does as a node ---- */

bool control_is_settable(const struct node *row)
{
	return (row->control->flags & CONTROL_SETTABLE) != 0;
}

bool control_is_writable(const struct node *row)
{
	const struct control *control = row->control;

	return control->store || (control->ops && control->ops->write);
}

void control_hide(struct node *row)
{
	row->hidden = true;
	node_written(&row->directory->node);
}

void control_show(struct node *row)
{
	if (row->hidden)
		node_written(&row->directory->node);
	row->hidden = false;
}

void control_withdraw(struct node *row)
{
	control_hide(row);
	row->control->reset(row);
	node_renew(row);
}

void control_show_read_only(struct directory *directory)
{
	bool shown = false;

	for (size_t i = 0; i < directory->control_count; i++) {
		struct node *row = &directory->controls[i];

		shown = shown || (row->hidden && !control_is_settable(row));
		if (!control_is_settable(row))
			control_show(row);
	}
	/* Nothing came through the kernel that would have told it. */
	if (shown)
		node_invalidate(&directory->node);
}

/* For root, too, as sysfs does: the kernel lets root pass whatever the mode says. */
static int refuse_write(struct nefs_error *err)
{
	return nefs_error_set(err, EACCES, "it can only be read");
}

static int open_control(struct handle *handle)
{
	const struct control *control = handle->node->control;
	bool writes = handle_writes(handle) || handle->flags & O_TRUNC;
	struct nefs_error err = { 0 };
	int failed = 0;

	handle->cut = (handle->flags & O_TRUNC) != 0;
	if (writes && !control_is_writable(handle->node))
		failed = refuse_write(&err);
	else if (control->ops && control->ops->open)
		failed = control->ops->open(handle, &err);
	if (failed)
		control_outcome(handle->node->directory, control->name, &err);
	return failed;
}

static void read_control(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	const struct control *control = handle->node->control;

	if (node_gone(handle->node))
		fuse_reply_err(req, ENODEV);
	else if (control->ops && control->ops->read)
		control->ops->read(req, handle, size, offset);
	else
		control_read_text(req, handle, size, offset);
}

static void read_again(const struct parked *waiting)
{
	waiting->handle->paging = waiting->paging;
	read_control(waiting->req, waiting->handle, waiting->size, waiting->offset);
}

static void answer_write(struct parked *parked, int result)
{
	if (result)
		fuse_reply_err(parked->req, -result);
	else
		fuse_reply_write(parked->req, parked->size);
}

static void park_write(fuse_req_t req, struct node *node, size_t size)
{
	struct parked *parked;

	/* A signal ends the wait as its bound does: what was asked for goes on, and is no failure. */
	if (fuse_req_interrupted(req)) {
		fuse_reply_write(req, size);
		return;
	}
	parked = node->control->ops->park(node, req);
	if (!parked) {
		/* Nor has it failed: it can only not be waited for. */
		fuse_reply_write(req, size);
		return;
	}
	parked->size = size;
	parked->answer = answer_write;
}

/*
 * The kernel writes a page that somebody changed in a mapping: padded, at a time of its own, and by whoever
 * has the file open. msync(2), fsync(2) or close(2) tell the writer; nobody else shall see that page.
 */
static int refuse_page(struct node *node, struct nefs_error *err)
{
	nefs_error_set(err, EACCES,
		"it was changed through a shared mapping (mmap(2)), which sets nothing; use write(2), or a "
		"rename");
	control_outcome(node->directory, node->control->name, err);
	node->paged = true;
	node_drop_pages(node);
	return -EACCES;
}

/* Answers a write whose outcome is told. */
static void reply_write(fuse_req_t req, struct handle *handle, ssize_t result)
{
	if (result < 0) {
		fuse_reply_err(req, (int)-result);
		return;
	}
	handle->cut = false;
	node_written(handle->node);
	/* The kernel dropped them before the write: somebody may have come in between. */
	node_drop_pages(handle->node);
	fuse_reply_write(req, (size_t)result);
}

void control_end_write(
	fuse_req_t req, struct handle *handle, ssize_t result, struct nefs_error *err)
{
	struct node *node = handle->node;

	control_outcome(node->directory, node->control->name, err);
	reply_write(req, handle, result);
}

static void write_control(
	fuse_req_t req, struct handle *handle, const char *data, size_t size, off_t offset)
{
	struct node *node = handle->node;
	const struct control *control = node->control;
	struct nefs_error err = { 0 };
	ssize_t result;

	if (node_gone(node)) {
		result = -ENODEV;
	} else if (handle->paging) {
		result = refuse_page(node, &err);
	} else if (size == 0) {
		result = 0;
	} else if (control->ops && control->ops->write) {
		control->ops->write(req, handle, data, size, offset);
		return;
	} else {
		result = control_store(node, data, size);
		/* Runtimes such as Go's set O_NONBLOCK on every file: only open(2)'s was meant. */
		if (result == STORE_PARKED && !(handle->asked & O_NONBLOCK)) {
			park_write(req, node, size);
			return;
		}
		if (result >= 0)
			result = (ssize_t)size;
	}
	reply_write(req, handle, result);
}

/*
 * Has the kernel know its size, or (touch) inotify that it has changed, which does both. What it does not know of
 * needs neither.
 */
static void notify(struct node *node, bool touch)
{
	struct notifier *notifier = node->directory->tree->notifier;
	char path[DIRECTORY_PATH_MAX];

	if (!notifier || node->hidden || node_gone(node) || !directory_path(node, path))
		return;
	if (touch)
		notifier_touch(notifier, path);
	else if (node->lookups && !node->uncached && !node->steady)
		notifier_look(notifier, path);
}

static void close_control(struct handle *handle)
{
	const struct control *control = handle->node->control;

	if (control->ops && control->ops->close)
		control->ops->close(handle);
	if (handle->cut && !handle->gone)
		notify(handle->node, false);
}

static int resize_control(struct node *node, uint64_t size, struct node_end *end)
{
	const struct control *control = node->control;
	struct nefs_error err = { 0 };
	int failed;

	if (node_gone(node))
		return -ENODEV;
	if (!control_is_writable(node))
		failed = refuse_write(&err);
	else if (control->ops && control->ops->truncate)
		failed = control->ops->truncate(node, size, end, &err);
	else
		/* It has no length of its own: truncation changes nothing, as in kernfs. */
		return 0;
	if (failed == NODE_LATER)
		return failed;
	control_outcome(node->directory, control->name, &err);
	return failed;
}

static unsigned int poll_control(struct handle *handle)
{
	const struct node *node = handle->node;
	const struct control *control = node->control;

	if (node_gone(node))
		return POLL_ALWAYS | POLLERR | POLLPRI | POLLHUP;
	if (control->ops && control->ops->readable)
		return control->ops->readable(handle) ? POLLIN | POLLRDNORM : 0;
	if (control->flags & CONTROL_POLL && handle->seen != node->changes)
		return POLL_ALWAYS | POLLERR | POLLPRI;
	return POLL_ALWAYS;
}

static uint64_t control_size(struct node *node)
{
	const struct control_ops *ops = node->control->ops;

	if (node_gone(node))
		return 0;
	if (ops && ops->size)
		return ops->size(node);
	/*
	 * At a size of 0 sendfile(2) is at the end. At any other it asks, and what it gets here (EINVAL)
	 * makes who called it read(2).
	 */
	if (ops && ops->readable)
		return 1;
	/* What makes its text by itself has none to be measured before it is read. */
	if (ops && ops->read)
		return 0;
	return render(node) ? 0 : (uint64_t)node->directory->tree->render.size;
}

static bool control_settled(struct node *node)
{
	const struct control_ops *ops = node->control->ops;

	return !ops || !ops->settled || node_gone(node) || ops->settled(node);
}

static void control_changed(struct node *node)
{
	parked_retry(&node->parked, read_again);
	notify(node, (node->control->flags & CONTROL_POLL) != 0);
}

static int chown_control(struct node *node, uid_t uid)
{
	const struct control_ops *ops = node->control->ops;

	return ops && ops->chown && !node_gone(node) ? ops->chown(node, uid) : 0;
}

static const struct node_ops control_node_ops = {
	.chown = chown_control,
	.open = open_control,
	.read = read_control,
	.write = write_control,
	.close = close_control,
	.resize = resize_control,
	.poll = poll_control,
	.size = control_size,
	.settled = control_settled,
	.changed = control_changed,
};

void control_unset(struct node *node)
{
	node->mtime = (struct timespec){ 0 };
}

int control_populate(struct directory *directory, const struct control *table)
{
	const struct node *parent = &directory->node;
	size_t count = 0;

	while (count < CONTROL_ROWS_MAX && table[count].name)
		count++;
	directory->controls = calloc(count, sizeof(*directory->controls));
	if (!directory->controls)
		return -ENOMEM;
	directory->table = table;
	directory->control_count = count;
	for (size_t i = 0; i < count; i++) {
		struct node *node = &directory->controls[i];

		/* A directory's files are made with it: one look at the clock serves them all. */
		node_init(node, &control_node_ops, directory, S_IFREG | table[i].mode, parent->uid,
			parent->gid, &parent->mtime);
		node->control = &table[i];
		node->name = table[i].name;
		node->uncached = (table[i].flags & CONTROL_VOLATILE) != 0;
		if (table[i].flags & CONTROL_UNSET)
			control_unset(node);
		node->steady = (table[i].flags & CONTROL_STEADY) != 0;
		if (table[i].handle)
			*(struct node **)((char *)directory + table[i].handle) = node;
	}
	return 0;
}
