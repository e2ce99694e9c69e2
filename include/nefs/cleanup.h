/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scope-bound release of resources (gcc/clang cleanup attribute).
 *
 *	NEFS_AUTO_FREE char *text = NULL;
 *	NEFS_AUTO_CLOSE int fd = -1;
 *
 * A variable that hands its resource on is cleared with nefs_take_ptr()/nefs_take_fd().
 */
#ifndef NEFS_CLEANUP_H
#define NEFS_CLEANUP_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static inline void nefs_cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

/* Keeps errno: a release on an error path must not change what the caller reports. */
static inline void nefs_cleanup_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

#define NEFS_AUTO_FREE	__attribute__((cleanup(nefs_cleanup_free)))
#define NEFS_AUTO_CLOSE __attribute__((cleanup(nefs_cleanup_close)))

/* Moves the value out of an NEFS_AUTO_FREE variable: the caller owns it now. */
#define nefs_take_ptr(variable)                                                                    \
	__extension__({                                                                            \
		__typeof__(variable) taken_ = (variable);                                          \
		(variable) = NULL;                                                                 \
		taken_;                                                                            \
	})

/* Moves the descriptor out of an NEFS_AUTO_CLOSE variable. */
static inline int nefs_take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#endif
