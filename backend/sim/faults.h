/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fault plan: how the device is to misbehave (docs/interface.md §7, sim/fault).
 *
 *	COMMAND fail ERRNO [count]	not executed, answered with -ERRNO
 *	COMMAND delay MS [count]	executed and answered MS milliseconds later
 *	COMMAND drop [count]		neither executed nor answered
 *	event spurious			vector 1 without a cause, at once
 *
 * A rule without a count holds until the plan is replaced. A command is struck by the first rule
 * of each kind that has counts left, so that "slow and then failing" can be planned.
 */
#ifndef NEFS_SIM_FAULTS_H
#define NEFS_SIM_FAULTS_H

#include <nefs/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAULT_RULES_MAX 64
#define FAULT_TEXT_MAX	65536
#define FAULT_ERRNO_MAX 4095
#define FAULT_DELAY_MAX 600000 /* ms */
#define FAULT_COUNT_MAX 1000000

enum fault_kind {
	FAULT_FAIL,
	FAULT_DELAY,
	FAULT_DROP,
	FAULT_KINDS,
};

struct fault_rule {
	uint32_t command; /* enum ne_command */
	enum fault_kind kind;
	uint32_t value; /* errno or milliseconds */
	uint32_t left;	/* commands that it will still strike */
	bool forever;
};

struct fault_plan {
	size_t count;
	struct fault_rule rules[FAULT_RULES_MAX];
};

/* What is to happen to one command. */
struct fault_effect {
	int fail; /* 0 or a positive errno */
	uint32_t delay_ms;
	bool drop;
};

/*
 * Reads a plan; text need not be NUL-terminated. *spurious gets the number of `event spurious`
 * lines, which are acted on once and are no part of the plan. EINVAL with the line's number and
 * what is allowed there, ERANGE, E2BIG; neither result is touched then.
 */
int fault_plan_parse(const char *text, size_t size, struct fault_plan *plan, unsigned int *spurious,
	struct nefs_error *err);

/* What strikes this command now; counts it. */
struct fault_effect fault_plan_strike(struct fault_plan *plan, uint32_t command);

#endif
