/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which CPUs the driver's pool has, and how they share cores. */
#ifndef NEFS_CONFORMANCE_POOL_H
#define NEFS_CONFORMANCE_POOL_H

#include "subject.h"

/* Asks the driver, which must have no enclave. A negative errno if it cannot be found out. */
int pool_survey(struct ne_dev *dev, struct pool *pool);

/* Is it this cpu-list ("2-3,6-7", ascending)? */
bool pool_is(const struct pool *pool, const char *list);

#endif
