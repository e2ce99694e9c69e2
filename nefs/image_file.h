/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `image`: the row's ops, and its reset. Loop thread. */
#ifndef NEFS_IMAGE_FILE_H
#define NEFS_IMAGE_FILE_H

#include "control.h"

extern const struct control_ops image_file_ops;

/* unlink: no image. */
void image_file_reset(struct node *node);

#endif
