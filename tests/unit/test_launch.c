/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of a launch, over a device that fails, waits and crashes on demand. */
#include "backend_internal.h"
#include "cunit_main.h"
#include "launch/launch.h"
#include "test_launch_device.h"
#include "test_launch_image.h"
#include "test_launch_support.h"
#include "test_launch_watched.h"
#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MIB   (1ULL << 20)
#define PAGES 8192

static sd_event *event;
static struct workers *pool;
static struct test_device *device;
static struct backend *backend;
static int image = -1;
static unsigned int fds_before;

static bool has_listener(void *context)
{
	return heartbeat_fds(backend->heartbeat) > 0;
}

/* Opens the backend over a fresh device. */
static void open_backend(bool heartbeat)
{
	fds_before = count_fds();
	device = test_device_new(PAGES);
	device->ops.heartbeat = heartbeat;
	CU_ASSERT_EQUAL_FATAL(sd_event_new(&event), 0);
	CU_ASSERT_EQUAL_FATAL(workers_new(event, 16, &pool, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(
		backend_new(event, pool, &device->dev, &local_endpoint, true, &backend, NULL), 0);
}

/* Closes it; everything must have been given back. */
static void close_backend(void)
{
	CU_ASSERT_TRUE(test_device_idle(device));
	CU_ASSERT_EQUAL(device->pages_free, PAGES);
	CU_ASSERT_EQUAL(backend->launches, 0);
	backend_close(backend);
	workers_free(pool);
	sd_event_unref(event);
	CU_ASSERT_EQUAL(count_fds(), fds_before);
}

static void set_up(void)
{
	image = test_image(EIF_X86_64, 4096);
}

static void tear_down(void)
{
	close(image);
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
	if (config.image_fd == 0)
		config.image_fd = image;
	CU_ASSERT_EQUAL_FATAL(
		backend_start(backend, &config, &watched_listener, watched, &watched->launch, &err),
		0);
	CU_ASSERT_STRING_EQUAL(watched->log, ""); /* never from inside the call */
}

static void beat(uint64_t cid)
{
	const unsigned char byte = HEARTBEAT_BYTE;
	unsigned char echo = 0;
	int peer = local_connect(cid);

	CU_ASSERT_EQUAL(write(peer, &byte, 1), 1);
	while (recv(peer, &echo, 1, MSG_DONTWAIT) != 1 && errno == EAGAIN)
		sd_event_run(event, 100000);
	CU_ASSERT_EQUAL(echo, HEARTBEAT_BYTE);
	close(peer);
}

static void check_sentence(const struct watched *watched, const char *part)
{
	bool found = strstr(watched->error.text, part);

	CU_ASSERT_TRUE(found);
	if (!found) {
		puts(watched->error.text);
		puts(part);
	}
	CU_ASSERT_EQUAL(strncmp(watched->error.text, "web: ", 5), 0);
}

static void test_success(void)
{
	struct watched watched;

	open_backend(false);
	launch(&watched, plain);
	CU_ASSERT_TRUE(run_until(event, watched_is_running, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "started running");
	CU_ASSERT_EQUAL(watched.grant.cid, 16);
	CU_ASSERT_EQUAL(watched.grant.memory, 64 * MIB);
	CU_ASSERT_STRING_EQUAL(watched.grant.cpus, "2-3");
	CU_ASSERT_EQUAL(backend_launch_slot(watched.launch), watched.grant.slot_uid);
	CU_ASSERT_EQUAL(memcmp(device->image_magic, ".eif", 4), 0);
	CU_ASSERT_EQUAL(device->mappings, 0); /* dropped once it runs */
	CU_ASSERT_EQUAL(device->device_fds, 0);
	CU_ASSERT_EQUAL(test_device_calls(device, TEST_SET_MEMORY), 1);
	CU_ASSERT_EQUAL(device->pages_free, PAGES - 32);

	backend_stop(watched.launch);
	backend_stop(watched.launch);
	CU_ASSERT_STRING_EQUAL(watched.log, "started running");
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "started running stopped released");
	CU_ASSERT_EQUAL(watched.error.code, 0);
	CU_ASSERT_STRING_EQUAL(watched.error.text, "");
	close_backend();
}

/* A grant's copy has all of its own. */
static void check_copy(const struct backend_grant *grant)
{
	struct backend_grant *copy = backend_grant_copy(grant);

	CU_ASSERT_EQUAL(copy->slot_uid, grant->slot_uid);
	CU_ASSERT_EQUAL(copy->cid, grant->cid);
	CU_ASSERT_EQUAL(copy->memory, grant->memory);
	CU_ASSERT_STRING_EQUAL(copy->cpus, grant->cpus);
	CU_ASSERT_PTR_NOT_EQUAL(copy->cpus, grant->cpus);
	free(copy);
}

/* A list of CPUs is whole however long it is: none of these has a neighbour. */
static void test_many_cpus(void)
{
	struct backend_config config = plain;
	struct watched watched;
	uint32_t cpus[1500];
	char list[8192];
	size_t used = 0;

	open_backend(false);
	for (uint32_t i = 0; i < 1500; i++) {
		cpus[i] = 1000 + 2 * i;
		used += (size_t)snprintf(
			list + used, sizeof(list) - used, "%s%u", i ? "," : "", cpus[i]);
	}
	config.cpus = cpus;
	config.cpu_count = config.vcpus = 1500;
	launch(&watched, config);
	CU_ASSERT_TRUE(run_until(event, watched_is_running, &watched));
	CU_ASSERT_STRING_EQUAL(watched.grant.cpus, list);
	backend_stop(watched.launch);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	close_backend();
}

static void test_asked_cpus(void)
{
	static const uint32_t cpus[] = { 4, 5, 9, 11 };
	struct backend_config config = plain;
	struct watched watched;

	open_backend(false);
	config.cpus = cpus;
	config.cpu_count = 4;
	config.vcpus = 4;
	config.cid = 77;
	launch(&watched, config);
	CU_ASSERT_TRUE(run_until(event, watched_is_running, &watched));
	CU_ASSERT_STRING_EQUAL(watched.grant.cpus, "4-5,9,11");
	check_copy(&watched.grant);
	CU_ASSERT_EQUAL(watched.grant.cid, 77);
	backend_stop(watched.launch);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));

	device->plan[TEST_ADD_VCPU].rc = -NE_ERR_VCPU_NOT_IN_CPU_POOL;
	device->plan[TEST_ADD_VCPU].after = 2;
	launch(&watched, config);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_EQUAL(watched.error.code, EBUSY);
	check_sentence(&watched, "at CPU 9, after 2 of 4 vCPUs");
	close_backend();
}

static void test_heartbeat(void)
{
	struct watched watched;

	open_backend(true);
	launch(&watched, plain);
	CU_ASSERT_TRUE(run_until(event, watched_is_started, &watched));
	run_ready(event);
	CU_ASSERT_STRING_EQUAL(watched.log, "started");
	CU_ASSERT_TRUE(has_listener(NULL));
	beat(watched.grant.cid);
	CU_ASSERT_TRUE(run_until(event, watched_is_running, &watched));
	CU_ASSERT_FALSE(has_listener(NULL)); /* nothing boots any more */
	backend_stop(watched.launch);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "started running stopped released");
	close_backend();
}

/* The enclave reports in while its start is still on its way back from the worker. */
static void test_early_heartbeat(void)
{
	struct backend_config config = plain;
	const unsigned char byte = HEARTBEAT_BYTE;
	struct watched watched;
	int peer;

	open_backend(true);
	device->plan[TEST_START].waits = true;
	config.cid = 30;
	launch(&watched, config);
	CU_ASSERT_TRUE(run_until(event, has_listener, NULL));
	test_device_await(device, TEST_START);
	peer = local_connect(30);
	CU_ASSERT_EQUAL(write(peer, &byte, 1), 1);
	run_ready(event);
	CU_ASSERT_STRING_EQUAL(watched.log, "");
	test_device_let_go(device, TEST_START);
	CU_ASSERT_TRUE(run_until(event, watched_is_running, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "started running");
	backend_stop(watched.launch);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	close(peer);
	close_backend();
}

static void test_failures(void)
{
	static const struct {
		enum test_call call;
		int rc;
		unsigned int after;
		int code;
		const char *sentence;
	} rows[] = {
		{ TEST_OPEN, -ENODEV, 0, ENODEV, "opening the device" },
		{ TEST_OPEN, -EACCES, 0, EIO, "as root" },
		{ TEST_CREATE_VM, -NE_ERR_NO_CPUS_AVAIL_IN_POOL, 0, EBUSY, "no free CPU" },
		{ TEST_CREATE_VM, -ENOSPC, 0, ENOSPC, "no free slot" },
		{ TEST_CREATE_VM, -ETIMEDOUT, 0, ETIMEDOUT, "did not answer" },
		{ TEST_LOAD_INFO, -NE_ERR_NOT_IN_INIT_STATE, 0, EIO, "ended while it was being" },
		{ TEST_MAP, -ENOMEM, 0, ENOMEM, "LimitAS" },
		{ TEST_MAP, -EIO, 0, EIO, "planned" },
		{ TEST_SET_MEMORY, -NE_ERR_MEM_MAX_REGIONS, 0, ENOSPC, "after 0 of 64 MiB" },
		{ TEST_SET_MEMORY, -ENOMEM, 0, ENOMEM, "SET_USER_MEMORY_REGION" },
		{ TEST_ADD_VCPU, -NE_ERR_NO_CPUS_AVAIL_IN_POOL, 1, EBUSY,
			"the CPU pool has no free CPU left after 1 of 2 vCPUs "
			"(NE_ERR_NO_CPUS_AVAIL_IN_POOL from NE_ADD_VCPU" },
		{ TEST_ADD_VCPU, -EIO, 0, EIO, "after 0 of 2 vCPUs" },
		{ TEST_START, -NE_ERR_FULL_CORES_NOT_USED, 0, EINVAL, "whole CPU cores" },
		{ TEST_START, -EEXIST, 0, EBUSY, "the CID is taken" },
		{ TEST_START, -ETIMEDOUT, 0, ETIMEDOUT, "NE_START_ENCLAVE" },
		{ TEST_START, -ENXIO, 0, ENODEV, "gone" },
	};

	for (unsigned int heartbeat = 0; heartbeat < 2; heartbeat++) {
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			struct watched watched;

			open_backend(heartbeat);
			device->plan[rows[i].call].rc = rows[i].rc;
			device->plan[rows[i].call].after = rows[i].after;
			launch(&watched, plain);
			CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
			CU_ASSERT_STRING_EQUAL(watched.log, "failed released");
			CU_ASSERT_EQUAL(watched.error.code, rows[i].code);
			check_sentence(&watched, rows[i].sentence);
			/* And the next one, without the fault, succeeds. */
			device->plan[rows[i].call].rc = 0;
			launch(&watched, plain);
			CU_ASSERT_TRUE(run_until(event, watched_is_started, &watched));
			CU_ASSERT_EQUAL(strncmp(watched.log, "started", 7), 0);
			backend_stop(watched.launch);
			CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
			close_backend();
		}
	}
}

static void test_explained(void)
{
	struct watched watched;

	open_backend(false);
	device->explanation = "QEMU exited with status 1: no such machine";
	device->plan[TEST_START].rc = -EIO;
	launch(&watched, plain);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	check_sentence(&watched, "no such machine");
	close_backend();
}

/* What is wrong with the image is found before anything is taken. */
static void test_bad_image(void)
{
	struct backend_config config = plain;
	struct watched watched;

	open_backend(false);
	config.image_fd = test_image(EIF_X86_64, 57 * MIB);
	memset(&watched, 0, sizeof(watched));
	CU_ASSERT_EQUAL(backend_start(backend, &config, &watched_listener, &watched,
				&watched.launch, &watched.error),
		-EINVAL);
	CU_ASSERT_STRING_EQUAL(watched.log, "");
	check_sentence(&watched, "64 MiB of memory cannot hold the image");
	check_sentence(&watched, "66 MiB are needed");

	close(config.image_fd);

	/* A flipped bit. */
	config.image_fd = test_image(EIF_X86_64, 64);
	CU_ASSERT_EQUAL(pwrite(config.image_fd, "x", 1, 1000), 1);
	launch(&watched, config);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_EQUAL(watched.error.code, EINVAL);
	check_sentence(&watched, "CRC");
	close(config.image_fd);

	/* No kernel at all behind the section's header. */
	config.image_fd = test_image(EIF_AARCH64, 64);
	backend->any_arch = false;
	launch(&watched, config);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
#if defined(__x86_64__)
	CU_ASSERT_EQUAL(watched.error.code, EINVAL);
	check_sentence(&watched, "is for aarch64, this machine is x86_64");
#endif
	close(config.image_fd);
	CU_ASSERT_EQUAL(test_device_calls(device, TEST_OPEN), 0);
	close_backend();
}

/* The driver's word on the offset counts. */
static void test_offset(void)
{
	struct watched watched;

	open_backend(false);
	device->load_offset = 64 * MIB;
	launch(&watched, plain);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "failed released");
	CU_ASSERT_EQUAL(watched.error.code, EINVAL);
	check_sentence(&watched, "placed at 64 MiB");
	close_backend();
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000U + (uint64_t)now.tv_nsec / 1000000U;
}

/* Runs the loop for so long. */
static void run_for(unsigned int ms)
{
	uint64_t until = now_ms() + ms;

	while (now_ms() < until)
		sd_event_run(event, 10000);
}

/* A stop at each step: the launch goes no further, and says so once all has been given back. */
static void test_cancel(void)
{
	static const enum test_call calls[] = { TEST_OPEN, TEST_CREATE_VM, TEST_LOAD_INFO, TEST_MAP,
		TEST_SET_MEMORY, TEST_ADD_VCPU, TEST_START };

	for (unsigned int heartbeat = 0; heartbeat < 2; heartbeat++) {
		for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
			struct watched watched;

			open_backend(heartbeat);
			device->plan[calls[i]].waits = true;
			launch(&watched, plain);
			/* The loop has a part in the way to the last of them. */
			while (test_device_waiting(device, calls[i]) == 0)
				sd_event_run(event, 1000);
			backend_stop(watched.launch);
			CU_ASSERT_STRING_EQUAL(watched.log, "");
			/* Longer than a crash would take to be told; one step shows it. */
			if (calls[i] == TEST_START)
				run_for(400);
			CU_ASSERT_STRING_EQUAL(watched.log, "");
			test_device_let_go(device, calls[i]);
			CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
			CU_ASSERT_STRING_EQUAL(watched.log, "stopped released");
			CU_ASSERT_EQUAL(watched.error.code, ECANCELED);
			check_sentence(&watched, "before it ran");
			/* It went no further. */
			if (calls[i] != TEST_START)
				CU_ASSERT_EQUAL(test_device_calls(device, TEST_START), 0);
			close_backend();
		}
	}
}

static void test_stop_at_once(void)
{
	struct watched watched;

	open_backend(true);
	launch(&watched, plain);
	backend_stop(watched.launch);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "stopped released");
	CU_ASSERT_EQUAL(watched.error.code, ECANCELED);
	close_backend();
}

static void test_stop_in_callback(void)
{
	for (unsigned int heartbeat = 0; heartbeat < 2; heartbeat++) {
		struct backend_config config = plain;
		struct nefs_error err;
		struct watched watched = { .stop_when_started = true };

		open_backend(heartbeat);
		config.image_fd = image;
		config.debug = true;
		CU_ASSERT_EQUAL(backend_start(backend, &config, &watched_listener, &watched,
					&watched.launch, &err),
			0);
		CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
		CU_ASSERT_STRING_EQUAL(watched.log, "started stopped released");
		CU_ASSERT_EQUAL(watched.error.code, ECANCELED);
		close_backend();
	}
}

static void test_crash(void)
{
	struct watched watched;

	open_backend(false);
	launch(&watched, plain);
	CU_ASSERT_TRUE(run_until(event, watched_is_running, &watched));
	test_device_crash(device, 16);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "started running crashed released");
	CU_ASSERT_EQUAL(watched.error.code, EIO);
	check_sentence(&watched, "gives no reason");
	check_sentence(&watched, "`debug`");

	device->explanation = "QEMU was killed by signal 9";
	launch(&watched, plain);
	CU_ASSERT_TRUE(run_until(event, watched_is_running, &watched));
	test_device_crash(device, 17);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	check_sentence(&watched, "killed by signal 9");
	close_backend();
}

static void test_death_while_booting(void)
{
	struct watched watched;

	open_backend(true);
	launch(&watched, plain);
	CU_ASSERT_TRUE(run_until(event, watched_is_started, &watched));
	test_device_crash(device, 16);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "started failed released");
	CU_ASSERT_EQUAL(watched.error.code, EIO);
	check_sentence(&watched, "ended while booting");
	check_sentence(&watched, "before its heartbeat");
	close_backend();
}

static void test_no_heartbeat(void)
{
	struct backend_config config = plain;
	struct watched watched;
	int peer;

	open_backend(true);
	config.boot_timeout = 1;
	launch(&watched, config);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "started failed released");
	CU_ASSERT_EQUAL(watched.error.code, ETIMEDOUT);
	check_sentence(&watched, "within 1000 ms");
	check_sentence(&watched, "never connected");

	launch(&watched, config);
	CU_ASSERT_TRUE(run_until(event, watched_is_started, &watched));
	peer = local_connect(watched.grant.cid);
	CU_ASSERT_EQUAL(write(peer, "\x42", 1), 1);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_EQUAL(watched.error.code, ETIMEDOUT);
	check_sentence(&watched, "0x42 instead of 0xb7");
	close(peer);
	close_backend();
}

static void test_port_taken(void)
{
	struct watched watched;
	int other;

	open_backend(true);
	other = local_endpoint.listen(&local_endpoint);
	launch(&watched, plain);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "failed released");
	CU_ASSERT_EQUAL(watched.error.code, EIO);
	check_sentence(&watched, "another process");
	CU_ASSERT_EQUAL(test_device_calls(device, TEST_START), 0);
	/* Stopped while it waits for the port. */
	launch(&watched, plain);
	while (test_device_calls(device, TEST_ADD_VCPU) < 4)
		sd_event_run(event, 1000);
	while (workers_pending(pool) > 0)
		sd_event_run(event, 1000);
	backend_stop(watched.launch);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "stopped released");
	close(other);
	close_backend();
}

/* The news of a crash does not wait for a device that is slow to give things back. */
static void test_slow_close(void)
{
	struct watched watched;
	uint64_t before;

	open_backend(false);
	launch(&watched, plain);
	CU_ASSERT_TRUE(run_until(event, watched_is_running, &watched));
	device->plan[TEST_CLOSE].waits = true;
	before = now_ms();
	test_device_crash(device, 16);
	CU_ASSERT_TRUE(run_until(event, watched_is_ended, &watched));
	CU_ASSERT_TRUE(now_ms() - before < 2000);
	test_device_await(device, TEST_CLOSE);
	run_ready(event);
	CU_ASSERT_STRING_EQUAL(watched.log, "started running crashed");
	backend_stop(watched.launch); /* nothing to do */
	test_device_let_go(device, TEST_CLOSE);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "started running crashed released");
	close_backend();
}

/* It is told in the very turn of the loop that brings it: nothing is given back before. */
static void test_crash_at_once(void)
{
	for (unsigned int debug = 0; debug < 2; debug++) {
		struct backend_config config = plain;
		struct watched watched;

		open_backend(false);
		config.debug = debug;
		launch(&watched, config);
		CU_ASSERT_TRUE(run_until(event, watched_is_running, &watched));
		device->plan[TEST_CLOSE].waits = true;
		run_ready(event);
		test_device_crash(device, 16);
		CU_ASSERT_TRUE(sd_event_run(event, 10000000) > 0);
		/* A console has to be read to its end first: it has one already, here. */
		if (debug)
			run_ready(event);
		CU_ASSERT_STRING_EQUAL(watched.log, "started running crashed");
		CU_ASSERT_EQUAL(backend_launch_slot(watched.launch), 0);
		test_device_await(device, TEST_CLOSE);
		CU_ASSERT_EQUAL(device->enclaves, 1);
		test_device_let_go(device, TEST_CLOSE);
		CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
		CU_ASSERT_STRING_EQUAL(watched.log, "started running crashed released");
		close_backend();
	}
}

/* A crash that still waits for its last words when the stop comes is a stop, told when it is done. */
static void test_stop_of_a_crash(void)
{
	struct backend_config config = plain;
	struct watched watched;
	int console;

	open_backend(false);
	config.debug = true;
	launch(&watched, config);
	CU_ASSERT_TRUE(run_until(event, watched_is_running, &watched));
	device->plan[TEST_CLOSE].waits = true;
	console = test_device_console(device, 16);
	run_ready(event);
	test_device_crash(device, 16);
	CU_ASSERT_TRUE(sd_event_run(event, 10000000) > 0);
	CU_ASSERT_EQUAL(backend_launch_slot(watched.launch), 0);
	CU_ASSERT_STRING_EQUAL(watched.log, "started running");
	backend_stop(watched.launch);
	close(console);
	test_device_await(device, TEST_CLOSE);
	run_for(400);
	CU_ASSERT_STRING_EQUAL(watched.log, "started running");
	test_device_let_go(device, TEST_CLOSE);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "started running stopped released");
	CU_ASSERT_EQUAL(watched.error.code, 0);
	close_backend();
}

/* A failure leaves nothing taken: unless the device is slow, it is told when all is given back. */
static void test_failure_gives_back_first(void)
{
	struct watched watched;

	open_backend(true);
	launch(&watched, plain);
	CU_ASSERT_TRUE(run_until(event, watched_is_started, &watched));
	device->plan[TEST_CLOSE].waits = true;
	run_ready(event);
	test_device_crash(device, 16);
	CU_ASSERT_TRUE(sd_event_run(event, 10000000) > 0);
	test_device_await(device, TEST_CLOSE);
	CU_ASSERT_STRING_EQUAL(watched.log, "started");
	test_device_let_go(device, TEST_CLOSE);
	CU_ASSERT_TRUE(run_until(event, watched_is_ended, &watched));
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "started failed released");
	close_backend();
}

/* A stop is told when it is done: nobody was waiting for the news of it. */
static void test_slow_stop(void)
{
	struct watched watched;

	open_backend(false);
	launch(&watched, plain);
	CU_ASSERT_TRUE(run_until(event, watched_is_running, &watched));
	device->plan[TEST_CLOSE].waits = true;
	backend_stop(watched.launch);
	test_device_await(device, TEST_CLOSE);
	run_for(400);
	CU_ASSERT_STRING_EQUAL(watched.log, "started running");
	test_device_let_go(device, TEST_CLOSE);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "started running stopped released");
	CU_ASSERT_EQUAL(watched.error.code, 0);
	close_backend();
}

static void test_console(void)
{
	struct backend_config config = plain;
	struct watched watched;

	open_backend(false);
	config.debug = true;
	launch(&watched, config);
	CU_ASSERT_TRUE(run_until(event, watched_is_running, &watched));
	test_device_print(device, 16, "hello\n");
	CU_ASSERT_TRUE(run_until(event, watched_has_console, &watched));
	CU_ASSERT_STRING_EQUAL(watched.console, "hello\n");
	/* The last words are there when the crash is reported. */
	test_device_print(device, 16, "panic!\n");
	test_device_crash(device, 16);
	CU_ASSERT_TRUE(run_until(event, watched_is_ended, &watched));
	CU_ASSERT_STRING_EQUAL(watched.console, "hello\npanic!\n");
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	check_sentence(&watched, "its console has its last words");

	/* Not in production mode. */
	launch(&watched, plain);
	CU_ASSERT_TRUE(run_until(event, watched_is_running, &watched));
	backend_stop(watched.launch);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.console, "");
	close_backend();
}

#define CROWD 50

static bool are_all(const struct watched *crowd, bool (*condition)(void *))
{
	for (size_t i = 0; i < CROWD; i++) {
		if (!condition((void *)(uintptr_t)&crowd[i]))
			return false;
	}
	return true;
}

static bool all_started(void *context)
{
	return are_all(context, watched_is_started);
}

static bool all_running(void *context)
{
	return are_all(context, watched_is_running);
}

static bool all_released(void *context)
{
	return are_all(context, watched_is_released);
}

static void test_crowd(void)
{
	static struct watched crowd[CROWD];
	struct watched stuck;

	open_backend(true);
	/* One hangs in the device, and holds up nobody. */
	device->plan[TEST_CREATE_VM].waits = true;
	launch(&stuck, plain);
	test_device_await(device, TEST_CREATE_VM);
	test_device_let_others_pass(device, TEST_CREATE_VM);

	for (size_t i = 0; i < CROWD; i++)
		launch(&crowd[i], plain);
	CU_ASSERT_TRUE(run_until(event, all_started, crowd));
	for (size_t i = 0; i < CROWD; i++) {
		CU_ASSERT_STRING_EQUAL(crowd[i].log, "started");
		beat(crowd[i].grant.cid);
	}
	CU_ASSERT_TRUE(run_until(event, all_running, crowd));
	for (size_t i = 0; i < CROWD; i++) {
		for (size_t j = 0; j < i; j++)
			CU_ASSERT_NOT_EQUAL(crowd[i].grant.cid, crowd[j].grant.cid);
		if (i % 2)
			test_device_crash(device, crowd[i].grant.cid);
		else
			backend_stop(crowd[i].launch);
	}
	CU_ASSERT_TRUE(run_until(event, all_released, crowd));
	for (size_t i = 0; i < CROWD; i++)
		CU_ASSERT_STRING_EQUAL(crowd[i].log, i % 2 ? "started running crashed released"
							   : "started running stopped released");
	test_device_let_go(device, TEST_CREATE_VM);
	backend_stop(stuck.launch);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &stuck));
	close_backend();
}

static void test_timeout_formula(void)
{
	CU_ASSERT_EQUAL(backend_boot_timeout_ms(1, 64 * MIB), 180000);
	CU_ASSERT_EQUAL(backend_boot_timeout_ms(6ULL << 30, 100ULL << 30), 180000);
	CU_ASSERT_EQUAL(backend_boot_timeout_ms((6ULL << 30) + 1, 100ULL << 30), 270000);
	CU_ASSERT_EQUAL(backend_boot_timeout_ms(1, (200ULL << 30) + 1), 360000);
}

static const CU_TestInfo tests[] = {
	{ "started, running, stopped, released", test_success },
	{ "the CPUs and the CID that were asked for", test_asked_cpus },
	{ "a long list of CPUs", test_many_cpus },
	{ "running comes with the heartbeat", test_heartbeat },
	{ "a heartbeat before the start has returned", test_early_heartbeat },
	{ "each call fails once", test_failures },
	{ "the device's own words are passed on", test_explained },
	{ "a bad image takes nothing", test_bad_image },
	{ "the driver's offset counts", test_offset },
	{ "a stop at each step", test_cancel },
	{ "a stop before anything has happened", test_stop_at_once },
	{ "a stop from inside started", test_stop_in_callback },
	{ "a crash", test_crash },
	{ "a death while booting is told at once", test_death_while_booting },
	{ "no heartbeat", test_no_heartbeat },
	{ "the port is taken", test_port_taken },
	{ "a crash is told before anything is given back", test_crash_at_once },
	{ "a stop of a crash that was not told yet", test_stop_of_a_crash },
	{ "a failed start gives back before it is told", test_failure_gives_back_first },
	{ "a slow device does not delay the news of a crash", test_slow_close },
	{ "a stop is told when the device has done it", test_slow_stop },
	{ "the console, last words included", test_console },
	{ "fifty at once beside one that hangs", test_crowd },
	{ "the default boot timeout", test_timeout_formula },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("launch", tests, set_up, tear_down);
}
