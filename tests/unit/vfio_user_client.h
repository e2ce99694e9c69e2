/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A vfio-user server in this process, and a client that says whatever a test wants. */
#ifndef NEFS_TEST_VFIO_USER_CLIENT_H
#define NEFS_TEST_VFIO_USER_CLIENT_H

#include "protocol.h"
#include "vm.h"
#include <nefs/ne_pci.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rig;

/* Device, server and control socket on a thread of their own. Aborts if that fails. */
struct rig *rig_new(const struct vm_ops *vm);
void rig_free(struct rig *rig);

/* A new connection to it; rig_greet: that has said VERSION and been accepted. */
int rig_connect(struct rig *rig);
int rig_greet(struct rig *rig);
int rig_connect_control(struct rig *rig);

/* A connection to a socket; patient, but not for ever. Aborts if there is none to be had. */
int client_connect(const char *path);

/* VERSION; false if the server does not accept it. */
bool client_greet(int client);

/* The same for a new connection, again and again while the last client is not gone yet. */
int client_greet_at(const char *path);

/* Sends size bytes with fds; false if the server has hung up. */
bool client_send(int client, const void *data, size_t size, const int *fds, size_t fd_count);

/* One reply: the size of its payload, up to room of which is in payload, or -1 - errno of an error. */
#define CLIENT_HUNG_UP (-100000)
ssize_t client_reply(int client, void *payload, size_t room);

/* A message and its reply. */
ssize_t client_call(int client, uint16_t command, const void *request, size_t size, const int *fds,
	size_t fd_count, void *payload, size_t room);

/* Has the server closed the connection? Waits for it. */
bool client_is_shut_out(int client);

/* Registers, in BAR 3; false on an error. */
bool client_read(int client, uint64_t offset, void *data, uint32_t size);
bool client_write(int client, uint64_t offset, const void *data, uint32_t size);

/* A command, its reply waited for on the eventfd of vector 0. */
bool client_command(int client, int replies, uint32_t command, const void *payload, size_t size,
	struct ne_reply *reply);

/* Waits for an eventfd; how often it was signalled, 0 if it was not within ms. */
uint64_t client_wait(int eventfd, int ms);

/* A control request; its whole answer, in a buffer of the client's that the next one uses again. */
const char *control_ask(int control, const char *request);

#endif
