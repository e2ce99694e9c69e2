/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "applied.h"
#include <errno.h>

int applied_take(struct applied *applied, const struct settings *settings, struct spool_file *image,
	struct nefs_error *err)
{
	applied_release(applied);
	if (settings_copy(&applied->settings, settings))
		return nefs_error_set(err, ENOMEM, "out of memory for what it is started with");
	applied->image = image;
	spool_file_ref(image);
	return 0;
}

void applied_release(struct applied *applied)
{
	settings_release(&applied->settings);
	spool_file_unref(applied->image);
	applied->image = NULL;
}

bool applied_compare(struct applied *applied, const struct settings *settings,
	const struct spool_file *image, bool runs)
{
	uint32_t before = applied->pending;

	applied->pending = 0;
	if (runs && image != applied->image)
		applied->pending = APPLIED_IMAGE;
	for (int i = 0; runs && i < SETTINGS; i++)
		if (!setting_equal(&settings->values[i], &applied->settings.values[i]))
			applied->pending |= 1U << i;
	return applied->pending != before;
}
