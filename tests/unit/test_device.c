/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device through its registers and vectors, as any driver sees it, a hostile one included. */
#include "cunit_main.h"
#include "slots.h"
#include "test_device_bench.h"
#include <errno.h>
#include <nefs/ne_limits.h>
#include <time.h>
#include <unistd.h>

#define MIB 0x100000ULL

static struct bench bench;

/* Each test has a device of its own. */
static void set_up(void)
{
	bench_open(&bench, &vm_none, true);
}

static void tear_down(void)
{
	bench_close(&bench);
}

static uint32_t counters(void)
{
	return bench_read(&bench, NE_REG_EVTCNT, 4);
}

/* ---- registers ---- */

static void test_fresh(void)
{
	struct bench other;
	uint8_t all[NE_PCI_REGISTERS_SIZE];

	bench_open(&other, &vm_none, false);
	device_read(other.device, 0, all, sizeof(all));
	for (size_t i = 0; i < sizeof(all); i++)
		CU_ASSERT_EQUAL(all[i], 0);
	bench_close(&other);
}

static void test_version(void)
{
	bench_write(&bench, NE_REG_VERSION, 7, 2);
	CU_ASSERT_EQUAL(bench_read(&bench, NE_REG_VERSION, 2), NE_VERSION_MAX);
	bench_write(&bench, NE_REG_VERSION, 0xffff, 2);
	CU_ASSERT_EQUAL(bench_read(&bench, NE_REG_VERSION, 2), NE_VERSION_MAX);
	bench_write(&bench, NE_REG_VERSION, 0, 2);
	CU_ASSERT_EQUAL(bench_read(&bench, NE_REG_VERSION, 2), 0);
	bench_write(&bench, NE_REG_VERSION, 1, 2);
	CU_ASSERT_EQUAL(bench_read(&bench, NE_REG_VERSION, 2), 1);
}

static void test_enable(void)
{
	bench_write(&bench, NE_REG_ENABLE, 2, 1);
	CU_ASSERT_EQUAL(bench_read(&bench, NE_REG_ENABLE, 1), 1);
	bench_enable(&bench, false);
	CU_ASSERT_EQUAL(bench_read(&bench, NE_REG_ENABLE, 1), 0);
	bench_write(&bench, NE_REG_ENABLE, 0xff, 1);
	CU_ASSERT_EQUAL(bench_read(&bench, NE_REG_ENABLE, 1), 0);
	bench_write(&bench, NE_REG_ENABLE, 1, 1);
	CU_ASSERT_EQUAL(bench_read(&bench, NE_REG_ENABLE, 1), 1);
}

static void test_disabled(void)
{
	const uint8_t unused = 0;

	bench_enable(&bench, false);
	for (uint32_t command = 0; command <= NE_CMD_MAX; command++)
		CU_ASSERT_EQUAL(
			bench_command(&bench, command, &unused, sizeof(unused), NULL), -ENODEV);
	CU_ASSERT_EQUAL(bench_replies(&bench), NE_CMD_MAX + 1);
	bench_enable(&bench, true);
	CU_ASSERT_NOT_EQUAL(bench_alloc(&bench), 0);
}

static void test_reset(void)
{
	struct ne_reply reply;
	uint64_t uid;
	char *text;

	bench_running(&bench, 0);
	bench_running(&bench, 1);
	CU_ASSERT_EQUAL(bench_faults(&bench, "event spurious"), 0);
	CU_ASSERT_TRUE(bench_wait(&bench, NE_PCI_VECTOR_EVENT, 1));
	CU_ASSERT_NOT_EQUAL(counters(), 0);
	bench_enable(&bench, false);
	text = device_slots(bench.device);
	CU_ASSERT_STRING_EQUAL(text, "");
	free(text);
	CU_ASSERT_EQUAL(counters(), 0);
	CU_ASSERT_EQUAL(bench_read(&bench, NE_REG_VERSION, 2), 0);
	device_read(bench.device, NE_REG_RECV_DATA, &reply, sizeof(reply));
	CU_ASSERT_EQUAL(reply.slot_uid, 0);
	CU_ASSERT_EQUAL(bench_read(&bench, NE_REG_SEND_DATA, 4), 0);
	/* What the slots had is free again; their uids are not. */
	bench_enable(&bench, true);
	uid = bench_running(&bench, 0);
	CU_ASSERT_TRUE(uid > 2);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_INFO, 1, NULL), -ENOENT);
}

static void test_buffers(void)
{
	uint8_t pattern[NE_DATA_SIZE], back[NE_DATA_SIZE];

	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + 1);
	/* In pieces of every size that a CPU copies with, at every offset. */
	for (size_t piece = 1; piece <= 8; piece *= 2) {
		for (size_t i = 0; i < sizeof(pattern); i += piece)
			device_write(bench.device, NE_REG_SEND_DATA + i, pattern + i, piece);
		memset(back, 0, sizeof(back));
		for (size_t i = 0; i < sizeof(back); i += piece)
			device_read(bench.device, NE_REG_SEND_DATA + i, back + i, piece);
		CU_ASSERT_EQUAL(memcmp(pattern, back, sizeof(back)), 0);
		device_write(bench.device, NE_REG_SEND_DATA, "\0", 2);
	}
	/* The reply buffer and the counters are the device's. */
	CU_ASSERT_NOT_EQUAL(bench_alloc(&bench), 0);
	device_read(bench.device, NE_REG_RECV_DATA, back, sizeof(back));
	device_write(bench.device, NE_REG_RECV_DATA, pattern, sizeof(pattern));
	device_read(bench.device, NE_REG_RECV_DATA, pattern, sizeof(pattern));
	CU_ASSERT_EQUAL(memcmp(pattern, back, sizeof(back)), 0);
	bench_write(&bench, NE_REG_EVTCNT, 0xffffffff, 4);
	CU_ASSERT_EQUAL(bench_replies(&bench), 1);
	CU_ASSERT_EQUAL(bench_events(&bench), 0);
	/* NE_COMMAND is write-only. */
	CU_ASSERT_EQUAL(bench_read(&bench, NE_REG_COMMAND, 4), 0);
}

static void test_odd_accesses(void)
{
	uint8_t junk[64];
	uint32_t before;

	memset(junk, 0xee, sizeof(junk));
	before = counters();
	/* Not the width of the register: not the register. */
	bench_write(&bench, NE_REG_ENABLE, 0, 2);
	bench_write(&bench, NE_REG_ENABLE, 0, 4);
	bench_write(&bench, NE_REG_VERSION, 0, 1);
	bench_write(&bench, NE_REG_VERSION, 0, 4);
	bench_write(&bench, NE_REG_COMMAND, NE_CMD_SLOT_ALLOC, 1);
	bench_write(&bench, NE_REG_COMMAND, NE_CMD_SLOT_ALLOC, 2);
	bench_write(&bench, NE_REG_COMMAND + 1, NE_CMD_SLOT_ALLOC, 4);
	CU_ASSERT_EQUAL(bench_read(&bench, NE_REG_ENABLE, 1), 1);
	CU_ASSERT_EQUAL(bench_read(&bench, NE_REG_VERSION, 2), 1);
	/* Across the end of a buffer, beyond the BAR, wrapping. */
	device_write(bench.device, NE_REG_SEND_DATA + NE_DATA_SIZE - 4, junk, 8);
	device_write(bench.device, NE_PCI_REGISTERS_SIZE - 1, junk, 2);
	device_write(bench.device, NE_PCI_REGISTERS_SIZE, junk, 1);
	device_write(bench.device, UINT64_MAX - 3, junk, sizeof(junk));
	device_read(bench.device, UINT64_MAX - 3, junk, sizeof(junk));
	for (size_t i = 0; i < sizeof(junk); i++)
		CU_ASSERT_EQUAL(junk[i], 0);
	CU_ASSERT_EQUAL(bench_read(&bench, NE_REG_SEND_DATA + NE_DATA_SIZE - 4, 4), 0);
	CU_ASSERT_EQUAL(counters(), before);
	/* A read across registers sees each of them. */
	CU_ASSERT_EQUAL(bench_read(&bench, 0, 4), 0x00010001);
	/* And none of the writes above was a command. */
	CU_ASSERT_NOT_EQUAL(bench_alloc(&bench), 0);
	CU_ASSERT_EQUAL(bench_replies(&bench), 1);
}

static void test_counters(void)
{
	uint64_t uid = bench_running(&bench, 0);
	uint16_t replies = bench_replies(&bench);

	CU_ASSERT_EQUAL(replies, 4);
	CU_ASSERT_EQUAL(bench_raised(&bench, NE_PCI_VECTOR_REPLY), 4);
	CU_ASSERT_EQUAL(bench_events(&bench), 0);
	CU_ASSERT_EQUAL(bench_raised(&bench, NE_PCI_VECTOR_EVENT), 0);
	CU_ASSERT_EQUAL(device_crash(bench.device, uid, NULL), 0);
	CU_ASSERT_TRUE(bench_wait(&bench, NE_PCI_VECTOR_EVENT, 1));
	CU_ASSERT_EQUAL(bench_events(&bench), 1);
	CU_ASSERT_EQUAL(bench_replies(&bench), replies);
	/* Errors are replies, too; the counter is 16 bits wide and does not spill over. */
	for (unsigned int i = replies; i < 0x10000; i++)
		bench_slot(&bench, NE_CMD_SLOT_INFO, 0, NULL);
	CU_ASSERT_EQUAL(counters(), 0x00010000);
}

/* ---- commands ---- */

static void test_unknown_commands(void)
{
	static const uint32_t unknown[] = { 0, NE_CMD_MAX, 13, 0x100, 0x10001, 0x7fffffff,
		0x80000004, 0xffffffff };
	const uint8_t payload[NE_DATA_SIZE] = { 0 };

	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		CU_ASSERT_EQUAL(
			bench_command(&bench, unknown[i], payload, sizeof(payload), NULL), -EINVAL);
	CU_ASSERT_NOT_EQUAL(bench_alloc(&bench), 0);
}

static void test_slot_life(void)
{
	uint64_t first = bench_alloc(&bench), second = bench_alloc(&bench);
	struct ne_reply reply;

	CU_ASSERT_TRUE(first != 0 && second > first);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_COUNT, 0, &reply), 0);
	CU_ASSERT_EQUAL(reply.slot_count, 2);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_INFO, first, &reply), 0);
	CU_ASSERT_EQUAL(reply.slot_uid, first);
	CU_ASSERT_EQUAL(reply.state, NE_SLOT_INIT);
	CU_ASSERT_EQUAL(reply.mem_regions, SLOT_REGIONS_MAX);
	CU_ASSERT_EQUAL(reply.mem_size + reply.nr_vcpus + reply.enclave_cid + reply.flags, 0);
	/* NEXT_SLOT walks them by uid. */
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_NEXT_SLOT, 0, &reply), 0);
	CU_ASSERT_EQUAL(reply.slot_uid, first);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_NEXT_SLOT, first, &reply), 0);
	CU_ASSERT_EQUAL(reply.slot_uid, second);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_NEXT_SLOT, second, &reply), -ENOENT);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_NEXT_SLOT, UINT64_MAX, &reply), -ENOENT);
	CU_ASSERT_EQUAL(reply.slot_uid, 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_FREE, first, NULL), 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_FREE, first, NULL), -ENOENT);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_NEXT_SLOT, 0, &reply), 0);
	CU_ASSERT_EQUAL(reply.slot_uid, second);
}

static void test_no_slot(void)
{
	static const uint32_t commands[] = { NE_CMD_ENCLAVE_START, NE_CMD_ENCLAVE_GET_SLOT,
		NE_CMD_ENCLAVE_STOP, NE_CMD_SLOT_FREE, NE_CMD_SLOT_ADD_MEM, NE_CMD_SLOT_ADD_VCPU,
		NE_CMD_SLOT_INFO, NE_CMD_SLOT_ADD_BULK_VCPUS };
	static const uint64_t uids[] = { 0, 2, UINT64_MAX, 1ULL << 63 };

	CU_ASSERT_EQUAL(bench_alloc(&bench), 1);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		for (size_t j = 0; j < sizeof(uids) / sizeof(uids[0]); j++)
			CU_ASSERT_EQUAL(bench_slot(&bench, commands[i], uids[j], NULL), -ENOENT);
}

static void test_memory(void)
{
	uint64_t uid = bench_alloc(&bench), other = bench_alloc(&bench);
	const uint64_t unit = NE_MEMORY_UNIT, base = BENCH_BASE, end = base + BENCH_MEMORY;
	struct ne_reply reply;

	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, base, 0), -EINVAL);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, base, unit / 2), -EINVAL);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, base + 4096, unit), -EINVAL);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, UINT64_MAX - unit + 1, unit), -EINVAL);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, base, UINT64_MAX - unit + 1), -EINVAL);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, base - unit, unit), -EFAULT);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, base - unit, 2 * unit), -EFAULT);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, end - unit, 2 * unit), -EFAULT);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, 0, unit), -EFAULT);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, base + 2 * unit, 2 * unit), 0);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, end - unit, unit), 0);
	/* No byte belongs to two enclaves, nor to one twice. */
	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, base + 2 * unit, 2 * unit), -EEXIST);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, other, base + 3 * unit, unit), -EEXIST);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, other, base + unit, 2 * unit), -EEXIST);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, other, base, 8 * unit), -EEXIST);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, other, base, 2 * unit), 0);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, other, base + 4 * unit, unit), 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_INFO, uid, &reply), 0);
	CU_ASSERT_EQUAL(reply.mem_size, 3 * unit);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_FREE, uid, NULL), 0);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, other, base + 2 * unit, 2 * unit), 0);
}

static void test_region_limit(void)
{
	uint64_t uid = bench_alloc(&bench), other = bench_alloc(&bench);
	const uint64_t unit = NE_MEMORY_UNIT, far = BENCH_BASE << 4;

	/* A sparse file behind more memory than the bench has. */
	CU_ASSERT_EQUAL(device_dma_map(bench.device, far, 4096 * MIB, bench.memory, 0), 0);
	for (uint64_t i = 0; i < SLOT_REGIONS_MAX; i++)
		CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, far + i * unit, unit), 0);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, far + SLOT_REGIONS_MAX * unit, unit), -ENOSPC);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, other, far + SLOT_REGIONS_MAX * unit, unit), 0);
}

static void test_vcpus(void)
{
	uint64_t uid = bench_alloc(&bench), other = bench_alloc(&bench);
	struct ne_req_add_bulk_vcpus bulk = { .slot_uid = uid, .nr_vcpus = 6 };
	struct ne_reply reply;

	CU_ASSERT_EQUAL(bench_add_vcpu(&bench, uid, 2), 0);
	CU_ASSERT_EQUAL(bench_add_vcpu(&bench, uid, 2), -EEXIST);
	CU_ASSERT_EQUAL(bench_add_vcpu(&bench, other, 2), -EEXIST);
	CU_ASSERT_EQUAL(bench_add_vcpu(&bench, uid, NE_CPUS_MAX - 1), 0);
	CU_ASSERT_EQUAL(bench_add_vcpu(&bench, uid, NE_CPUS_MAX), -EINVAL);
	CU_ASSERT_EQUAL(bench_add_vcpu(&bench, uid, UINT32_MAX), -EINVAL);
	CU_ASSERT_EQUAL(
		bench_command(&bench, NE_CMD_SLOT_ADD_BULK_VCPUS, &bulk, sizeof(bulk), &reply), 0);
	CU_ASSERT_EQUAL(reply.nr_vcpus, 8);
	bulk.nr_vcpus = 0;
	CU_ASSERT_EQUAL(
		bench_command(&bench, NE_CMD_SLOT_ADD_BULK_VCPUS, &bulk, sizeof(bulk), &reply),
		-EINVAL);
	bulk.nr_vcpus = UINT64_MAX - 1;
	CU_ASSERT_EQUAL(
		bench_command(&bench, NE_CMD_SLOT_ADD_BULK_VCPUS, &bulk, sizeof(bulk), &reply),
		-EINVAL);
	bulk.nr_vcpus = NE_CPUS_MAX - 8 + 1;
	CU_ASSERT_EQUAL(
		bench_command(&bench, NE_CMD_SLOT_ADD_BULK_VCPUS, &bulk, sizeof(bulk), &reply),
		-EINVAL);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_INFO, uid, &reply), 0);
	CU_ASSERT_EQUAL(reply.nr_vcpus, 8);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_FREE, uid, NULL), 0);
	CU_ASSERT_EQUAL(bench_add_vcpu(&bench, other, 2), 0);
}

static void test_start_refusals(void)
{
	static const uint64_t cids[] = { 1, 2, 3, UINT32_MAX, 1ULL << 32, UINT64_MAX };
	uint64_t uid = bench_alloc(&bench);

	CU_ASSERT_EQUAL(bench_start(&bench, uid, 0, 0, NULL), -EINVAL);
	CU_ASSERT_EQUAL(bench_add_vcpu(&bench, uid, 2), 0);
	CU_ASSERT_EQUAL(bench_start(&bench, uid, 0, 0, NULL), -EINVAL);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, BENCH_BASE, 64 * MIB), 0);
	CU_ASSERT_EQUAL(bench_start(&bench, uid, 0, 2, NULL), -EINVAL);
	CU_ASSERT_EQUAL(bench_start(&bench, uid, 0, UINT64_MAX, NULL), -EINVAL);
	for (size_t i = 0; i < sizeof(cids) / sizeof(cids[0]); i++)
		CU_ASSERT_EQUAL(bench_start(&bench, uid, cids[i], 0, NULL), -EINVAL);
	CU_ASSERT_EQUAL(bench_start(&bench, uid, 0, 1, NULL), 0);
	CU_ASSERT_EQUAL(bench_start(&bench, uid, 0, 1, NULL), -EBUSY);
}

static void test_running(void)
{
	uint64_t uid = bench_running(&bench, 0);
	struct ne_req_add_bulk_vcpus bulk = { .slot_uid = uid, .nr_vcpus = 1 };
	struct ne_reply reply;

	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_INFO, uid, &reply), 0);
	CU_ASSERT_EQUAL(reply.state, NE_SLOT_RUNNING);
	CU_ASSERT_EQUAL(reply.mem_size, 64 * MIB);
	CU_ASSERT_EQUAL(reply.nr_vcpus, 1);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, BENCH_BASE + 128 * MIB, 2 * MIB), -EBUSY);
	CU_ASSERT_EQUAL(bench_add_vcpu(&bench, uid, 60), -EBUSY);
	CU_ASSERT_EQUAL(
		bench_command(&bench, NE_CMD_SLOT_ADD_BULK_VCPUS, &bulk, sizeof(bulk), NULL),
		-EBUSY);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_FREE, uid, NULL), -EBUSY);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_ENCLAVE_STOP, uid, &reply), 0);
	CU_ASSERT_EQUAL(reply.state, NE_SLOT_STOPPED);
	/* A second stop finds nothing to do; nothing was said about a stop that was asked for. */
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_ENCLAVE_STOP, uid, NULL), 0);
	CU_ASSERT_EQUAL(bench_start(&bench, uid, 0, 0, NULL), -EBUSY);
	CU_ASSERT_EQUAL(bench_events(&bench), 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_FREE, uid, NULL), 0);
	CU_ASSERT_EQUAL(bench_alloc(&bench), uid + 1);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_ENCLAVE_STOP, uid + 1, NULL), -EINVAL);
}

static void test_cids(void)
{
	uint64_t first = bench_running(&bench, 0), second = bench_running(&bench, 1);
	uint64_t third = bench_alloc(&bench);
	struct ne_req_get_slot by_cid = { .enclave_cid = SLOT_CID_FIRST + 1 };
	struct ne_reply reply;

	CU_ASSERT_EQUAL(
		bench_command(&bench, NE_CMD_ENCLAVE_GET_SLOT, &by_cid, sizeof(by_cid), &reply), 0);
	CU_ASSERT_EQUAL(reply.slot_uid, second);
	CU_ASSERT_EQUAL(reply.enclave_cid, SLOT_CID_FIRST + 1);
	CU_ASSERT_EQUAL(bench_add_mem(&bench, third, BENCH_BASE + 128 * MIB, 2 * MIB), 0);
	CU_ASSERT_EQUAL(bench_add_vcpu(&bench, third, 9), 0);
	CU_ASSERT_EQUAL(bench_start(&bench, third, SLOT_CID_FIRST, 0, NULL), -EBUSY);
	/* A crashed enclave keeps its CID until its slot is freed. */
	CU_ASSERT_EQUAL(device_crash(bench.device, first, NULL), 0);
	CU_ASSERT_TRUE(bench_wait(&bench, NE_PCI_VECTOR_EVENT, 1));
	CU_ASSERT_EQUAL(bench_start(&bench, third, SLOT_CID_FIRST, 0, NULL), -EBUSY);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_FREE, first, NULL), 0);
	CU_ASSERT_EQUAL(bench_start(&bench, third, SLOT_CID_FIRST, 0, &reply), 0);
	CU_ASSERT_EQUAL(reply.enclave_cid, SLOT_CID_FIRST);
	by_cid.enclave_cid = 0;
	CU_ASSERT_EQUAL(
		bench_command(&bench, NE_CMD_ENCLAVE_GET_SLOT, &by_cid, sizeof(by_cid), &reply),
		-ENOENT);
}

static void test_crash(void)
{
	uint64_t uid = bench_running(&bench, 0), idle = bench_alloc(&bench);
	struct nefs_error err = { 0 };
	struct ne_reply reply;
	char text[256];

	CU_ASSERT_EQUAL(device_crash(bench.device, idle, &err), -ESRCH);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "no enclave runs in slot 0x2"));
	CU_ASSERT_EQUAL(device_crash(bench.device, 99, NULL), -ESRCH);
	CU_ASSERT_FALSE(device_explain(bench.device, uid, text, sizeof(text)));
	CU_ASSERT_EQUAL(device_crash(bench.device, uid, NULL), 0);
	CU_ASSERT_TRUE(bench_wait(&bench, NE_PCI_VECTOR_EVENT, 1));
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_INFO, uid, &reply), 0);
	CU_ASSERT_EQUAL(reply.state, NE_SLOT_STOPPED);
	CU_ASSERT_TRUE(device_explain(bench.device, uid, text, sizeof(text)));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "crash"));
	CU_ASSERT_EQUAL(device_crash(bench.device, uid, NULL), -ESRCH);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_FREE, uid, NULL), 0);
}

static void test_slots_text(void)
{
	uint64_t uid = bench_running(&bench, 0);
	char *text;

	bench_running(&bench, 1);
	bench_alloc(&bench);
	CU_ASSERT_EQUAL(device_crash(bench.device, uid, NULL), 0);
	CU_ASSERT_TRUE(bench_wait(&bench, NE_PCI_VECTOR_EVENT, 1));
	text = device_slots(bench.device);
	CU_ASSERT_STRING_EQUAL(text, "0x1 stopped 1 67108864 16\n"
				     "0x2 running 1 67108864 17\n"
				     "0x3 init 0 0 0\n");
	free(text);
}

static void test_many_slots(void)
{
	const uint8_t unused = 0;
	struct ne_reply reply;
	int rc;

	for (unsigned int i = 0; i < SLOT_COUNT_MAX; i++) {
		rc = bench_command(&bench, NE_CMD_SLOT_ALLOC, &unused, sizeof(unused), NULL);
		if (rc)
			break;
	}
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_COUNT, 0, &reply), 0);
	CU_ASSERT_TRUE(reply.slot_count == SLOT_COUNT_MAX && reply.slot_count >= 20000);
	CU_ASSERT_EQUAL(bench_alloc(&bench), 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_FREE, 7, NULL), 0);
	CU_ASSERT_NOT_EQUAL(bench_alloc(&bench), 0);
}

/* ---- faults ---- */

static void test_fail(void)
{
	CU_ASSERT_EQUAL(bench_faults(&bench, "SLOT_ALLOC fail 28 2"), 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_ALLOC, 0, NULL), -28);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_COUNT, 0, NULL), 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_ALLOC, 0, NULL), -28);
	/* What failed was not done. */
	CU_ASSERT_EQUAL(bench_alloc(&bench), 1);
	CU_ASSERT_EQUAL(bench_faults(&bench, "SLOT_INFO fail 256"), 0);
	for (int i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_INFO, 1, NULL), -256);
	CU_ASSERT_EQUAL(bench_faults(&bench, "nonsense"), -EINVAL);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_INFO, 1, NULL), -256);
	CU_ASSERT_EQUAL(bench_faults(&bench, "\n"), 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_INFO, 1, NULL), 0);
}

static void test_spurious(void)
{
	CU_ASSERT_EQUAL(bench_faults(&bench, "event spurious"), 0);
	CU_ASSERT_TRUE(bench_wait(&bench, NE_PCI_VECTOR_EVENT, 1));
	CU_ASSERT_EQUAL(bench_events(&bench), 1);
	CU_ASSERT_EQUAL(bench_replies(&bench), 0);
}

static void test_drop(void)
{
	const struct ne_req_slot any = { 0 };
	struct ne_reply reply;

	CU_ASSERT_EQUAL(bench_faults(&bench, "SLOT_ALLOC drop"), 0);
	for (int i = 0; i < 20; i++) {
		bench_send(&bench, NE_CMD_SLOT_ALLOC, &any, sizeof(any));
		usleep(1000);
	}
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_COUNT, 0, &reply), 0);
	CU_ASSERT_EQUAL(bench_replies(&bench), 1);
	CU_ASSERT_EQUAL(bench_raised(&bench, NE_PCI_VECTOR_REPLY), 1);
	/* Nor was it done. */
	CU_ASSERT_EQUAL(reply.slot_count, 0);
	CU_ASSERT_EQUAL(bench_faults(&bench, ""), 0);
	CU_ASSERT_NOT_EQUAL(bench_alloc(&bench), 0);
}

static void test_delay(void)
{
	const struct ne_req_slot any = { 0 };
	struct timespec before, after;
	long ms;

	CU_ASSERT_EQUAL(bench_faults(&bench, "SLOT_ALLOC delay 80 1"), 0);
	clock_gettime(CLOCK_MONOTONIC, &before);
	CU_ASSERT_EQUAL(bench_command(&bench, NE_CMD_SLOT_ALLOC, &any, sizeof(any), NULL), 0);
	clock_gettime(CLOCK_MONOTONIC, &after);
	ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
	CU_ASSERT_TRUE(ms >= 79);
}

/* A new payload or a new command makes the device forget a command that it has not answered. */
static void test_abandoned(void)
{
	const struct ne_req_slot any = { 0 };
	struct ne_reply reply;

	CU_ASSERT_EQUAL(bench_faults(&bench, "SLOT_ALLOC delay 40\nSLOT_COUNT delay 120"), 0);
	bench_send(&bench, NE_CMD_SLOT_ALLOC, &any, sizeof(any));
	device_write(bench.device, NE_REG_SEND_DATA, &any, sizeof(any));
	bench_send(&bench, NE_CMD_SLOT_ALLOC, &any, sizeof(any));
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_COUNT, 0, &reply), 0);
	CU_ASSERT_EQUAL(reply.slot_count, 0);
	CU_ASSERT_EQUAL(bench_replies(&bench), 1);
	CU_ASSERT_EQUAL(bench_raised(&bench, NE_PCI_VECTOR_REPLY), 1);
	/* A payload alone is enough; nothing happens, for longer than the delay. */
	bench_send(&bench, NE_CMD_SLOT_ALLOC, &any, sizeof(any));
	device_write(bench.device, NE_REG_SEND_DATA + 100, &any, 1);
	usleep(80000);
	CU_ASSERT_EQUAL(bench_faults(&bench, ""), 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_COUNT, 0, &reply), 0);
	CU_ASSERT_EQUAL(reply.slot_count, 0);
	CU_ASSERT_EQUAL(bench_replies(&bench), 2);
}

/* A driver that writes the next command just when the delay ends: each is executed once at most. */
static void test_abandon_race(void)
{
	const struct ne_req_slot any = { 0 };
	struct ne_reply reply;
	uint64_t slots = 0;

	for (; slots < 200; slots++) {
		CU_ASSERT_EQUAL(bench_faults(&bench, "SLOT_INFO delay 1"), 0);
		bench_send(&bench, NE_CMD_SLOT_INFO, &any, sizeof(any));
		usleep((useconds_t)(500 + 5 * slots));
		bench_send(&bench, NE_CMD_SLOT_ALLOC, &any, sizeof(any));
		/* Uids only grow: this is the reply to one more SLOT_ALLOC. */
		do {
			usleep(50);
			device_read(bench.device, NE_REG_RECV_DATA, &reply, sizeof(reply));
		} while (reply.slot_uid <= slots);
	}
	CU_ASSERT_EQUAL(bench_faults(&bench, "SLOT_COUNT delay 20"), 0);
	bench_slot(&bench, NE_CMD_SLOT_COUNT, 0, &reply);
	CU_ASSERT_EQUAL(reply.slot_count, slots);
}

/* ---- hostility ---- */

/* A fixed sequence: xorshift. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void test_hammer(void)
{
	uint64_t state = 0x6e656673, junk[NE_DATA_SIZE / 8];
	struct ne_reply reply;

	for (int i = 0; i < 60000; i++) {
		uint64_t r = next_random(&state);
		uint64_t offset = r % 600;
		size_t size = (r >> 16) % 17;

		for (size_t j = 0; j < 4; j++)
			junk[j] = next_random(&state) & ((r >> 40) & 1 ? UINT64_MAX : 0xff);
		switch ((r >> 32) % 8) {
		case 0:
			device_read(bench.device, offset, junk, size);
			break;
		case 1:
			device_write(bench.device, offset, junk, size);
			break;
		case 2:
			device_write(bench.device, next_random(&state), junk, size);
			break;
		case 3: /* a slot that may exist, addresses that may be memory */
			junk[0] = r >> 60;
			junk[1] = BENCH_BASE + (junk[1] % 128) * NE_MEMORY_UNIT;
			junk[2] = (junk[2] % 4) * NE_MEMORY_UNIT;
			device_write(bench.device, NE_REG_SEND_DATA, junk, 24);
			break;
		case 4:
			device_crash(bench.device, r >> 60, NULL);
			break;
		case 5:
			if (r >> 62)
				break;
			bench_write(&bench, NE_REG_ENABLE, (uint32_t)(r >> 48) % 2, 1);
			break;
		default:
			bench_write(&bench, NE_REG_COMMAND, (uint32_t)(r >> 48) % 14, 4);
			break;
		}
	}
	/* It is still a device. */
	bench_enable(&bench, false);
	bench_enable(&bench, true);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_COUNT, 0, &reply), 0);
	CU_ASSERT_EQUAL(reply.slot_count, 0);
	CU_ASSERT_NOT_EQUAL(bench_running(&bench, 0), 0);
}

static void *hammer_registers(void *argument)
{
	uint64_t state = (uintptr_t)argument, word;

	for (int i = 0; i < 10000; i++) {
		next_random(&state);
		word = state >> 8;
		if (state % 3 == 0)
			device_read(bench.device, state % 0x200, &word, 8);
		else if (state % 3 == 1)
			device_write(bench.device, NE_REG_SEND_DATA + state % 24, &word, 8);
		else
			bench_write(&bench, NE_REG_COMMAND, (uint32_t)(state >> 20) % 12, 4);
	}
	return NULL;
}

static void test_threads(void)
{
	pthread_t threads[3];
	struct ne_reply reply;

	for (uintptr_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, hammer_registers, (void *)(i + 77));
	for (int i = 0; i < 200; i++) {
		free(device_slots(bench.device));
		bench_faults(&bench, i % 2 ? "SLOT_ALLOC fail 5 3\nevent spurious" : "");
		device_crash(bench.device, (uint64_t)i, NULL);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	bench_faults(&bench, "");
	bench_enable(&bench, false);
	bench_enable(&bench, true);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_COUNT, 0, &reply), 0);
	CU_ASSERT_EQUAL(reply.slot_count, 0);
}

static const CU_TestInfo tests[] = {
	{ "a fresh device reads as zeroes", test_fresh },
	{ "the version is at most the device's", test_version },
	{ "1 enables, 0 disables, the rest is ignored", test_enable },
	{ "a disabled device refuses every command", test_disabled },
	{ "disabling resets", test_reset },
	{ "the buffers take any access", test_buffers },
	{ "odd widths and offsets do nothing", test_odd_accesses },
	{ "replies and events are counted", test_counters },
	{ "an unknown command is refused", test_unknown_commands },
	{ "ALLOC, FREE, COUNT, INFO, NEXT", test_slot_life },
	{ "no slot of that uid", test_no_slot },
	{ "ADD_MEM", test_memory },
	{ "a slot's regions are limited", test_region_limit },
	{ "ADD_VCPU and ADD_BULK_VCPUS", test_vcpus },
	{ "START refuses", test_start_refusals },
	{ "a running slot takes nothing more; STOP", test_running },
	{ "CIDs and GET_SLOT", test_cids },
	{ "a crash is an event", test_crash },
	{ "the text of the slots", test_slots_text },
	{ "20,000 slots and more", test_many_slots },
	{ "fault: fail", test_fail },
	{ "fault: a spurious event", test_spurious },
	{ "fault: drop", test_drop },
	{ "fault: delay", test_delay },
	{ "what was not answered gives way", test_abandoned },
	{ "giving way at the last moment", test_abandon_race },
	{ "hammering from one thread", test_hammer },
	{ "hammering from several", test_threads },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("device", tests, set_up, tear_down);
}
