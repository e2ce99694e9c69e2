/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backend_object.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

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

const char *backend_name(const struct backend *backend)
{
	return backend->dev->ops->name;
}

void backend_close(struct backend *backend)
{
	if (!backend)
		return;
	assert(backend->launches == 0);
	heartbeat_free(backend->heartbeat);
	backend->dev->ops->destroy(backend->dev);
	sd_event_unref(backend->event);
	free(backend);
}
