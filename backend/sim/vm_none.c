/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm.h"
#include <errno.h>
#include <stdio.h>

/* There is nothing to keep, but NULL would mean "not started". */
static char nothing;

static int none_start(const struct vm_config *config, struct vm **vm, struct nefs_error *err)
{
	*vm = (struct vm *)&nothing;
	return 0;
}

static int none_pidfd(const struct vm *vm)
{
	return -1;
}

static void none_describe_end(struct vm *vm, char *text, size_t size)
{
	snprintf(text, size, "it was made to crash by sim/crash");
}

static int none_console(const struct vm *vm)
{
	return -ENOTCONN;
}

static void none_destroy(struct vm *vm)
{
}

static bool none_crash(struct vm *vm)
{
	return false;
}

const struct vm_ops vm_none = {
	.name = "none",
	.instant = true,
	.start = none_start,
	.pidfd = none_pidfd,
	.describe_end = none_describe_end,
	.console = none_console,
	.destroy = none_destroy,
	.crash = none_crash,
};
