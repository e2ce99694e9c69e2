/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How nefs ends: the exit statuses of mount(8), as scripts and systemd's units know them. */
#ifndef NEFS_EXIT_STATUS_H
#define NEFS_EXIT_STATUS_H

enum exit_status {
	EXIT_OK = 0,
	EXIT_USAGE = 1,	 /* what was asked for makes no sense here */
	EXIT_SYSTEM = 2, /* memory, the device, the spool directory, the event loop */
	EXIT_MOUNT = 32, /* it could not be mounted, or the mount broke */
};

#endif
