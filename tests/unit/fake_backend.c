/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fake_backend.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int backend_open(sd_event *event, struct workers *workers, const struct backend_options *options,
	struct backend **backend, struct nefs_error *err)
{
	*backend = calloc(1, sizeof(**backend));
	return *backend ? 0 : -ENOMEM;
}

const char *backend_name(const struct backend *backend)
{
	return "fake";
}

int backend_start(struct backend *backend, const struct backend_config *config,
	const struct backend_listener *listener, void *owner, struct backend_launch **result,
	struct nefs_error *err)
{
	struct backend_launch *launch;
	int code = backend->start_fails;

	backend->start_fails = 0;
	if (code)
		return nefs_error_set(err, code, "the fake backend refuses");
	launch = calloc(1, sizeof(*launch));
	if (!launch)
		return nefs_error_set(err, ENOMEM, "out of memory");
	*launch =
		(struct backend_launch){ .backend = backend, .listener = listener, .owner = owner };
	backend->launch = launch;
	backend->config = *config;
	backend->started++;
	*result = launch;
	return 0;
}

void backend_stop(struct backend_launch *launch)
{
	launch->stops++;
}

void backend_close(struct backend *backend)
{
	free(backend);
}

bool backend_image_plausible(const void *head, size_t size)
{
	return memcmp(head, ".eif", size < 4 ? size : 4) == 0;
}

int backend_image_length(
	const void *head, size_t size, uint64_t max, uint64_t *length, struct nefs_error *err)
{
	*length = size;
	return 0;
}

int backend_image_describe(int image_fd, struct nefs_pace *pace,
	struct backend_image_report *report, struct nefs_error *err)
{
	report->measurements = strdup("PCR0 00\n");
	report->info = strdup("{}\n");
	return 0;
}

int backend_sim_crash(
	struct backend *backend, struct backend_launch *launch, struct nefs_error *err)
{
	return -ENOTSUP;
}

int backend_sim_set_faults(
	struct backend *backend, const char *text, size_t size, struct nefs_error *err)
{
	return -ENOTSUP;
}

char *backend_sim_slots(struct backend *backend)
{
	return NULL;
}

void fake_started(struct backend *backend)
{
	const struct backend_grant grant = {
		.slot_uid = 7, .cid = 16, .memory = 64ULL << 20, .cpus = "2-3"
	};

	backend->launch->listener->started(backend->launch->owner, &grant);
}

void fake_running(struct backend *backend)
{
	backend->launch->listener->running(backend->launch->owner);
}

void fake_console(struct backend *backend, const char *text)
{
	backend->launch->listener->console(backend->launch->owner, text, strlen(text));
}

void fake_ended(struct backend *backend, enum backend_end how, int code)
{
	struct nefs_error error = { 0 };

	if (code)
		nefs_error_set(&error, code, "the fake device says %d", code);
	backend->launch->listener->ended(backend->launch->owner, how, &error);
}

void fake_released(struct backend *backend)
{
	struct backend_launch *launch = backend->launch;

	/* What is queued behind it begins the next from in there. */
	backend->launch = NULL;
	launch->listener->released(launch->owner);
	free(launch);
}
