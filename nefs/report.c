/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report.h"
#include "enclave.h"
#include "text.h"
#include <errno.h>
#include <nefs/cleanup.h>
#include <nefs/clock.h>
#include <nefs/paced_read.h>
#include <stdlib.h>
#include <string.h>

static struct enclave *of(const struct node *node)
{
	return enclave_of(node->directory);
}

/* Nobody waits any longer for the size of what tells of the image. */
static void settle(struct enclave *enclave)
{
	if (enclave->report_timer)
		sd_event_source_set_enabled(enclave->report_timer, SD_EVENT_OFF);
	node_settled(enclave->files.measurements);
	node_settled(enclave->files.image_info);
}

/* They have their text, or there is none to wait for. */
static void tell(struct enclave *enclave)
{
	settle(enclave);
	node_changed(enclave->files.measurements);
	node_changed(enclave->files.image_info);
}

/* Until their sizes are known the kernel asks for them each time. */
static void set_uncached(struct enclave *enclave, bool uncached)
{
	enclave->files.measurements->uncached = uncached;
	enclave->files.image_info->uncached = uncached;
}

static bool is_waited_for(const struct enclave *enclave)
{
	const struct node *measurements = enclave->files.measurements,
			  *info = enclave->files.image_info;

	return !LIST_EMPTY(&measurements->stats) || !LIST_EMPTY(&info->stats) ||
	       !LIST_EMPTY(&measurements->parked) || !LIST_EMPTY(&info->parked);
}

void report_invalidate(struct enclave *enclave)
{
	image_forget(&enclave->image);
	control_lose_texts(enclave->files.image_info);
	image_cancel_report(&enclave->image, fs_of(&enclave->directory)->workers);
	set_uncached(enclave, false);
	node_invalidate(enclave->files.measurements);
	node_invalidate(enclave->files.image_info);
	set_uncached(enclave, enclave->image.file != NULL);
	/* Whoever waits for what is void now has what took its place described. */
	if (!enclave->image.file || (is_waited_for(enclave) && report_request(enclave)))
		tell(enclave);
}

/* A report being made by a worker. */
struct description {
	struct work work; /* first */
	struct enclave *enclave;
	struct spool_file *file;
	struct spool_file *running; /* what it may be the same as; NULL: nothing of its size runs */
	uint64_t generation;
	struct backend_image_report report;
	struct text *measurements, *info;
	bool same; /* as running, byte for byte */
	struct nefs_error error;
};

static struct text *take_text(char *made)
{
	struct text *text = text_new(made, strlen(made));

	free(made);
	return text;
}

/* Has it, of the same size, the same bytes as the one that runs? */
static bool is_same(struct description *description)
{
	enum { PIECE = 1 << 16 };
	NEFS_AUTO_FREE char *pieces = malloc(2 * PIECE);
	const int fds[] = { description->file->fd, description->running->fd };
	const bool in_memory[] = { nefs_is_in_memory(fds[0]), nefs_is_in_memory(fds[1]) };
	const uint64_t size = description->running->size;
	struct nefs_pace *pace = &description->work.pace;
	bool same = pieces != NULL;

	for (uint64_t offset = 0; same && offset < size;) {
		size_t piece = size - offset < PIECE ? (size_t)(size - offset) : PIECE;

		if (nefs_paced_read(fds[0], in_memory[0], pieces, piece, offset, pace))
			return false;
		nefs_pace_end(pace);
		if (nefs_paced_read(fds[1], in_memory[1], pieces + PIECE, piece, offset, pace))
			return false;
		same = memcmp(pieces, pieces + PIECE, piece) == 0;
		nefs_pace_end(pace);
		offset += piece;
	}
	return same;
}

static void run_description(struct work *work)
{
	struct description *description = (struct description *)work;
	struct backend_image_report *report = &description->report;

	if (backend_image_describe(
		    description->file->fd, &work->pace, report, &description->error) == 0) {
		description->measurements = take_text(report->measurements);
		description->info = take_text(report->info);
		if (!description->measurements || !description->info)
			nefs_error_set(&description->error, ENOMEM,
				"out of memory for what is told of it");
	}
	if (description->running)
		description->same = is_same(description);
}

void report_merge(struct enclave *enclave, const struct handle *closing)
{
	struct image *image = &enclave->image;

	if (!image->twin || image->twin != enclave->applied.image ||
		node_is_written(enclave->files.image, closing))
		return;
	spool_file_unref(image->file);
	image->file = enclave->applied.image;
	spool_file_ref(image->file);
	image->twin = NULL;
	enclave_compare(enclave);
}

/* Takes over what was found of the image that is there now. */
static void take_report(struct enclave *enclave, struct description *description)
{
	struct nefs_error *error = &description->error;
	struct image *image = &enclave->image;

	image->known = true;
	image->sound = !error->code;
	memcpy(image->pcr0, description->report.pcr0, sizeof(image->pcr0));
	image->measurements = nefs_take_ptr(description->measurements);
	image->info = nefs_take_ptr(description->info);
	if (error->code) {
		control_outcome(&enclave->directory, "image", error);
		image->unsound = malloc(sizeof(*image->unsound));
		if (image->unsound)
			*image->unsound = *error;
	}
	set_uncached(enclave, false);
	image->twin = description->same ? description->running : NULL;
	report_merge(enclave, NULL);
}

/*
 * Nothing was found of it, for lack of memory or by a fault of the disk: who waits is told, and who asks next
 * has it tried again.
 */
static void give_up(struct enclave *enclave, struct nefs_error *error)
{
	control_outcome(&enclave->directory, "image", error);
	parked_drop(&enclave->files.measurements->parked, NULL, error->code);
	parked_drop(&enclave->files.image_info->parked, NULL, error->code);
	settle(enclave);
}

/* What was described is not the image any more: that which is there now is described, if it is whole. */
static void describe_next(struct enclave *enclave)
{
	if (!enclave->image.file ||
		(node_is_written(enclave->files.image, NULL) && !is_waited_for(enclave)) ||
		report_request(enclave))
		tell(enclave);
}

static void description_done(struct work *work)
{
	struct description *description = (struct description *)work;
	struct enclave *enclave = description->enclave;

	enclave->image.describing = NULL;
	enclave->image.described = NULL;
	if (description->generation != enclave->image.generation) {
		if (!enclave->directory.removed)
			describe_next(enclave);
	} else if (work_cancelled(work)) {
		/* It was wanted, and nefs itself ends: nobody is left to read it. */
		settle(enclave);
	} else if (description->error.code && description->error.code != EINVAL) {
		give_up(enclave, &description->error);
	} else {
		take_report(enclave, description);
		tell(enclave);
	}
	text_unref(description->measurements);
	text_unref(description->info);
	spool_file_unref(description->running);
	spool_file_unref(description->file);
	directory_unref(&enclave->directory);
	free(description);
}

int report_request(struct enclave *enclave)
{
	const struct spool_file *running = enclave->applied.image;
	struct image *image = &enclave->image;
	struct description *description;

	if (image->describing || image->known)
		return 0;
	description = calloc(1, sizeof(*description));
	if (!description)
		return -ENOMEM;
	description->work.run = run_description;
	description->work.done = description_done;
	description->work.what = "the check of an image";
	description->work.owner = enclave->files.image->uid;
	description->work.lane = WORK_REPORT;
	description->enclave = enclave;
	description->file = image->file;
	description->generation = image->generation;
	spool_file_ref(image->file);
	if (running && running != image->file && running->size == image->file->size) {
		description->running = enclave->applied.image;
		spool_file_ref(description->running);
	}
	directory_ref(&enclave->directory);
	image->describing = &description->work;
	image->described = image->file;
	workers_submit(fs_of(&enclave->directory)->workers, &description->work);
	return 0;
}

static struct text *report_text(const struct node *node)
{
	const struct image *image = &enclave_of(node->directory)->image;

	return node->control->ops == &measurements_ops ? image->measurements : image->info;
}

static void read_report(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
	struct enclave *enclave = of(handle->node);
	struct text *text;

	if (control_wants_text(handle, offset)) {
		if (!enclave->image.known && enclave->image.file) {
			if (report_request(enclave))
				fuse_reply_err(req, ENOMEM);
			else
				handle_wait_read(req, handle, size, offset);
			return;
		}
		text = report_text(handle->node);
		text = text ? text_ref(text) : text_new("", 0);
		if (!text) {
			fuse_reply_err(req, ENOMEM);
			return;
		}
		control_take_text(handle, text);
	}
	control_reply_text(req, handle, size, offset);
}

static uint64_t report_size(struct node *node)
{
	const struct text *text = report_text(node);

	return text ? text->size : 0;
}

static int on_report_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct enclave *enclave = userdata;

	enclave->image.overdue = true;
	settle(enclave);
	return 0;
}

/* Ends the wait of those who ask for a size now, if they are the first. */
static int bound_wait(struct enclave *enclave)
{
	uint64_t until = nefs_now_usec() + REPORT_WAIT_USEC;
	int enabled = SD_EVENT_OFF;

	if (!enclave->report_timer) {
		int failed =
			sd_event_add_time(fs_of(&enclave->directory)->event, &enclave->report_timer,
				CLOCK_MONOTONIC, until, 0, on_report_timer, enclave);

		if (failed >= 0)
			sd_event_source_set_description(enclave->report_timer, "size of a report");
		return failed;
	}
	sd_event_source_get_enabled(enclave->report_timer, &enabled);
	if (enabled != SD_EVENT_OFF)
		return 0;
	sd_event_source_set_time(enclave->report_timer, until);
	return sd_event_source_set_enabled(enclave->report_timer, SD_EVENT_ONESHOT);
}

static bool report_settled(struct node *node)
{
	struct enclave *enclave = of(node);
	const struct image *image = &enclave->image;

	return image->known || !image->file || image->overdue || report_request(enclave) ||
	       bound_wait(enclave) < 0;
}

const struct control_ops measurements_ops = {
	.read = read_report,
	.size = report_size,
	.settled = report_settled,
};
const struct control_ops image_info_ops = {
	.read = read_report,
	.size = report_size,
	.settled = report_settled,
};
