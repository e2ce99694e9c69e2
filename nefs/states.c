/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "states.h"

const struct state_meaning *state_meaning(enum enclave_state state)
{
	static const struct state_meaning meanings[STATES] = {
		[STATE_INIT] = { .name = "init" },
		[STATE_QUEUED] = { .name = "starting",
			.active = true,
			.changing = true,
			.started = true,
			.settles = true },
		[STATE_STARTING] = { .name = "starting",
			.event = "starting",
			.active = true,
			.changing = true,
			.started = true,
			.settles = true },
		[STATE_BOOTING] = { .name = "starting",
			.active = true,
			.changing = true,
			.started = true },
		[STATE_RUNNING] = { .name = "running",
			.event = "running",
			.counter = COUNT_STARTS,
			.active = true,
			.started = true },
		[STATE_STOPPING] = { .name = "stopping",
			.event = "stopping",
			.active = true,
			.changing = true },
		[STATE_RECYCLING] = { .name = "stopping",
			.active = true,
			.changing = true,
			.started = true,
			.settles = true },
		[STATE_STOPPED] = { .name = "stopped",
			.event = "stopped",
			.counter = COUNT_STOPS,
			.settles = true },
		[STATE_FAILED] = { .name = "failed",
			.event = "failed",
			.counter = COUNT_FAILURES,
			.settles = true },
		[STATE_CRASHED] = { .name = "crashed",
			.event = "crashed",
			.counter = COUNT_CRASHES,
			.settles = true },
	};

	return &meanings[state];
}
