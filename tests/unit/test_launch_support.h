/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the heartbeat and of the launch share: a loop to wait in, a local endpoint. */
#ifndef NEFS_TEST_LAUNCH_SUPPORT_H
#define NEFS_TEST_LAUNCH_SUPPORT_H

#include "heartbeat.h"
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/*
 * Runs the loop until condition(context) holds. False if it does not within 20 s, far longer than
 * anything here takes, even under a sanitizer.
 */
bool run_until(sd_event *event, bool (*condition)(void *context), void *context);

/* Runs the loop for as long as there is something to do, at least once, without waiting. */
void run_ready(sd_event *event);

/* An AF_UNIX endpoint in the abstract namespace; a peer's CID is in the name it is bound to. */
extern const struct heartbeat_endpoint local_endpoint;

/* Connects to it as the enclave with this CID. A blocking fd, or -1. */
int local_connect(uint64_t cid);

/* Open fds of this process. */
unsigned int count_fds(void);

#endif
