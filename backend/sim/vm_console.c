/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm_console.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/bell.h>
#include <nefs/byte_ring.h>
#include <nefs/cleanup.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

/* Read at a time: no more than this is on the device thread's stack. */
#define PIECE 16384

struct vm_console {
	int source; /* what the VM prints */
	sd_event_source *input;
	sd_event *event;
	int reader;		 /* our end; -1: none */
	sd_event_source *output; /* of reader, on while it is full */
	struct byte_ring kept;	 /* for the reader */
	bool finished;		 /* nothing more will come */
	int bell;		 /* there is a next_reader */
	sd_event_source *attached;

	pthread_mutex_t lock; /* the one below; all above is the device thread's */
	int next_reader;      /* attached, not served yet; -1: none */
};

static void drop_reader(struct vm_console *console)
{
	console->output = sd_event_source_disable_unref(console->output);
	nefs_cleanup_close(&console->reader);
	console->reader = -1;
}

/* Gives the reader as much as it takes. */
static void flush(struct vm_console *console)
{
	uint64_t position = 0;
	const char *data;
	size_t size;

	while (console->reader >= 0 && (size = byte_ring_peek(&console->kept, &position, &data))) {
		ssize_t sent = send(console->reader, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN) {
			sd_event_source_set_enabled(console->output, SD_EVENT_ON);
			return;
		}
		if (sent < 0) {
			drop_reader(console);
			return;
		}
		position += (uint64_t)sent;
		byte_ring_forget(&console->kept, position);
	}
	if (console->reader < 0)
		return;
	sd_event_source_set_enabled(console->output, SD_EVENT_OFF);
	if (console->finished)
		drop_reader(console);
}

static int on_output(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	flush(userdata);
	return 0;
}

/* Takes over the reader that was attached last. */
static void serve(struct vm_console *console)
{
	int reader;

	pthread_mutex_lock(&console->lock);
	reader = nefs_take_fd(&console->next_reader);
	pthread_mutex_unlock(&console->lock);
	if (reader < 0)
		return;
	drop_reader(console);
	console->reader = reader;
	if (sd_event_add_io(
		    console->event, &console->output, reader, EPOLLOUT, on_output, console) < 0) {
		drop_reader(console);
		return;
	}
	sd_event_source_set_description(console->output, "VM console reader");
	flush(console);
}

static int on_attached(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	nefs_bell_silence(fd);
	serve(userdata);
	return 0;
}

/* Takes one piece. False if there is none now; the end sets finished. */
static bool take(struct vm_console *console)
{
	char piece[PIECE];
	ssize_t got = read(console->source, piece, sizeof(piece));

	if (got > 0) {
		byte_ring_append(&console->kept, piece, (size_t)got);
		return true;
	}
	if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
		console->finished = true;
		sd_event_source_set_enabled(console->input, SD_EVENT_OFF);
	}
	return false;
}

static int on_input(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct vm_console *console = userdata;

	take(console);
	flush(console);
	return 0;
}

struct vm_console *vm_console_new(sd_event *event, int fd)
{
	struct vm_console *console = calloc(1, sizeof(*console));
	int failed;

	if (!console) {
		nefs_cleanup_close(&fd);
		return NULL;
	}
	console->kept.max = VM_CONSOLE_MAX;
	console->event = event;
	console->source = fd;
	console->reader = -1;
	console->next_reader = -1;
	pthread_mutex_init(&console->lock, NULL);
	console->bell = nefs_bell_new();
	failed = console->bell;
	if (failed >= 0)
		failed = sd_event_add_io(
			event, &console->attached, console->bell, EPOLLIN, on_attached, console);
	if (failed >= 0)
		failed = sd_event_add_io(event, &console->input, fd, EPOLLIN, on_input, console);
	sd_event_source_set_description(console->attached, "VM console attached");
	sd_event_source_set_description(console->input, "VM console");
	if (failed >= 0)
		return console;
	console->finished = true;
	vm_console_free(console);
	errno = -failed;
	return NULL;
}

void vm_console_free(struct vm_console *console)
{
	if (!console)
		return;
	vm_console_finish(console);
	drop_reader(console);
	sd_event_source_disable_unref(console->input);
	sd_event_source_disable_unref(console->attached);
	nefs_cleanup_close(&console->bell);
	close(console->source);
	pthread_mutex_destroy(&console->lock);
	byte_ring_release(&console->kept);
	free(console);
}

int vm_console_attach(struct vm_console *console)
{
	int ends[2], replaced;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		return -errno;
	pthread_mutex_lock(&console->lock);
	replaced = console->next_reader;
	console->next_reader = ends[0];
	pthread_mutex_unlock(&console->lock);
	if (replaced >= 0)
		close(replaced);
	nefs_bell_ring(console->bell);
	return ends[1];
}

void vm_console_finish(struct vm_console *console)
{
	/* Bounded: what a dead process left in its socket's buffer. */
	for (unsigned int i = 0; !console->finished && i < VM_CONSOLE_MAX / PIECE; i++) {
		if (!take(console))
			break;
	}
	console->finished = true;
	if (console->input)
		sd_event_source_set_enabled(console->input, SD_EVENT_OFF);
	serve(console);
	flush(console);
}
