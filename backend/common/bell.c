/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <nefs/bell.h>
#include <sys/eventfd.h>

int nefs_bell_new(void)
{
	int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return bell < 0 ? -errno : bell;
}

void nefs_bell_ring(int bell)
{
	if (eventfd_write(bell, 1)) {
		/* Only a full counter fails, and that is a bell that rings. */
	}
}

void nefs_bell_silence(int bell)
{
	eventfd_t count;

	if (eventfd_read(bell, &count)) {
		/* It did not ring. */
	}
}
