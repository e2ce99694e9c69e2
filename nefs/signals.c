/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "signals.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char *signal_name(uint32_t number)
{
	return number == SIGTERM ? "SIGTERM" : number == SIGINT ? "SIGINT" : "SIGHUP";
}

void describe_signal(const struct signalfd_siginfo *info, char *text, size_t size)
{
	char path[64], name[64] = "";
	FILE *comm;

	snprintf(path, sizeof(path), "/proc/%u/comm", info->ssi_pid);
	comm = info->ssi_pid ? fopen(path, "re") : NULL;
	if (comm) {
		/* It may have ended meanwhile. */
		if (!fgets(name, sizeof(name), comm))
			name[0] = '\0';
		fclose(comm);
		name[strcspn(name, "\n")] = '\0';
	}
	if (info->ssi_code == SI_KERNEL)
		snprintf(text, size, "%s from the terminal", signal_name(info->ssi_signo));
	else
		snprintf(text, size, "%s from process %u%s%s%s, user %u",
			signal_name(info->ssi_signo), info->ssi_pid, *name ? " (" : "", name,
			*name ? ")" : "", info->ssi_uid);
}
