/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client as a virtual machine with a driver is: it has memory, both vectors, an enabled device. */
#ifndef NEFS_TEST_VFIO_USER_DRIVER_H
#define NEFS_TEST_VFIO_USER_DRIVER_H

#include "vfio_user_client.h"

#define DRIVER_IOVA   (4ULL << 30)
#define DRIVER_MEMORY (64ULL << 20) /* of an enclave; the client has twice as much */

struct driver {
	int client, memory, vectors[NE_PCI_VECTORS];
};

/* What fails is a failure of the test that calls. */
struct driver driver_begin(struct rig *rig);
struct driver driver_begin_at(const char *path);
void driver_end(struct driver *driver);

/* A command and its rc. */
int driver_command(const struct driver *driver, uint32_t number, const void *payload, size_t size,
	struct ne_reply *reply);

/* An enclave that runs, in the first or second half of the memory; its slot's uid. */
uint64_t driver_start(const struct driver *driver, unsigned int half);

/* DMA_MAP and its reply; fd -1: none is sent. */
ssize_t driver_map(const struct driver *driver, uint64_t iova, uint64_t size, int fd);

#endif
