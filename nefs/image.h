/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The image file, and what is known of it (`measurements`, `image_info`). Loop thread; the hashing
 * runs in a worker.
 */
#ifndef NEFS_IMAGE_H
#define NEFS_IMAGE_H

#include "control.h"

extern const struct control_ops image_ops;
extern const struct control_ops measurements_ops;
extern const struct control_ops image_info_ops;

/* unlink: no image. */
void image_reset(struct node *node);

#endif
