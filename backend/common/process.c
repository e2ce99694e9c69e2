/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <nefs/process.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

void nefs_raise_fd_limit(unsigned long wanted)
{
	const struct rlimit more = { wanted, wanted };
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	/* RLIM_INFINITY is the largest there is. */
	if (limit.rlim_max < wanted && setrlimit(RLIMIT_NOFILE, &more) == 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int nefs_watch_signals(sd_event *event, const int *signals, size_t count,
	sd_event_signal_handler_t handler, void *userdata)
{
	sigset_t blocked;
	int failed = 0;

	sigemptyset(&blocked);
	for (size_t i = 0; i < count; i++)
		sigaddset(&blocked, signals[i]);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	/* What they stand for is an errno of the call as well: EPIPE, EFBIG. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; failed >= 0 && i < count; i++) {
		sd_event_source *source = NULL;

		failed = sd_event_add_signal(event, &source, signals[i], handler, userdata);
		if (failed < 0)
			break;
		sd_event_source_set_description(source, strsignal(signals[i]));
		/* The loop's, for as long as it lives. */
		failed = sd_event_source_set_floating(source, 1);
		sd_event_source_unref(source);
	}
	return failed < 0 ? failed : 0;
}
