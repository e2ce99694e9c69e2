/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test_launch_watched.h"
#include <stdio.h>
#include <string.h>

static void say(struct watched *watched, const char *word)
{
	size_t used = strlen(watched->log);

	snprintf(watched->log + used, sizeof(watched->log) - used, "%s%s", used ? " " : "", word);
}

static void on_started(void *owner, const struct backend_grant *grant)
{
	struct watched *watched = owner;

	say(watched, "started");
	watched->grant = *grant;
	snprintf(watched->cpus, sizeof(watched->cpus), "%s", grant->cpus);
	watched->grant.cpus = watched->cpus;
	if (watched->stop_when_started)
		backend_stop(watched->launch);
}

static void on_running(void *owner)
{
	struct watched *watched = owner;

	say(watched, "running");
	watched->running = true;
}

static void on_console(void *owner, const void *data, size_t size)
{
	struct watched *watched = owner;
	size_t used = strlen(watched->console);

	snprintf(watched->console + used, sizeof(watched->console) - used, "%.*s", (int)size,
		(const char *)data);
}

static void on_ended(void *owner, enum backend_end how, const struct nefs_error *error)
{
	struct watched *watched = owner;

	say(watched, how == BACKEND_FAILED    ? "failed"
		     : how == BACKEND_STOPPED ? "stopped"
					      : "crashed");
	watched->how = how;
	watched->error = *error;
	watched->ended = true;
}

static void on_released(void *owner)
{
	struct watched *watched = owner;

	say(watched, "released");
	watched->released = true;
}

const struct backend_listener watched_listener = {
	.started = on_started,
	.running = on_running,
	.console = on_console,
	.ended = on_ended,
	.released = on_released,
};

bool watched_is_running(void *context)
{
	return ((struct watched *)context)->running;
}

bool watched_is_started(void *context)
{
	return ((struct watched *)context)->log[0] != '\0';
}

bool watched_is_ended(void *context)
{
	return ((struct watched *)context)->ended;
}

bool watched_is_released(void *context)
{
	return ((struct watched *)context)->released;
}

bool watched_has_console(void *context)
{
	return ((struct watched *)context)->console[0] != '\0';
}
