/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images for the tests of the launch. */
#ifndef NEFS_TEST_LAUNCH_IMAGE_H
#define NEFS_TEST_LAUNCH_IMAGE_H

#include <nefs/eif.h>
#include <stddef.h>

/* A valid image with a ramdisk of ramdisk_size bytes, in a memfd. The caller closes it. */
int test_image(enum eif_arch arch, size_t ramdisk_size);

#endif
