/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is known of an enclave's image: its CRC, `measurements` and `image_info`. A worker reads the
 * whole image once for all of that, when it may be complete or somebody asks, as its owner's work. Loop thread.
 */
#ifndef NEFS_REPORT_H
#define NEFS_REPORT_H

#include "control.h"

struct enclave;

/* The image has changed: what is known of it is void, and what reads the one before does no more. */
void report_invalidate(struct enclave *enclave);

/* The longest that stat(2) of what tells of the image waits for its size: microseconds. */
#define REPORT_WAIT_USEC 5000000ULL

/*
 * Has the image, which must be there, described, unless that is known or under way. What is wrong with
 * it is told in `error`. 0 or -ENOMEM.
 */
int report_request(struct enclave *enclave);

/*
 * An image that was found to be the same as the one that runs is no other, and need not be kept twice: that
 * takes its place, unless somebody may still write. closing: a writer who does no more; NULL: none.
 */
void report_merge(struct enclave *enclave, const struct handle *closing);

/* The rows' ops. */
extern const struct control_ops measurements_ops;
extern const struct control_ops image_info_ops;

#endif
