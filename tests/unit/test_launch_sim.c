/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The whole backend over the simulated machine, its enclaves without a VM. */
#include "cunit_main.h"
#include "test_launch_image.h"
#include "test_launch_support.h"
#include "test_launch_watched.h"
#include <errno.h>
#include <nefs/backend.h>
#include <unistd.h>

#define MIB   (1ULL << 20)
#define CROWD 200

static sd_event *event;
static struct workers *pool;
static struct backend *backend;
static int image = -1;
static unsigned int fds_before;

static bool is_decided(void *context)
{
	return ((struct watched *)context)->running || ((struct watched *)context)->released;
}

static const struct backend_config plain = {
	.name = "web",
	.memory = 64 * MIB,
	.vcpus = 2,
};

static void launch(struct watched *watched, struct backend_config config)
{
	struct nefs_error err = { 0 };

	memset(watched, 0, sizeof(*watched));
	config.image_fd = image;
	CU_ASSERT_EQUAL_FATAL(
		backend_start(backend, &config, &watched_listener, watched, &watched->launch, &err),
		0);
}

static void stop(struct watched *watched)
{
	backend_stop(watched->launch);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, watched));
	CU_ASSERT_STRING_EQUAL(watched->log, "started running stopped released");
}

static void start(struct watched *watched, struct backend_config config)
{
	launch(watched, config);
	CU_ASSERT_TRUE_FATAL(run_until(event, is_decided, watched));
	if (!watched->running)
		puts(watched->error.text);
	CU_ASSERT_STRING_EQUAL_FATAL(watched->log, "started running");
}

/* Starts one that must be refused with code, and a sentence that has this part. */
static void refuse(struct backend_config config, int code, const char *part)
{
	struct watched watched;
	bool found;

	launch(&watched, config);
	CU_ASSERT_TRUE_FATAL(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "failed released");
	CU_ASSERT_EQUAL(watched.error.code, code);
	found = strstr(watched.error.text, part);
	CU_ASSERT_TRUE(found);
	if (!found || watched.error.code != code)
		puts(watched.error.text);
}

static void open_sim(unsigned int cpus, uint64_t memory)
{
	const struct backend_options options = {
		.kind = "sim",
		.sim_cpus = cpus,
		.sim_memory = memory,
		.sim_vm_none = true,
		/* Long enough for a busy machine, short enough to wait for. */
		.sim_reply_timeout_ms = 3000,
	};
	struct nefs_error err = { 0 };

	fds_before = count_fds();
	CU_ASSERT_EQUAL_FATAL(sd_event_new(&event), 0);
	CU_ASSERT_EQUAL_FATAL(workers_new(event, 16, &pool, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(backend_open(event, pool, &options, &backend, &err), 0);
	CU_ASSERT_STRING_EQUAL(backend_name(backend), "sim");
	image = test_image(EIF_AARCH64, 4096); /* any architecture is welcome */
}

static void check_no_slots(void)
{
	char *slots = backend_sim_slots(backend);

	CU_ASSERT_PTR_NOT_NULL_FATAL(slots);
	CU_ASSERT_STRING_EQUAL(slots, "");
	free(slots);
}

static void close_sim(void)
{
	check_no_slots();
	backend_close(backend);
	workers_free(pool);
	sd_event_unref(event);
	close(image);
	CU_ASSERT_EQUAL(count_fds(), fds_before);
}

static void test_success(void)
{
	static const uint32_t cpus[] = { 4, 5 };
	struct backend_config config = plain;
	struct watched watched;
	char *slots;

	open_sim(8, 0);
	config.cpus = cpus;
	config.cpu_count = 2;
	config.cid = 1234;
	start(&watched, config);
	CU_ASSERT_STRING_EQUAL(watched.grant.cpus, "4-5");
	CU_ASSERT_EQUAL(watched.grant.cid, 1234);
	CU_ASSERT_EQUAL(watched.grant.memory, 64 * MIB);
	slots = backend_sim_slots(backend);
	CU_ASSERT_PTR_NOT_NULL_FATAL(slots);
	CU_ASSERT_PTR_NOT_NULL(strstr(slots, "1234"));
	free(slots);
	stop(&watched);
	start(&watched, plain);
	CU_ASSERT_TRUE(watched.grant.cid >= 4);
	stop(&watched);
	close_sim();
}

static void test_running_out(void)
{
	struct backend_config config = plain;
	struct watched first;

	/* CPUs 2 to 7, 256 MiB. */
	open_sim(8, 256 * MIB);
	config.vcpus = 8;
	refuse(config, EBUSY, "after 6 of 8 vCPUs");
	config.vcpus = 1;
	refuse(config, EINVAL, "whole CPU cores");
	config = plain;
	config.memory = 258 * MIB;
	refuse(config, ENOMEM, "128 of 128 pages of 2 MiB are free");

	config = plain;
	config.cid = 99;
	config.memory = 128 * MIB;
	config.vcpus = 4;
	start(&first, config);
	config.vcpus = 2;
	refuse(config, EBUSY, "CID");
	config.cid = 0;
	config.memory = 130 * MIB;
	refuse(config, ENOMEM, "64 of 128 pages");
	config.memory = 128 * MIB;
	config.vcpus = 4;
	refuse(config, EBUSY, "after 2 of 4 vCPUs (NE_ERR_NO_CPUS_AVAIL_IN_POOL");
	stop(&first);
	start(&first, config);
	stop(&first);
	config.cid = 3;
	refuse(config, EINVAL, "NE_ERR_INVALID_ENCLAVE_CID");
	close_sim();
}

static void test_faults(void)
{
	static const struct {
		const char *plan;
		int code;
		const char *part;
	} rows[] = {
		{ "SLOT_ALLOC fail 28 1", ENOSPC, "no free slot" },
		{ "SLOT_ADD_MEM fail 12 1", ENOMEM, "NE_SET_USER_MEMORY_REGION" },
		{ "SLOT_ADD_VCPU fail 5 1", EIO, "NE_ADD_VCPU" },
		{ "ENCLAVE_START fail 17 1", EBUSY, "CID is taken" },
		{ "ENCLAVE_START fail 6 1", ENODEV, "gone" },
		{ "SLOT_ALLOC drop 1", ETIMEDOUT, "did not answer" },
		{ "ENCLAVE_START drop 1", ETIMEDOUT, "NE_START_ENCLAVE" },
	};
	struct nefs_error err = { 0 };
	struct watched watched;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		open_sim(8, 256 * MIB);
		CU_ASSERT_EQUAL(
			backend_sim_set_faults(backend, rows[i].plan, strlen(rows[i].plan), &err),
			0);
		refuse(plain, rows[i].code, rows[i].part);
		/* Used up: and nothing has been lost. */
		struct backend_config config = plain;

		config.memory = 256 * MIB;
		config.vcpus = 6;
		start(&watched, config);
		stop(&watched);
		close_sim();
	}
	open_sim(8, 256 * MIB);
	CU_ASSERT_EQUAL(backend_sim_set_faults(backend, "NONSENSE\n", 9, &err), -EINVAL);
	close_sim();
}

static void test_crash(void)
{
	struct nefs_error err = { 0 };
	struct watched watched;

	open_sim(8, 256 * MIB);
	launch(&watched, plain);
	CU_ASSERT_EQUAL(backend_sim_crash(backend, watched.launch, &err), -EINVAL);
	CU_ASSERT_TRUE(run_until(event, is_decided, &watched));
	CU_ASSERT_EQUAL(backend_sim_crash(backend, watched.launch, &err), 0);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "started running crashed released");
	CU_ASSERT_EQUAL(watched.error.code, EIO);
	close_sim();
}

static bool all_running(void *context)
{
	const struct watched *crowd = context;

	for (size_t i = 0; i < CROWD; i++) {
		if (!crowd[i].running)
			return false;
	}
	return true;
}

static bool all_released(void *context)
{
	const struct watched *crowd = context;

	for (size_t i = 0; i < CROWD; i++) {
		if (!crowd[i].released)
			return false;
	}
	return true;
}

static void test_crowd(void)
{
	static struct watched crowd[CROWD];
	struct nefs_error err;

	open_sim(2 * CROWD + 2, CROWD * 64 * MIB);
	for (size_t i = 0; i < CROWD; i++)
		launch(&crowd[i], plain);
	CU_ASSERT_TRUE_FATAL(run_until(event, all_running, crowd));
	for (size_t i = 0; i < CROWD; i++) {
		if (i % 2)
			CU_ASSERT_EQUAL(backend_sim_crash(backend, crowd[i].launch, &err), 0);
		if (i % 2 == 0)
			backend_stop(crowd[i].launch);
	}
	CU_ASSERT_TRUE_FATAL(run_until(event, all_released, crowd));
	for (size_t i = 0; i < CROWD; i++)
		CU_ASSERT_STRING_EQUAL(crowd[i].log, i % 2 ? "started running crashed released"
							   : "started running stopped released");
	close_sim();
}

static void test_image_report(void)
{
	struct backend_image_report report = { 0 };
	struct nefs_error err = { 0 };

	open_sim(8, 256 * MIB);
	CU_ASSERT_TRUE(backend_image_plausible(".eif", 4));
	CU_ASSERT_FALSE(backend_image_plausible("\x7f"
						"ELF",
		4));
	CU_ASSERT_EQUAL_FATAL(backend_image_describe(image, NULL, &report, &err), 0);
	CU_ASSERT_EQUAL(strncmp(report.measurements, "PCR0 ", 5), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(report.measurements, "\nPCR1 "));
	CU_ASSERT_PTR_NOT_NULL(
		strstr(report.measurements, "\nPCR2 21b9efbc184807662e966d34f3908213"));
	CU_ASSERT_PTR_NULL(strstr(report.measurements, "PCR8"));
	CU_ASSERT_EQUAL(report.info[0], '{');
	free(report.measurements);
	free(report.info);
	CU_ASSERT_EQUAL(pwrite(image, "x", 1, 700), 1);
	CU_ASSERT_EQUAL(backend_image_describe(image, NULL, &report, &err), -EINVAL);
	close_sim();
}

static void test_options(void)
{
	struct backend_options options = { .kind = "magic" };
	struct nefs_error err = { 0 };

	CU_ASSERT_EQUAL(sd_event_new(&event), 0);
	CU_ASSERT_EQUAL(workers_new(event, 1, &pool, NULL), 0);
	CU_ASSERT_EQUAL(backend_open(event, pool, &options, &backend, &err), -EINVAL);
	options.kind = NULL;
	CU_ASSERT_EQUAL(backend_open(event, pool, &options, &backend, &err), -EINVAL);
	options.kind = "kernel";
	options.device = "/nonexistent/nitro_enclaves";
	CU_ASSERT_EQUAL(backend_open(event, pool, &options, &backend, &err), -ENODEV);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "backend=sim"));
	/* Only the simulated device can be made to fail. */
	options.device = "/dev/null";
	CU_ASSERT_EQUAL_FATAL(backend_open(event, pool, &options, &backend, &err), 0);
	CU_ASSERT_STRING_EQUAL(backend_name(backend), "kernel");
	CU_ASSERT_EQUAL(backend_sim_set_faults(backend, "", 0, &err), -ENOTSUP);
	check_no_slots();
	backend_close(backend);
	workers_free(pool);
	sd_event_unref(event);
}

static const CU_TestInfo tests[] = {
	{ "the options", test_options },
	{ "what an image is", test_image_report },
	{ "started, running, stopped, released", test_success },
	{ "running out of CPUs, memory, CIDs", test_running_out },
	{ "a device that fails or does not answer", test_faults },
	{ "a crash", test_crash },
	{ "two hundred at once", test_crowd },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("launch_sim", tests, NULL, NULL);
}
