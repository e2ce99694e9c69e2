/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rehearsing failures: the controls of the simulated machine. */
#include "backend_object.h"
#include "launch.h"
#include "sim/sim.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int only_sim(struct nefs_error *err)
{
	return nefs_error_set(
		err, ENOTSUP, "only the simulated device can be made to fail (-o backend=sim)");
}

int backend_sim_crash(
	struct backend *backend, struct backend_launch *launch, struct nefs_error *err)
{
	uint64_t slot = backend_launch_slot(launch);
	int failed;

	if (!backend->is_sim)
		return only_sim(err);
	if (slot == 0)
		return nefs_error_set(err, EINVAL,
			"the enclave does not run, so it cannot crash: start it first");
	failed = sim_dev_crash(backend->dev, slot, err);
	/* It has just died by itself; its end is on its way. */
	if (failed == -ESRCH)
		return nefs_error_set(err, EINVAL, "the enclave has ended already");
	return failed;
}

int backend_sim_set_faults(
	struct backend *backend, const char *text, size_t size, struct nefs_error *err)
{
	if (!backend->is_sim)
		return only_sim(err);
	return sim_dev_set_faults(backend->dev, text, size, err);
}

char *backend_sim_slots(struct backend *backend)
{
	return backend->is_sim ? sim_dev_slots(backend->dev) : strdup("");
}
