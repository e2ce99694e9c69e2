/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <nefs/clock.h>
#include <nefs/shortage.h>
#include <poll.h>
#include <stddef.h>

/* Between two lines in the log. */
#define TELL_USEC 10000000U

/* Others free memory meanwhile; longer, and whoever waits for an answer would notice. */
#define REST_MS 10

void nefs_shortage_met(struct nefs_shortage *shortage, const char *what)
{
	uint64_t now = nefs_now_usec();

	shortage->untold++;
	if (shortage->told_usec && now - shortage->told_usec < TELL_USEC)
		return;
	log_line(shortage->log, LOG_WARNING,
		"nefs: out of memory for %s, %u times since this was told last; nefs goes on. Give it more "
		"(MemoryMax=, ulimit -v), or find what else takes it",
		what, shortage->untold);
	shortage->told_usec = now;
	shortage->untold = 0;
}

void nefs_shortage_rest(struct nefs_shortage *shortage, const char *what)
{
	nefs_shortage_met(shortage, what);
	poll(NULL, 0, REST_MS);
}

int nefs_event_run(sd_event *event, uint64_t usec, struct nefs_shortage *shortage)
{
	int result = sd_event_run(event, usec);

	if (result != -ENOMEM)
		return result;
	nefs_shortage_rest(shortage, "an event");
	return 0;
}

int nefs_event_loop(sd_event *event, struct nefs_shortage *shortage)
{
	int result = 0, code = 0;

	while (result >= 0 && sd_event_get_state(event) != SD_EVENT_FINISHED)
		result = nefs_event_run(event, UINT64_MAX, shortage);
	if (result >= 0)
		result = sd_event_get_exit_code(event, &code);
	return result < 0 ? result : code;
}
