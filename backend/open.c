/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Choosing what stands for /dev/nitro_enclaves. */
#include "backend_object.h"
#include "kernel/kernel.h"
#include "sim/sim.h"
#include <errno.h>
#include <string.h>

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
