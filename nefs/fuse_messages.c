/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuse_messages.h"
#include <fuse_lowlevel.h>
#include <nefs/log.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static struct log *told;
static atomic_uint refused;

/* Its words for that, in each version of libfuse 3 (fuse_ll_alloc_req in lib/fuse_lowlevel.c). */
static bool is_refusal(const char *format)
{
	return strstr(format, "failed to allocate request");
}

static void on_message(enum fuse_log_level level, const char *format, va_list arguments)
{
	char text[512];

	/* It is counted, and told by who serves. */
	if (is_refusal(format)) {
		atomic_fetch_add(&refused, 1);
		return;
	}
	if (!told || level == FUSE_LOG_DEBUG) {
		vfprintf(stderr, format, arguments);
		return;
	}
	vsnprintf(text, sizeof(text), format, arguments);
	text[strcspn(text, "\n")] = '\0';
	/* The levels are syslog's. */
	log_line(told, (int)level, "nefs: libfuse: %s", text);
}

void fuse_messages_to(struct log *log)
{
	told = log;
	fuse_set_log_func(on_message);
}

unsigned int fuse_messages_refused(void)
{
	return atomic_load(&refused);
}
