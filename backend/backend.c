/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The backend: what stands for /dev/nitro_enclaves, chosen and made ready for launches
 * (launch/launch.c), and the controls that only a simulated machine has.
 */
#include "backend_internal.h"

#include "kernel/kernel.h"
#include "launch/launch.h"
#include "sim/sim.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int backend_new(sd_event *event, struct workers *workers, struct ne_dev *dev,
	const struct heartbeat_endpoint *endpoint, bool any_arch, struct backend **result,
	struct nefs_error *err)
{
	struct backend *backend = calloc(1, sizeof(*backend));
	int failed = 0;

	if (!backend) {
		dev->ops->destroy(dev);
		return nefs_error_set(err, ENOMEM, "out of memory for the backend");
	}
	if (dev->ops->heartbeat && endpoint)
		failed = heartbeat_new(event, endpoint, &backend->heartbeat, err);
	if (failed < 0) {
		dev->ops->destroy(dev);
		free(backend);
		return failed;
	}
	backend->event = sd_event_ref(event);
	backend->workers = workers;
	backend->dev = dev;
	backend->any_arch = any_arch;
	*result = backend;
	return 0;
}

static int open_sim(
	const struct backend_options *options, struct ne_dev **dev, struct nefs_error *err)
{
	const struct sim_options sim = {
		.cpus = options->sim_cpus ? options->sim_cpus : 8,
		.memory = options->sim_memory ? options->sim_memory : 4ULL << 30,
		.vm_none = options->sim_vm_none,
		.reply_timeout_ms = options->sim_reply_timeout_ms,
	};

	return sim_dev_new(&sim, dev, err);
}

int backend_open(sd_event *event, struct workers *workers, const struct backend_options *options,
	struct backend **backend, struct nefs_error *err)
{
	bool is_sim = options->kind && strcmp(options->kind, "sim") == 0;
	struct ne_dev *dev;
	int failed;

	if (!is_sim && (!options->kind || strcmp(options->kind, "kernel") != 0))
		return nefs_error_set(err, EINVAL, "backend=%s: there is `kernel` and `sim`",
			options->kind ? options->kind : "");
	if (is_sim)
		failed = open_sim(options, &dev, err);
	else
		failed = kernel_dev_new(options->device, &dev, err);
	if (failed < 0)
		return failed;
	failed = backend_new(event, workers, dev, options->no_heartbeat ? NULL : &heartbeat_vsock,
		is_sim || options->any_arch, backend, err);
	if (failed < 0)
		return failed;
	(*backend)->is_sim = is_sim;
	return 0;
}

const char *backend_name(const struct backend *backend)
{
	return backend->dev->ops->name;
}

void backend_close(struct backend *backend)
{
	if (!backend)
		return;
	/* What is still launched is the kernel's to end: none of it is to be taken from under a worker. */
	if (backend->launches)
		return;
	heartbeat_free(backend->heartbeat);
	backend->dev->ops->destroy(backend->dev);
	sd_event_unref(backend->event);
	free(backend);
}

/* ---- The simulated machine: rehearsing failures ---- */

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
