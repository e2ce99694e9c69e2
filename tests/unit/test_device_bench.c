/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test_device_bench.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_SECONDS 20

static void require(bool fine, const char *what)
{
	if (fine)
		return;
	fprintf(stderr, "the bench needs %s\n", what);
	exit(EXIT_FAILURE);
}

static void on_raise(void *context, unsigned int vector)
{
	struct bench *bench = context;

	require(vector <= DEVICE_VECTOR_RESULT, "one of three vectors");
	pthread_mutex_lock(&bench->lock);
	bench->vectors[vector]++;
	pthread_cond_broadcast(&bench->raised);
	pthread_mutex_unlock(&bench->lock);
}

void bench_open(struct bench *bench, const struct vm_ops *vm, bool enable)
{
	memset(bench, 0, sizeof(*bench));
	pthread_mutex_init(&bench->lock, NULL);
	pthread_cond_init(&bench->raised, NULL);
	bench->memory = memfd_create("bench", MFD_CLOEXEC);
	require(bench->memory >= 0 && ftruncate(bench->memory, BENCH_MEMORY) == 0, "memory");
	require(device_new(vm, on_raise, bench, &bench->device, NULL) == 0, "a device");
	require(device_dma_map(bench->device, BENCH_BASE, BENCH_MEMORY, bench->memory, 0) == 0,
		"a DMA range");
	if (enable)
		bench_enable(bench, true);
}

void bench_close(struct bench *bench)
{
	device_free(bench->device);
	close(bench->memory);
	pthread_cond_destroy(&bench->raised);
	pthread_mutex_destroy(&bench->lock);
}

void bench_enable(struct bench *bench, bool on)
{
	if (on) {
		bench_write(bench, NE_REG_VERSION, NE_VERSION_MAX, 2);
		bench_write(bench, NE_REG_ENABLE, 1, 1);
		require(bench_read(bench, NE_REG_ENABLE, 1) == 1, "to enable the device");
		return;
	}
	bench_write(bench, NE_REG_ENABLE, 0, 1);
	/* The register is the only sign there is, and drivers poll it, too. */
	for (int i = 0; i < PATIENCE_SECONDS * 1000 && bench_read(bench, NE_REG_ENABLE, 1); i++)
		usleep(1000);
	require(bench_read(bench, NE_REG_ENABLE, 1) == 0, "to disable the device");
}

uint32_t bench_read(struct bench *bench, uint64_t offset, size_t size)
{
	uint32_t value = 0;

	device_read(bench->device, offset, &value, size);
	return value;
}

void bench_write(struct bench *bench, uint64_t offset, uint32_t value, size_t size)
{
	device_write(bench->device, offset, &value, size);
}

uint16_t bench_replies(struct bench *bench)
{
	return (uint16_t)bench_read(bench, NE_REG_EVTCNT, 4);
}

uint16_t bench_events(struct bench *bench)
{
	return (uint16_t)(bench_read(bench, NE_REG_EVTCNT, 4) >> 16);
}

unsigned int bench_raised(struct bench *bench, unsigned int vector)
{
	unsigned int times;

	pthread_mutex_lock(&bench->lock);
	times = bench->vectors[vector];
	pthread_mutex_unlock(&bench->lock);
	return times;
}

bool bench_wait(struct bench *bench, unsigned int vector, unsigned int times)
{
	struct timespec until;
	int waited = 0;
	bool there;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_SECONDS;
	pthread_mutex_lock(&bench->lock);
	while (bench->vectors[vector] < times && !waited)
		waited = pthread_cond_timedwait(&bench->raised, &bench->lock, &until);
	there = bench->vectors[vector] >= times;
	pthread_mutex_unlock(&bench->lock);
	return there;
}

void bench_send(struct bench *bench, uint32_t command, const void *payload, size_t size)
{
	device_write(bench->device, NE_REG_SEND_DATA, payload, size);
	bench_write(bench, NE_REG_COMMAND, command, 4);
}

int bench_command(struct bench *bench, uint32_t command, const void *payload, size_t size,
	struct ne_reply *reply)
{
	unsigned int before = bench_raised(bench, NE_PCI_VECTOR_REPLY);
	struct ne_reply unwanted;

	if (!reply)
		reply = &unwanted;
	bench_send(bench, command, payload, size);
	require(bench_wait(bench, NE_PCI_VECTOR_REPLY, before + 1), "a reply");
	device_read(bench->device, NE_REG_RECV_DATA, reply, sizeof(*reply));
	return reply->rc;
}

uint64_t bench_alloc(struct bench *bench)
{
	const uint8_t unused = 0;
	struct ne_reply reply;

	if (bench_command(bench, NE_CMD_SLOT_ALLOC, &unused, sizeof(unused), &reply) < 0)
		return 0;
	return reply.slot_uid;
}

int bench_slot(struct bench *bench, uint32_t command, uint64_t uid, struct ne_reply *reply)
{
	const struct ne_req_slot request = { .slot_uid = uid };

	return bench_command(bench, command, &request, sizeof(request), reply);
}

int bench_add_mem(struct bench *bench, uint64_t uid, uint64_t paddr, uint64_t size)
{
	const struct ne_req_add_mem request = { .slot_uid = uid, .paddr = paddr, .size = size };

	return bench_command(bench, NE_CMD_SLOT_ADD_MEM, &request, sizeof(request), NULL);
}

int bench_add_vcpu(struct bench *bench, uint64_t uid, uint32_t id)
{
	const struct ne_req_add_vcpu request = { .slot_uid = uid, .vcpu_id = id };

	return bench_command(bench, NE_CMD_SLOT_ADD_VCPU, &request, sizeof(request), NULL);
}

int bench_start(
	struct bench *bench, uint64_t uid, uint64_t cid, uint64_t flags, struct ne_reply *reply)
{
	const struct ne_req_start request = { .slot_uid = uid, .enclave_cid = cid, .flags = flags };

	return bench_command(bench, NE_CMD_ENCLAVE_START, &request, sizeof(request), reply);
}

uint64_t bench_running(struct bench *bench, unsigned int place)
{
	uint64_t uid = bench_alloc(bench);

	require(uid &&
			bench_add_mem(
				bench, uid, BENCH_BASE + place * (64ULL << 20), 64ULL << 20) == 0 &&
			bench_add_vcpu(bench, uid, 2 + place) == 0 &&
			bench_start(bench, uid, 0, 0, NULL) == 0,
		"a running enclave");
	return uid;
}

int bench_faults(struct bench *bench, const char *text)
{
	return device_set_faults(bench->device, text, strlen(text), NULL);
}
