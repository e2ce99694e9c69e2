/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that wait for a VM: for as long as one takes, all others go on. */
#include "cunit_main.h"
#include "test_device_bench.h"
#include <errno.h>
#include <nefs/bell.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MIB 0x100000ULL

/* The enclave whose VM takes its time. */
#define SLOW_CID 77

static struct bench bench;
static int start_gate, end_gate; /* bells: let a start, an end of the slow one go on */
static int start_code;		 /* of all of them */

static void wait_for(int bell)
{
	eventfd_t count;

	while (read(bell, &count, sizeof(count)) < 0)
		usleep(1000);
}

struct vm {
	uint64_t cid;
	int pidfd; /* an eventfd in its place */
};

static int slow_start(const struct vm_config *config, struct vm **vm, struct nefs_error *err)
{
	if (config->cid == SLOW_CID)
		wait_for(start_gate);
	if (start_code)
		return nefs_error_set(err, start_code, "the test wants it so");
	*vm = calloc(1, sizeof(**vm));
	(*vm)->cid = config->cid;
	(*vm)->pidfd = nefs_bell_new();
	return 0;
}

static int slow_pidfd(const struct vm *vm)
{
	return vm->pidfd;
}

static void slow_describe_end(struct vm *vm, char *text, size_t size)
{
	snprintf(text, size, "it ended as the test wants it");
}

static int slow_console(const struct vm *vm)
{
	return -ENOTCONN;
}

static void slow_destroy(struct vm *vm)
{
	if (vm->cid == SLOW_CID)
		wait_for(end_gate);
	close(vm->pidfd);
	free(vm);
}

static bool slow_crash(struct vm *vm)
{
	nefs_bell_ring(vm->pidfd);
	return true;
}

static const struct vm_ops vm_slow = {
	.name = "slow",
	.start = slow_start,
	.pidfd = slow_pidfd,
	.describe_end = slow_describe_end,
	.console = slow_console,
	.destroy = slow_destroy,
	.crash = slow_crash,
};

static void set_up(void)
{
	start_code = 0;
	start_gate = nefs_bell_new();
	end_gate = nefs_bell_new();
	bench_open(&bench, &vm_slow, true);
}

static void set_up_patient(void)
{
	set_up();
	device_set_patient(bench.device);
}

static void tear_down(void)
{
	bench_close(&bench);
	close(start_gate);
	close(end_gate);
}

/* A slot with all of its own at that place. */
static uint64_t make_slot(unsigned int place)
{
	uint64_t uid = bench_alloc(&bench);

	CU_ASSERT_EQUAL(bench_add_mem(&bench, uid, BENCH_BASE + place * 64 * MIB, 64 * MIB), 0);
	CU_ASSERT_EQUAL(bench_add_vcpu(&bench, uid, 2 + place), 0);
	return uid;
}

static uint16_t state_of(uint64_t uid)
{
	struct ne_reply reply = { 0 };

	bench_slot(&bench, NE_CMD_SLOT_INFO, uid, &reply);
	return reply.state;
}

/* The reply of a slot's command that is answered later. */
static int result(uint64_t uid, struct ne_reply *reply)
{
	int rc;

	for (unsigned int times = 1;; times++) {
		rc = bench_slot(&bench, DEVICE_CMD_RESULT, uid, reply);
		if (rc != DEVICE_RC_LATER)
			return rc;
		CU_ASSERT_TRUE_FATAL(bench_wait(&bench, DEVICE_VECTOR_RESULT, times));
	}
}

static int start_and_wait(uint64_t uid, uint64_t cid, struct ne_reply *reply)
{
	CU_ASSERT_EQUAL(bench_start(&bench, uid, cid, 0, NULL), DEVICE_RC_LATER);
	return result(uid, reply);
}

static int stop_and_wait(uint64_t uid)
{
	int rc = bench_slot(&bench, NE_CMD_ENCLAVE_STOP, uid, NULL);

	return rc == DEVICE_RC_LATER ? result(uid, NULL) : rc;
}

static void test_slow_start(void)
{
	uint64_t slow = make_slot(0), quick = make_slot(1);
	struct ne_reply reply;

	CU_ASSERT_EQUAL(bench_start(&bench, slow, SLOW_CID, 0, NULL), DEVICE_RC_LATER);
	/* Nothing happens to it meanwhile, and another has a whole life. */
	CU_ASSERT_EQUAL(bench_start(&bench, slow, SLOW_CID, 0, NULL), -EBUSY);
	CU_ASSERT_EQUAL(start_and_wait(quick, 0, &reply), 0);
	CU_ASSERT_EQUAL(reply.slot_uid, quick);
	CU_ASSERT_EQUAL(reply.state, NE_SLOT_RUNNING);
	CU_ASSERT_EQUAL(device_crash(bench.device, quick, NULL), 0);
	CU_ASSERT_TRUE(bench_wait(&bench, NE_PCI_VECTOR_EVENT, 1));
	CU_ASSERT_EQUAL(state_of(quick), NE_SLOT_STOPPED);
	CU_ASSERT_EQUAL(stop_and_wait(quick), 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_FREE, quick, NULL), 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, DEVICE_CMD_RESULT, slow, NULL), DEVICE_RC_LATER);
	CU_ASSERT_EQUAL(state_of(slow), NE_SLOT_INIT);
	nefs_bell_ring(start_gate);
	CU_ASSERT_EQUAL(result(slow, &reply), 0);
	CU_ASSERT_EQUAL(reply.enclave_cid, SLOW_CID);
	CU_ASSERT_EQUAL(state_of(slow), NE_SLOT_RUNNING);
	/* A result is had once. */
	CU_ASSERT_EQUAL(bench_slot(&bench, DEVICE_CMD_RESULT, slow, NULL), -ENOENT);
	nefs_bell_ring(end_gate);
}

static void test_slow_end(void)
{
	uint64_t slow = make_slot(0), quick = make_slot(1);

	nefs_bell_ring(start_gate);
	CU_ASSERT_EQUAL(start_and_wait(slow, SLOW_CID, NULL), 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_ENCLAVE_STOP, slow, NULL), DEVICE_RC_LATER);
	CU_ASSERT_EQUAL(start_and_wait(quick, 0, NULL), 0);
	CU_ASSERT_EQUAL(stop_and_wait(quick), 0);
	nefs_bell_ring(end_gate);
	CU_ASSERT_EQUAL(result(slow, NULL), 0);
	/* Nobody's surprise. */
	CU_ASSERT_EQUAL(bench_events(&bench), 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_FREE, slow, NULL), 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_FREE, quick, NULL), 0);
}

static void test_failed_start(void)
{
	uint64_t uid = make_slot(0);
	char text[256];

	start_code = EIO;
	CU_ASSERT_EQUAL(start_and_wait(uid, 0, NULL), -EIO);
	CU_ASSERT_TRUE(device_explain(bench.device, uid, text, sizeof(text)));
	CU_ASSERT_STRING_EQUAL(text, "the test wants it so");
	CU_ASSERT_EQUAL(state_of(uid), NE_SLOT_INIT);
	start_code = 0;
	CU_ASSERT_EQUAL(start_and_wait(uid, 0, NULL), 0);
}

/* Whoever wanted it started has given up, and its slot with it. */
static void test_unowned(void)
{
	uint64_t uid = make_slot(0);
	char *text = NULL;

	CU_ASSERT_EQUAL(bench_start(&bench, uid, SLOW_CID, 0, NULL), DEVICE_RC_LATER);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_FREE, uid, NULL), -EBUSY);
	nefs_bell_ring(end_gate);
	nefs_bell_ring(start_gate);
	for (int i = 0; i < 20000 && (!text || text[0]); i++) {
		free(text);
		usleep(1000);
		text = device_slots(bench.device);
	}
	CU_ASSERT_STRING_EQUAL(text, "");
	free(text);
}

/* A driver that knows only one command at a time, as Linux's does. */
static void test_one_at_a_time(void)
{
	uint64_t slow = make_slot(0), quick = make_slot(1);
	const struct ne_req_start start = { .slot_uid = slow, .enclave_cid = SLOW_CID };
	unsigned int before = bench_raised(&bench, NE_PCI_VECTOR_REPLY);
	struct ne_reply reply;

	bench_send(&bench, NE_CMD_ENCLAVE_START, &start, sizeof(start));
	usleep(20000);
	CU_ASSERT_EQUAL(bench_raised(&bench, NE_PCI_VECTOR_REPLY), before);
	nefs_bell_ring(start_gate);
	CU_ASSERT_TRUE(bench_wait(&bench, NE_PCI_VECTOR_REPLY, before + 1));
	device_read(bench.device, NE_REG_RECV_DATA, &reply, sizeof(reply));
	CU_ASSERT_EQUAL(reply.rc, 0);
	CU_ASSERT_EQUAL(reply.slot_uid, slow);
	CU_ASSERT_EQUAL(bench_start(&bench, quick, 0, 0, NULL), 0);
	nefs_bell_ring(end_gate);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_ENCLAVE_STOP, slow, NULL), 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_FREE, slow, NULL), 0);
	/* That command is for the other kind of driver. */
	CU_ASSERT_EQUAL(bench_slot(&bench, DEVICE_CMD_RESULT, quick, NULL), -EINVAL);
}

/* It gave up waiting: the next command is executed after the first, and only that is answered. */
static void test_given_up(void)
{
	uint64_t slow = make_slot(0);
	const struct ne_req_start start = { .slot_uid = slow, .enclave_cid = SLOW_CID };
	const struct ne_req_slot info = { .slot_uid = slow };
	uint16_t before = bench_replies(&bench);
	unsigned int raised = bench_raised(&bench, NE_PCI_VECTOR_REPLY);
	struct ne_reply reply;

	bench_send(&bench, NE_CMD_ENCLAVE_START, &start, sizeof(start));
	usleep(20000);
	bench_send(&bench, NE_CMD_SLOT_INFO, &info, sizeof(info));
	usleep(20000);
	CU_ASSERT_EQUAL(bench_replies(&bench), before);
	nefs_bell_ring(start_gate);
	CU_ASSERT_TRUE(bench_wait(&bench, NE_PCI_VECTOR_REPLY, raised + 1));
	device_read(bench.device, NE_REG_RECV_DATA, &reply, sizeof(reply));
	CU_ASSERT_EQUAL(reply.state, NE_SLOT_RUNNING);
	CU_ASSERT_EQUAL(bench_replies(&bench), before + 1);
	nefs_bell_ring(end_gate);
}

/* The driver hears nothing of an end, frees the slot, and waits for what is left of the VM. */
static void test_silent_end(void)
{
	uint64_t slow = make_slot(0);

	nefs_bell_ring(start_gate);
	CU_ASSERT_EQUAL(bench_start(&bench, slow, SLOW_CID, 0, NULL), 0);
	CU_ASSERT_EQUAL(device_stop_silently(bench.device, slow, NULL), 0);
	while (state_of(slow) == NE_SLOT_RUNNING)
		usleep(1000);
	CU_ASSERT_EQUAL(bench_events(&bench), 0);
	nefs_bell_ring(end_gate);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_FREE, slow, NULL), 0);
	CU_ASSERT_EQUAL(bench_slot(&bench, NE_CMD_SLOT_INFO, slow, NULL), -ENOENT);
}

static void test_reset(void)
{
	uint64_t slow = make_slot(0);
	const struct ne_req_start start = { .slot_uid = slow, .enclave_cid = SLOW_CID };

	bench_send(&bench, NE_CMD_ENCLAVE_START, &start, sizeof(start));
	usleep(20000);
	nefs_bell_ring(end_gate);
	nefs_bell_ring(start_gate);
	bench_enable(&bench, false);
	bench_enable(&bench, true);
	CU_ASSERT_NOT_EQUAL(bench_alloc(&bench), 0);
}

int main(void)
{
	static const CU_TestInfo patient[] = {
		{ "a slow start", test_slow_start },
		{ "a slow end", test_slow_end },
		{ "a start that fails", test_failed_start },
		{ "a start that nobody waits for any more", test_unowned },
		CU_TEST_INFO_NULL,
	};
	static const CU_TestInfo tests[] = {
		{ "one command at a time", test_one_at_a_time },
		{ "a command that was given up", test_given_up },
		{ "an end that nobody hears of", test_silent_end },
		{ "a reset amid a start", test_reset },
		CU_TEST_INFO_NULL,
	};
	int status = cunit_run("device_slow", patient, set_up_patient, tear_down);

	return status ? status : cunit_run("device_slow", tests, set_up, tear_down);
}
