/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Launches of two users over one device: the one's that hang, as many as there may be, and the other's. And
 * images that have no end as far as anybody will see.
 */
#include "backend_internal.h"
#include "cunit_main.h"
#include "launch/launch.h"
#include "test_launch_device.h"
#include "test_launch_image.h"
#include "test_launch_support.h"
#include "test_launch_watched.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB	(1ULL << 20)
#define PAGES	65536
#define THREADS 16
#define HOGS	64

enum { HOG = 1000, OTHER = 1001 };

static sd_event *event;
static struct workers *pool;
static struct test_device *device;
static struct backend *backend;
static int image = -1;
static struct watched hogs[HOGS];

static void set_up(void)
{
	image = test_image(EIF_X86_64, 4096);
	device = test_device_new(PAGES);
	CU_ASSERT_EQUAL_FATAL(sd_event_new(&event), 0);
	CU_ASSERT_EQUAL_FATAL(workers_new(event, THREADS, &pool, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(
		backend_new(event, pool, &device->dev, &local_endpoint, true, &backend, NULL), 0);
}

static void tear_down(void)
{
	CU_ASSERT_TRUE(test_device_idle(device));
	CU_ASSERT_EQUAL(backend->launches, 0);
	backend_close(backend);
	workers_free(pool);
	sd_event_unref(event);
	close(image);
}

static void launch(struct watched *watched, uid_t owner)
{
	const struct backend_config config = {
		.name = "web",
		.memory = 64 * MIB,
		.vcpus = 2,
		.image_fd = image,
		.data_owner = owner,
	};

	memset(watched, 0, sizeof(*watched));
	CU_ASSERT_EQUAL_FATAL(
		backend_start(backend, &config, &watched_listener, watched, &watched->launch, NULL),
		0);
}

static bool hogs_are_released(void *context)
{
	for (size_t i = 0; i < HOGS; i++)
		if (!hogs[i].released)
			return false;
	return true;
}

/* A life from its start to its end. */
static void is_served(uid_t owner)
{
	struct watched watched;

	launch(&watched, owner);
	CU_ASSERT_TRUE(run_until(event, watched_is_running, &watched));
	backend_stop(watched.launch);
	CU_ASSERT_TRUE(run_until(event, watched_is_released, &watched));
	CU_ASSERT_STRING_EQUAL(watched.log, "started running stopped released");
}

/* Starts that hang, at each step: other users' lives go on, and whatever runs can be stopped. */
static void test_starts(void)
{
	static const enum test_call calls[] = { TEST_OPEN, TEST_CREATE_VM, TEST_MAP, TEST_START };

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct watched before, own;

		launch(&before, OTHER);
		launch(&own, HOG);
		CU_ASSERT_TRUE(run_until(event, watched_is_running, &before));
		CU_ASSERT_TRUE(run_until(event, watched_is_running, &own));
		device->plan[calls[i]].waits = true;
		for (size_t j = 0; j < HOGS; j++)
			launch(&hogs[j], HOG);
		while (test_device_waiting(device, calls[i]) < THREADS / 8)
			sd_event_run(event, 1000);
		test_device_let_others_pass(device, calls[i]);
		is_served(OTHER);
		is_served(0);
		backend_stop(before.launch);
		CU_ASSERT_TRUE(run_until(event, watched_is_released, &before));
		backend_stop(own.launch);
		CU_ASSERT_TRUE(run_until(event, watched_is_released, &own));
		CU_ASSERT_EQUAL(test_device_waiting(device, calls[i]), THREADS / 8);
		for (size_t j = 0; j < HOGS; j++)
			backend_stop(hogs[j].launch);
		test_device_let_go(device, calls[i]);
		CU_ASSERT_TRUE(run_until(event, hogs_are_released, NULL));
	}
}

/* Stops that hang. */
static void test_stops(void)
{
	for (size_t i = 0; i < HOGS; i++) {
		launch(&hogs[i], HOG);
		CU_ASSERT_TRUE(run_until(event, watched_is_running, &hogs[i]));
	}
	device->plan[TEST_CLOSE].waits = true;
	for (size_t i = 0; i < HOGS; i++)
		backend_stop(hogs[i].launch);
	while (test_device_waiting(device, TEST_CLOSE) < THREADS / 8)
		sd_event_run(event, 1000);
	test_device_let_others_pass(device, TEST_CLOSE);
	is_served(OTHER);
	is_served(0);
	CU_ASSERT_EQUAL(test_device_waiting(device, TEST_CLOSE), THREADS / 8);
	test_device_let_go(device, TEST_CLOSE);
	CU_ASSERT_TRUE(run_until(event, hogs_are_released, NULL));
}

/* ---- images ---- */

/* So many bytes of this machine's memory. */
static off_t part_of_memory(unsigned int numerator, unsigned int denominator)
{
	return (off_t)((uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) /
		       denominator * numerator);
}

/* It can't be started here: it is not even read. */
static void test_larger_than_the_machine(void)
{
	struct backend_image_report report = { 0 };
	struct nefs_error err = { 0 };
	int large = memfd_create("large", MFD_CLOEXEC);

	CU_ASSERT_EQUAL_FATAL(ftruncate(large, part_of_memory(1, 1) + 4096), 0);
	CU_ASSERT_EQUAL(backend_image_describe(large, NULL, &report, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "so it is not read"));
	CU_ASSERT_EQUAL_FATAL(ftruncate(large, part_of_memory(1, 2)), 0);
	CU_ASSERT_EQUAL(backend_image_describe(large, NULL, &report, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "not an EIF"));
	close(large);
}

static void test_cancelled_description(void)
{
	struct backend_image_report report = { 0 };
	struct nefs_error err = { 0 };
	struct nefs_pace pace = { .cancelled = true };

	CU_ASSERT_EQUAL(backend_image_describe(image, &pace, &report, &err), -ECANCELED);
	pace.cancelled = false;
	CU_ASSERT_EQUAL_FATAL(backend_image_describe(image, &pace, &report, &err), 0);
	free(report.measurements);
	free(report.info);
}

static const CU_TestInfo tests[] = {
	{ "starts that hang hold up neither others' nor any stop", test_starts },
	{ "stops that hang hold up no other's", test_stops },
	{ "an image larger than the machine's memory", test_larger_than_the_machine },
	{ "a description that nobody wants", test_cancelled_description },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("launch_hogs", tests, set_up, tear_down);
}
