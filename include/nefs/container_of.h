/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a member to the object that it is embedded in. */
#ifndef NEFS_CONTAINER_OF_H
#define NEFS_CONTAINER_OF_H

#include <stddef.h>

/* The TYPE whose MEMBER is at pointer; a pointer to anything else does not compile. */
#define container_of(pointer, type, member)                                                        \
	__extension__({                                                                            \
		__typeof__(((type *)0)->member) *member_ = (pointer);                              \
		(type *)(void *)((char *)member_ - offsetof(type, member));                        \
	})

#endif
