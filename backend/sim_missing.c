/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in until backend/sim is written; goes away then. */
#include "sim/sim.h"
#include <errno.h>
#include <stdlib.h>

int sim_dev_new(const struct sim_options *options, struct ne_dev **dev, struct nefs_error *err)
{
	return nefs_error_set(err, ENODEV, "there is no simulated device in this build yet");
}

int sim_dev_crash(struct ne_dev *dev, uint64_t slot_uid, struct nefs_error *err)
{
	return nefs_error_set(err, ESRCH, "there is no simulated device in this build yet");
}

int sim_dev_set_faults(struct ne_dev *dev, const char *text, size_t size, struct nefs_error *err)
{
	return nefs_error_set(err, EINVAL, "there is no simulated device in this build yet");
}

char *sim_dev_slots(struct ne_dev *dev)
{
	return calloc(1, 1);
}
