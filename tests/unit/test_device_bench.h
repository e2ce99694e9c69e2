/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A device on a bench: its registers, its vectors, some memory that it can reach. */
#ifndef NEFS_TEST_DEVICE_BENCH_H
#define NEFS_TEST_DEVICE_BENCH_H

#include "device.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* The memory: a memfd of so many bytes, at this DMA address. */
#define BENCH_MEMORY (256ULL << 20)
#define BENCH_BASE   (1ULL << 32)

struct bench {
	struct device *device;
	int memory; /* the memfd */
	pthread_mutex_t lock;
	pthread_cond_t raised;
	unsigned int vectors[DEVICE_VECTOR_RESULT + 1]; /* how often each was raised */
};

/* Makes a device, enabled or not. Every failure ends the test. */
void bench_open(struct bench *bench, const struct vm_ops *vm, bool enable);
void bench_close(struct bench *bench);

/* Disables (waits until that is done) or enables with version 1. */
void bench_enable(struct bench *bench, bool on);

/* Registers. */
uint32_t bench_read(struct bench *bench, uint64_t offset, size_t size);
void bench_write(struct bench *bench, uint64_t offset, uint32_t value, size_t size);
uint16_t bench_replies(struct bench *bench); /* the halves of NE_REG_EVTCNT */
uint16_t bench_events(struct bench *bench);

/* How often a vector was raised so far; and waits for it to be so often (false: not in 20 s). */
unsigned int bench_raised(struct bench *bench, unsigned int vector);
bool bench_wait(struct bench *bench, unsigned int vector, unsigned int times);

/* Writes a payload and a command, as a driver does, without waiting for the reply. */
void bench_send(struct bench *bench, uint32_t command, const void *payload, size_t size);

/* The same, waits for the reply and returns its rc. reply may be NULL. */
int bench_command(struct bench *bench, uint32_t command, const void *payload, size_t size,
	struct ne_reply *reply);

/* Requests. bench_alloc returns the uid of a new slot, 0 on failure. */
uint64_t bench_alloc(struct bench *bench);
int bench_slot(struct bench *bench, uint32_t command, uint64_t uid, struct ne_reply *reply);
int bench_add_mem(struct bench *bench, uint64_t uid, uint64_t paddr, uint64_t size);
int bench_add_vcpu(struct bench *bench, uint64_t uid, uint32_t id);
int bench_start(
	struct bench *bench, uint64_t uid, uint64_t cid, uint64_t flags, struct ne_reply *reply);

/* A slot with all of its own (64 MiB at a place of its own, a vCPU), started: its uid. */
uint64_t bench_running(struct bench *bench, unsigned int place);

int bench_faults(struct bench *bench, const char *text);

#endif
