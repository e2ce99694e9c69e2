/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text that grows, with its files and its stream, beside a plain array of all that was ever written: what is
 * read anywhere, by whomever, is what that has there; no record is cut; nobody is given more than its bounds.
 * The input is what the log is like, then a list of actions, each a byte that says which and its operands.
 */
#include "../unit/fake_fuse.h"
#include "control.h"
#include "directory.h"
#include "follow.h"
#include "fuzz.h"
#include "operations.h"
#include "text_log.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#define ACTIONS_MAX 400
#define BYTES_MAX   1024 /* of a file */
#define WRITE_MAX   3000 /* at once, what is no record */
#define TEXT_MAX    (ACTIONS_MAX * WRITE_MAX)
#define READERS	    16

struct reader {
	struct handle *handle; /* NULL: none */
	uint64_t base;	       /* of its file, or where the stream is; UINT64_MAX: not known yet */
	bool follows;
};

static struct fixture {
	struct tree tree;
	struct fuse_session session;
	struct text_log log;
	struct text_log_limits limits;
	struct directory *directory;
	struct reader readers[READERS];
	char text[TEXT_MAX];	  /* all that was written */
	bool is_inside[TEXT_MAX]; /* of a record, not at its begin */
	uint64_t size;
} fixture;

/* ---- a directory with a stream ---- */

struct log_directory {
	struct directory directory; /* first */
	struct node *stream;
};

static struct text_log *log_of(struct node *node)
{
	return &fixture.log;
}

static const struct follow_kind kind = { .log = log_of, .lines = true };

static int open_stream(struct handle *handle, struct nefs_error *err)
{
	return follow_open(&kind, handle);
}

static void read_stream(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	follow_read(&kind, req, handle, size, offset);
}

static bool stream_readable(struct handle *handle)
{
	return follow_readable(&kind, handle);
}

static const struct control_ops stream_ops = {
	.open = open_stream, .read = read_stream, .readable = stream_readable
};
static const struct control rows[] = {
	{ .name = "log.follow",
		.mode = 0444,
		.flags = CONTROL_UNLISTED,
		.handle = offsetof(struct log_directory, stream),
		.ops = &stream_ops },
	{ .name = NULL },
};

static void destroy(struct directory *directory)
{
	free(directory);
}

static const struct directory_ops directory_ops = { .destroy = destroy };

static void set_up(struct input *input)
{
	static const size_t sizes[] = { 64, 100, 256, BYTES_MAX };
	struct log_directory *made = calloc(1, sizeof(*made));
	const uint8_t what = (uint8_t)number(input, 1);

	must(made);
	memset(fixture.readers, 0, sizeof(fixture.readers));
	memset(&fixture.tree, 0, sizeof(fixture.tree));
	memset(&fixture.log, 0, sizeof(fixture.log));
	fixture.size = 0;
	fixture.limits = (struct text_log_limits){
		.bytes = sizes[what % 4], .records = what >> 2 & 3, .reserved = what & 0x10
	};
	LIST_INIT(&fixture.tree.alive);
	fixture.tree.session = &fixture.session;
	directory_init(&made->directory, &fixture.tree, &directory_ops, 0755, 0, 0);
	fixture.directory = &made->directory;
	fixture.tree.root = fixture.directory;
	must(control_populate(fixture.directory, rows) == 0);
	node_remember(&fixture.directory->node);
	must(text_log_init(&fixture.log, fixture.directory, &fixture.limits, "log", "log.1", 0444,
		     made->stream) == 0);
}

/* ---- what must hold ---- */

/* The bytes from a position on are those that were written there. */
static void check_text(uint64_t position, const char *data, size_t size)
{
	must(position <= fixture.size && size <= fixture.size - position);
	must(size == 0 || memcmp(data, fixture.text + position, size) == 0);
}

static void check_segment(const struct text_segment *segment)
{
	const uint64_t end = segment->base + segment->size;

	must(segment->size <= fixture.limits.bytes && segment->room >= segment->size);
	check_text(segment->base, segment->text, segment->size);
	if (segment->base < fixture.size)
		must(!fixture.is_inside[segment->base]);
	if (end < fixture.size)
		must(!fixture.is_inside[end]);
}

static void check_log(void)
{
	const struct text_log *log = &fixture.log;
	const struct text_segment *segment;
	unsigned int nameless = 0;

	check_segment(log->current);
	must(log->current->base + log->current->size == fixture.size);
	if (log->older) {
		check_segment(log->older);
		must(log->older->base + log->older->size == log->current->base);
	}
	must(text_log_end(log) == fixture.size);
	must(text_log_oldest(log) == (log->older ? log->older : log->current)->base);
	LIST_FOREACH(segment, &log->segments, siblings)
	nameless += !segment->node.name && segment->text;
	must(nameless <= TEXT_LOG_OPEN_MAX);
}

/* ---- actions ---- */

static void append(struct input *input)
{
	char record[BYTES_MAX + 2];
	const size_t size = 1 + number(input, 2) % (fixture.limits.bytes + 1);

	memset(record, 'a' + (int)(fixture.size % 26), size);
	record[size - 1] = '\n';
	if (!text_log_append(&fixture.log, record, size)) {
		must(size > fixture.limits.bytes);
		return;
	}
	must(size <= fixture.limits.bytes);
	memcpy(fixture.text + fixture.size, record, size);
	memset(fixture.is_inside + fixture.size, true, size);
	fixture.is_inside[fixture.size] = false;
	fixture.size += size;
}

static void write_bytes(struct input *input)
{
	char data[WRITE_MAX];
	const size_t size = number(input, 2) % (WRITE_MAX + 1);
	const size_t period = 1 + number(input, 1);
	const uint8_t *given;
	size_t count;

	for (size_t i = 0; i < size; i++)
		data[i] = i % period == period - 1 ? '\n' : (char)('A' + i % 26);
	count = bytes(input, &given, number(input, 1) % 16);
	if (count > 0)
		memcpy(data, given, count < size ? count : size);
	text_log_write(&fixture.log, data, size);
	memcpy(fixture.text + fixture.size, data, size);
	memset(fixture.is_inside + fixture.size, false, size);
	fixture.size += size;
}

static void end_reader(struct reader *reader)
{
	struct fuse_req req = { .tree = &fixture.tree };
	struct fuse_file_info info = { .fh = (uintptr_t)reader->handle };

	if (!reader->handle)
		return;
	op_release(&req, 0, &info);
	must(req.answers == 1 && req.error == 0);
	reader->handle = NULL;
}

static void open_file(struct reader *reader, const char *name)
{
	struct node *node = directory_find(fixture.directory, name);
	struct fuse_file_info info = { .flags = O_RDONLY | O_NONBLOCK };

	end_reader(reader);
	if (!node) {
		must(!strcmp(name, "log.1") && !fixture.log.older);
		return;
	}
	must(file_open(node, &info) == 0);
	reader->handle = (struct handle *)(uintptr_t)info.fh;
	reader->follows = !text_log_is(node);
	reader->base = reader->follows ? text_log_oldest(&fixture.log)
				       : ((struct text_segment *)node)->base;
}

/* A file gives what it has from there on; one that has no name any more, perhaps nothing. */
static void read_file(struct reader *reader, size_t size, uint64_t offset)
{
	static struct fuse_req req;
	const struct text_segment *segment = (struct text_segment *)reader->handle->node;

	req = (struct fuse_req){ .tree = &fixture.tree };
	reader->handle->node->ops->read(&req, reader->handle, size, (off_t)offset);
	must(req.answers == 1);
	if (req.reply == REPLY_ERROR) {
		must(req.error == ESTALE && !segment->node.name);
		return;
	}
	must(req.reply == REPLY_BUFFER && req.size <= size);
	if (offset >= segment->size) {
		must(req.size == 0);
		return;
	}
	must(req.size == (size < segment->size - offset ? size : segment->size - offset));
	check_text(reader->base + offset, req.data, req.size);
	must(reader->handle->node->ops->size(reader->handle->node) == segment->size);
}

/* A stream goes on where it was, in whole lines if one fits, unless it was overtaken, which it is told once. */
static void read_follow(struct reader *reader, size_t size)
{
	static struct fuse_req req;
	const uint64_t oldest = text_log_oldest(&fixture.log), end = text_log_end(&fixture.log);

	req = (struct fuse_req){ .tree = &fixture.tree };
	must(follow_readable(&kind, reader->handle) == (reader->base < end));
	reader->handle->node->ops->read(&req, reader->handle, size, 0);
	must(req.answers == 1);
	if (req.reply == REPLY_ERROR) {
		must(req.error == (reader->base < oldest ? EPIPE : EAGAIN));
		must(req.error == EPIPE || reader->base == end);
		if (req.error == EPIPE)
			reader->base = oldest;
		return;
	}
	must(reader->base >= oldest && reader->base < end);
	must(req.size > 0 && req.size <= size);
	check_text(reader->base, req.data, req.size);
	if (req.size < size && reader->base + req.size != fixture.log.current->base)
		must(reader->base + req.size == end || req.data[req.size - 1] == '\n');
	reader->base += req.size;
}

static void read_some(struct reader *reader, struct input *input)
{
	const size_t size = 1 + number(input, 2) % (FAKE_REPLY_MAX - 1);
	const uint64_t offset = number(input, 2);

	if (!reader->handle)
		return;
	if (reader->follows)
		read_follow(reader, size);
	else
		read_file(reader, size, offset % (2 * BYTES_MAX));
}

static void poll_some(const struct reader *reader)
{
	if (reader->handle)
		must(reader->handle->node->ops->poll(reader->handle) &
				(POLLOUT | POLLIN | POLLRDNORM) ||
			reader->follows);
}

static void peek(struct input *input)
{
	const uint64_t position = number(input, 3);
	const char *data = NULL;
	const size_t got = text_log_peek(&fixture.log, position, &data);

	must(!got == (position < text_log_oldest(&fixture.log) || position >= fixture.size));
	if (got)
		check_text(position, data, got);
}

static void act(struct input *input)
{
	const uint8_t what = (uint8_t)number(input, 1);
	struct reader *reader = &fixture.readers[what >> 4];

	switch (what % 10) {
	case 0:
	case 1:
		append(input);
		break;
	case 2:
		write_bytes(input);
		break;
	case 3:
		text_log_rotate(&fixture.log);
		break;
	case 4:
		open_file(reader, "log");
		break;
	case 5:
		open_file(reader, "log.1");
		break;
	case 6:
		open_file(reader, "log.follow");
		break;
	case 7:
		end_reader(reader);
		break;
	case 8:
		peek(input);
		poll_some(reader);
		break;
	default:
		read_some(reader, input);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };

	set_up(&input);
	for (unsigned int i = 0; i < ACTIONS_MAX && input.size; i++) {
		act(&input);
		check_log();
	}
	for (size_t i = 0; i < READERS; i++)
		end_reader(&fixture.readers[i]);
	tree_drop_requests(&fixture.tree);
	tree_release(&fixture.tree);
	must(LIST_EMPTY(&fixture.tree.alive));
	return 0;
}
