/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nefs-device and clients that mean it no good: fds that are not what they should be, what one client
 * leaves to the next, readers that do not read.
 */
#include "cunit_main.h"
#include "vfio_user_driver.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define QUIET_MS 100
#define LONG_MS	 20000
#define PAGE	 4096U

static struct rig *rig;

/* Enclaves whose end takes until a test says so: the device's thread is in it meanwhile. */
static atomic_bool slow;
static sem_t ending, may_end;

static void slow_destroy(struct vm *vm)
{
	if (slow) {
		sem_post(&ending);
		sem_wait(&may_end);
	}
	vm_none.destroy(vm);
}

static void set_up(void)
{
	static struct vm_ops ops;

	ops = vm_none;
	ops.destroy = slow_destroy;
	slow = false;
	sem_init(&ending, 0, 0);
	sem_init(&may_end, 0, 0);
	rig = rig_new(&ops);
}

static void tear_down(void)
{
	rig_free(rig);
}

static const char *ask(const char *request)
{
	int control = rig_connect_control(rig);
	const char *answer = control_ask(control, request);

	close(control);
	return answer;
}

static bool readable(int fd, int ms)
{
	struct pollfd there = { .fd = fd, .events = POLLIN };

	return poll(&there, 1, ms) == 1;
}

/* ---- what one client leaves to the next ---- */

static void test_next_client_waits(void)
{
	static const struct {
		struct vfio_user_header header;
		struct vfio_user_version version;
	} hello = { { .command = VFIO_USER_VERSION, .size = sizeof(hello) }, { 0, 1 } };
	struct driver driver = driver_begin(rig);
	int next;

	driver_start(&driver, 0);
	slow = true;
	driver_end(&driver);
	sem_wait(&ending);
	/* The enclave is ending, and that takes its time. Others are answered meanwhile, but this. */
	next = rig_connect(rig);
	CU_ASSERT_TRUE(client_send(next, &hello, sizeof(hello), NULL, 0));
	CU_ASSERT_FALSE(readable(next, QUIET_MS));
	sem_post(&may_end);
	CU_ASSERT_TRUE(client_reply(next, NULL, 0) > 0);
	CU_ASSERT_STRING_EQUAL(ask("list\n"), "ok\n");
	close(next);
}

/* Nothing of a client that never enabled the device is there for the next. */
static void test_disabled_client_leaves(void)
{
	static const char secret[] = "what the last client wrote";
	struct driver driver = driver_begin(rig);
	uint8_t off = 0, all[NE_PCI_REGISTERS_SIZE], none[NE_PCI_REGISTERS_SIZE] = { 0 };
	uint16_t version = 1;
	struct ne_reply reply;

	CU_ASSERT_TRUE(client_write(driver.client, NE_REG_ENABLE, &off, 1));
	for (off = 1; off;)
		CU_ASSERT_TRUE_FATAL(client_read(driver.client, NE_REG_ENABLE, &off, 1));
	CU_ASSERT_TRUE(client_write(driver.client, NE_REG_VERSION, &version, sizeof(version)));
	CU_ASSERT_EQUAL(driver_command(&driver, NE_CMD_SLOT_COUNT, secret, sizeof(secret), &reply),
		-ENODEV);
	driver_end(&driver);
	driver.client = rig_greet(rig);
	CU_ASSERT_TRUE_FATAL(client_read(driver.client, 0, all, sizeof(all)));
	CU_ASSERT_EQUAL(memcmp(all, none, sizeof(all)), 0);
	close(driver.client);
}

/* ---- memory ---- */

static void test_not_memory(void)
{
	struct driver driver = driver_begin(rig);
	int pipes[2], sockets[2], small = memfd_create("small", MFD_CLOEXEC);
	int fds[] = {
		eventfd(0, EFD_CLOEXEC),
		open("/dev/zero", O_RDWR | O_CLOEXEC),
		open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		driver.client,
		-1, /* both ends of a pipe */
		-1,
		small,
	};
	const size_t count = sizeof(fds) / sizeof(fds[0]);

	CU_ASSERT_EQUAL(pipe2(pipes, O_CLOEXEC), 0);
	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	fds[4] = pipes[0];
	fds[5] = pipes[1];
	/* As much of it as is asked for is not there. */
	CU_ASSERT_EQUAL(ftruncate(small, PAGE - 1), 0);
	for (size_t i = 0; i < count; i++) {
		ssize_t got = driver_map(&driver, 1ULL << 40, PAGE, fds[i]);

		CU_ASSERT_EQUAL(got, -1 - EINVAL);
		if (got != -1 - EINVAL)
			printf("fd %zu: %zd\n", i, got);
	}
	CU_ASSERT_EQUAL(ftruncate(small, PAGE), 0);
	CU_ASSERT_EQUAL(driver_map(&driver, 1ULL << 40, PAGE, small), 0);
	for (size_t i = 0; i < count; i++)
		if (fds[i] != driver.client)
			close(fds[i]);
	close(sockets[0]);
	close(sockets[1]);
	driver_end(&driver);
}

static ssize_t unmap(const struct driver *driver, uint64_t iova, uint64_t size)
{
	const struct vfio_user_dma_unmap request = { sizeof(request), 0, iova, size };

	return client_call(
		driver->client, VFIO_USER_DMA_UNMAP, &request, sizeof(request), NULL, 0, NULL, 0);
}

static void test_windows_without_files(void)
{
	const uint64_t rom = 1ULL << 40;
	struct driver driver = driver_begin(rig);

	CU_ASSERT_EQUAL(driver_map(&driver, rom, PAGE, -1), 0);
	/* It is there as much as any: */
	CU_ASSERT_EQUAL(driver_map(&driver, rom, PAGE, -1), -1 - EEXIST);
	CU_ASSERT_EQUAL(driver_map(&driver, rom, PAGE, driver.memory), -1 - EEXIST);
	CU_ASSERT_EQUAL(driver_map(&driver, DRIVER_IOVA, PAGE, -1), -1 - EEXIST);
	CU_ASSERT_EQUAL(unmap(&driver, rom, PAGE / 2), -1 - EINVAL);
	CU_ASSERT_EQUAL(unmap(&driver, rom, PAGE), sizeof(struct vfio_user_dma_unmap));
	CU_ASSERT_EQUAL(unmap(&driver, rom, PAGE), -1 - ENOENT);
	CU_ASSERT_EQUAL(driver_map(&driver, rom, PAGE, driver.memory), 0);
	driver_end(&driver);
}

/* A window that lies between two others in an enclave's memory makes that no memory. */
static void test_hole_in_memory(void)
{
	const uint64_t at = 1ULL << 40, piece = 2ULL << 20;
	struct driver driver = driver_begin(rig);
	struct ne_req_add_mem memory = { .paddr = at, .size = 3 * piece };
	struct ne_reply reply;

	CU_ASSERT_EQUAL(driver_map(&driver, at, piece, driver.memory), 0);
	CU_ASSERT_EQUAL(driver_map(&driver, at + piece, piece, -1), 0);
	CU_ASSERT_EQUAL(driver_map(&driver, at + 2 * piece, piece, driver.memory), 0);
	CU_ASSERT_EQUAL(driver_command(&driver, NE_CMD_SLOT_ALLOC, "", 1, &reply), 0);
	memory.slot_uid = reply.slot_uid;
	CU_ASSERT_EQUAL(
		driver_command(&driver, NE_CMD_SLOT_ADD_MEM, &memory, sizeof(memory), &reply),
		-EFAULT);
	memory.size = piece;
	CU_ASSERT_EQUAL(
		driver_command(&driver, NE_CMD_SLOT_ADD_MEM, &memory, sizeof(memory), &reply), 0);
	driver_end(&driver);
}

/* ---- interrupts ---- */

/* A full counter that blocks: O_NONBLOCK belongs to the client as much as to the server. */
static void test_full_eventfd(void)
{
	struct driver driver = driver_begin(rig);
	struct ne_reply reply;

	CU_ASSERT_EQUAL(fcntl(driver.vectors[1], F_SETFL, 0), 0);
	CU_ASSERT_EQUAL(eventfd_write(driver.vectors[1], UINT64_MAX - 1), 0);
	CU_ASSERT_STRING_EQUAL(ask("spurious\n"), "ok\n");
	/* The device's thread comes to this after the event. */
	CU_ASSERT_EQUAL(driver_command(&driver, NE_CMD_SLOT_COUNT, "", 1, &reply), 0);
	CU_ASSERT_EQUAL(client_wait(driver.vectors[1], LONG_MS), UINT64_MAX - 1);
	driver_end(&driver);
	close(rig_greet(rig));
}

/* ---- the control socket ---- */

/* Long answers to many requests, all asked before the first is read: none is cut. */
static void test_control_slow_reader(void)
{
	enum { SLOTS = 1000, REQUESTS = 100 };
	struct driver driver = driver_begin(rig);
	int control = rig_connect_control(rig);
	struct ne_reply reply;
	const char *once;
	NEFS_AUTO_FREE char *wanted = NULL;

	for (unsigned int i = 0; i < SLOTS; i++)
		CU_ASSERT_EQUAL_FATAL(driver_command(&driver, NE_CMD_SLOT_ALLOC, "", 1, &reply), 0);
	once = ask("list\n");
	CU_ASSERT_TRUE(strlen(once) > SLOTS * strlen("0x1 init 0 0 0\n"));
	wanted = strdup(once);
	for (unsigned int i = 0; i < REQUESTS - 1; i++)
		CU_ASSERT_EQUAL(send(control, "list\n", 5, MSG_NOSIGNAL), 5);
	/* Nobody else has to wait. */
	CU_ASSERT_EQUAL(strncmp(ask("\n"), "error 22 ", 9), 0);
	for (unsigned int i = 0; i < REQUESTS; i++)
		CU_ASSERT_STRING_EQUAL_FATAL(control_ask(control, i ? "" : "list\n"), wanted);
	close(control);
	driver_end(&driver);
}

/* Requests in one piece, the last without an end, from somebody who says no more. */
static void test_control_half_closed(void)
{
	static const char requests[] = "list\n\nlist\nlis";
	char answer[4096] = "";
	size_t used = 0;
	int control = rig_connect_control(rig);
	ssize_t got;

	CU_ASSERT_EQUAL(
		send(control, requests, strlen(requests), MSG_NOSIGNAL), (ssize_t)strlen(requests));
	CU_ASSERT_EQUAL(shutdown(control, SHUT_WR), 0);
	while ((got = recv(control, answer + used, sizeof(answer) - 1 - used, 0)) > 0)
		used += (size_t)got;
	CU_ASSERT_EQUAL(got, 0);
	CU_ASSERT_EQUAL(strncmp(answer, "ok\nerror 22 ", 12), 0);
	CU_ASSERT_TRUE_FATAL(used > 4);
	CU_ASSERT_STRING_EQUAL(answer + used - 4, "\nok\n");
	close(control);
}

/* A request that its sender left half-way does not become part of the next one's, after a newline. */
static void test_control_resynchronise(void)
{
	int control = rig_connect_control(rig);

	CU_ASSERT_EQUAL(send(control, "crash 0x", 8, MSG_NOSIGNAL), 8);
	CU_ASSERT_EQUAL(strncmp(control_ask(control, "\n"), "error 22 ", 9), 0);
	CU_ASSERT_EQUAL(strncmp(control_ask(control, "\n"), "error 22 ", 9), 0);
	CU_ASSERT_STRING_EQUAL(control_ask(control, "list\n"), "ok\n");
	close(control);
}

static const CU_TestInfo tests[] = {
	{ "the next client waits for the last one's end", test_next_client_waits },
	{ "a client that never enabled the device leaves", test_disabled_client_leaves },
	{ "memory that is none", test_not_memory },
	{ "windows without files", test_windows_without_files },
	{ "a hole in memory", test_hole_in_memory },
	{ "an eventfd that is full and blocks", test_full_eventfd },
	{ "a slow reader of the control socket", test_control_slow_reader },
	{ "a control client that says no more", test_control_half_closed },
	{ "half a control request", test_control_resynchronise },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("vfio_user_hostile", tests, set_up, tear_down);
}
