/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test_launch_device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE_SIZE_ (2ULL << 20)

/* Called with the lock: waits if the plan says so, then says how the call goes. */
static int planned(struct test_device *device, enum test_call call)
{
	unsigned int let_go = device->plan[call].let_go - !device->plan[call].waits;

	device->plan[call].calls++;
	device->plan[call].waiting++;
	pthread_cond_broadcast(&device->changed);
	while (device->plan[call].let_go == let_go)
		pthread_cond_wait(&device->changed, &device->lock);
	device->plan[call].waiting--;
	if (device->plan[call].rc < 0) {
		if (device->plan[call].after == 0)
			return device->plan[call].rc;
		device->plan[call].after--;
	}
	return 0;
}

static int device_open(struct ne_dev *dev, struct nefs_error *err)
{
	struct test_device *device = (struct test_device *)dev;
	int fd;

	pthread_mutex_lock(&device->lock);
	fd = planned(device, TEST_OPEN);
	if (fd == 0) {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		device->device_fds++;
	}
	pthread_mutex_unlock(&device->lock);
	return fd;
}

static int create_vm(struct test_device *device, __u64 *slot)
{
	int failed = planned(device, TEST_CREATE_VM), ends[2];
	struct test_enclave *enclave;

	if (failed)
		return failed;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	if (ends[0] >= TEST_FDS_MAX)
		abort();
	enclave = &device->by_fd[ends[0]];
	memset(enclave, 0, sizeof(*enclave));
	enclave->used = true;
	enclave->other_end = ends[1];
	enclave->console = -1;
	enclave->console_read = -1;
	*slot = (__u64)ends[0] + 0x1000;
	device->enclaves++;
	if (device->enclaves > device->most_enclaves)
		device->most_enclaves = device->enclaves;
	return ends[0];
}

static int start(struct test_device *device, struct test_enclave *enclave,
	struct ne_enclave_start_info *info)
{
	int failed = planned(device, TEST_START), ends[2];

	if (failed)
		return failed;
	if (info->flags == NE_ENCLAVE_DEBUG_MODE) {
		if (pipe2(ends, O_CLOEXEC) < 0)
			return -errno;
		enclave->console = ends[1];
		enclave->console_read = ends[0];
	}
	enclave->cid = info->enclave_cid ? info->enclave_cid : ++device->last_cid_given;
	info->enclave_cid = enclave->cid;
	enclave->running = true;
	device->running++;
	return 0;
}

static int device_ioctl(struct ne_dev *dev, int fd, unsigned long request, void *argument)
{
	struct test_device *device = (struct test_device *)dev;
	struct test_enclave *enclave = &device->by_fd[fd];
	int rc = -ENOTTY;

	pthread_mutex_lock(&device->lock);
	switch (request) {
	case NE_CREATE_VM:
		rc = create_vm(device, argument);
		break;
	case NE_GET_IMAGE_LOAD_INFO:
		rc = planned(device, TEST_LOAD_INFO);
		if (rc == 0)
			((struct ne_image_load_info *)argument)->memory_offset =
				device->load_offset;
		break;
	case NE_SET_USER_MEMORY_REGION:
		rc = planned(device, TEST_SET_MEMORY);
		if (rc == 0) {
			struct ne_user_memory_region *region = argument;

			if (!enclave->memory)
				memcpy(device->image_magic,
					(char *)(uintptr_t)region->userspace_addr +
						device->load_offset,
					sizeof(device->image_magic));
			enclave->memory += region->memory_size;
			/* The device's hold. */
			device->pages_free -= region->memory_size / PAGE_SIZE_;
		}
		break;
	case NE_ADD_VCPU:
		rc = planned(device, TEST_ADD_VCPU);
		if (rc == 0) {
			__u32 *id = argument;

			if (*id == 0)
				*id = 2 + device->vcpus;
			enclave->vcpus++;
			device->vcpus++;
		}
		break;
	case NE_START_ENCLAVE:
		rc = start(device, enclave, argument);
		break;
	default:
		break;
	}
	pthread_mutex_unlock(&device->lock);
	return rc;
}

static void hang_up(struct test_enclave *enclave)
{
	if (enclave->other_end >= 0)
		close(enclave->other_end);
	enclave->other_end = -1;
	if (enclave->console >= 0)
		close(enclave->console);
	enclave->console = -1;
}

static void device_close(struct ne_dev *dev, int fd)
{
	struct test_device *device = (struct test_device *)dev;
	struct test_enclave *enclave = &device->by_fd[fd];

	pthread_mutex_lock(&device->lock);
	if (enclave->used) {
		(void)planned(device, TEST_CLOSE);
		hang_up(enclave);
		if (enclave->console_read >= 0)
			close(enclave->console_read);
		device->pages_free += enclave->memory / PAGE_SIZE_;
		device->vcpus -= enclave->vcpus;
		device->running -= enclave->running;
		device->enclaves--;
		enclave->used = false;
	} else {
		device->device_fds--;
	}
	close(fd);
	pthread_mutex_unlock(&device->lock);
}

static int device_node(struct ne_dev *dev)
{
	return -1;
}

static size_t device_pages(struct ne_dev *dev, struct ne_dev_pages *pages, size_t max)
{
	struct test_device *device = (struct test_device *)dev;

	pthread_mutex_lock(&device->lock);
	pages[0].size = PAGE_SIZE_;
	pages[0].total = device->pages_free;
	pages[0].free = device->pages_free;
	pthread_mutex_unlock(&device->lock);
	return 1;
}

static int device_map(struct ne_dev *dev, uint64_t size, uint64_t page_size, void **address,
	struct nefs_error *err)
{
	struct test_device *device = (struct test_device *)dev;
	int failed;

	pthread_mutex_lock(&device->lock);
	failed = planned(device, TEST_MAP);
	if (failed == 0) {
		*address = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		device->mappings++;
	} else {
		nefs_error_set(err, -failed, "planned");
	}
	pthread_mutex_unlock(&device->lock);
	return failed;
}

static void device_unmap(struct ne_dev *dev, void *address, uint64_t size)
{
	struct test_device *device = (struct test_device *)dev;

	pthread_mutex_lock(&device->lock);
	munmap(address, size);
	device->mappings--;
	pthread_mutex_unlock(&device->lock);
}

static int device_console(struct ne_dev *dev, int enclave_fd, uint64_t cid, struct nefs_error *err)
{
	struct test_device *device = (struct test_device *)dev;
	int fd;

	pthread_mutex_lock(&device->lock);
	fd = fcntl(device->by_fd[enclave_fd].console_read, F_DUPFD_CLOEXEC, 3);
	if (fd >= 0)
		fcntl(fd, F_SETFL, O_NONBLOCK);
	else
		fd = -EAGAIN;
	pthread_mutex_unlock(&device->lock);
	return fd;
}

static bool device_explain(struct ne_dev *dev, int enclave_fd, char *text, size_t size)
{
	struct test_device *device = (struct test_device *)dev;

	if (!device->explanation)
		return false;
	snprintf(text, size, "%s", device->explanation);
	return true;
}

static void device_destroy(struct ne_dev *dev)
{
	struct test_device *device = (struct test_device *)dev;

	pthread_mutex_destroy(&device->lock);
	pthread_cond_destroy(&device->changed);
	free(device);
}

struct test_device *test_device_new(uint64_t pages)
{
	struct test_device *device = calloc(1, sizeof(*device));

	if (!device)
		abort();
	device->ops = (struct ne_dev_ops){
		.name = "test",
		.open = device_open,
		.ioctl = device_ioctl,
		.close = device_close,
		.node = device_node,
		.pages = device_pages,
		.map = device_map,
		.unmap = device_unmap,
		.console = device_console,
		.explain = device_explain,
		.destroy = device_destroy,
	};
	device->dev.ops = &device->ops;
	pthread_mutex_init(&device->lock, NULL);
	pthread_cond_init(&device->changed, NULL);
	device->pages_free = pages;
	device->load_offset = 8ULL << 20;
	device->last_cid_given = 15;
	return device;
}

static struct test_enclave *by_cid(struct test_device *device, uint64_t cid)
{
	for (size_t i = 0; i < TEST_FDS_MAX; i++) {
		if (device->by_fd[i].used && device->by_fd[i].running &&
			device->by_fd[i].cid == cid)
			return &device->by_fd[i];
	}
	abort();
}

void test_device_crash(struct test_device *device, uint64_t cid)
{
	pthread_mutex_lock(&device->lock);
	hang_up(by_cid(device, cid));
	pthread_mutex_unlock(&device->lock);
}

void test_device_print(struct test_device *device, uint64_t cid, const char *text)
{
	pthread_mutex_lock(&device->lock);
	if (write(by_cid(device, cid)->console, text, strlen(text)) < 0)
		abort();
	pthread_mutex_unlock(&device->lock);
}

int test_device_console(struct test_device *device, uint64_t cid)
{
	int fd;

	pthread_mutex_lock(&device->lock);
	fd = fcntl(by_cid(device, cid)->console, F_DUPFD_CLOEXEC, 0);
	pthread_mutex_unlock(&device->lock);
	return fd;
}

unsigned int test_device_calls(struct test_device *device, enum test_call call)
{
	unsigned int calls;

	pthread_mutex_lock(&device->lock);
	calls = device->plan[call].calls;
	pthread_mutex_unlock(&device->lock);
	return calls;
}

unsigned int test_device_waiting(struct test_device *device, enum test_call call)
{
	unsigned int waiting;

	pthread_mutex_lock(&device->lock);
	waiting = device->plan[call].waiting;
	pthread_mutex_unlock(&device->lock);
	return waiting;
}

void test_device_await(struct test_device *device, enum test_call call)
{
	pthread_mutex_lock(&device->lock);
	while (device->plan[call].waiting == 0)
		pthread_cond_wait(&device->changed, &device->lock);
	pthread_mutex_unlock(&device->lock);
}

void test_device_let_go(struct test_device *device, enum test_call call)
{
	pthread_mutex_lock(&device->lock);
	device->plan[call].waits = false;
	device->plan[call].let_go++;
	pthread_cond_broadcast(&device->changed);
	pthread_mutex_unlock(&device->lock);
}

void test_device_let_others_pass(struct test_device *device, enum test_call call)
{
	pthread_mutex_lock(&device->lock);
	device->plan[call].waits = false;
	pthread_mutex_unlock(&device->lock);
}

bool test_device_idle(struct test_device *device)
{
	bool idle;

	pthread_mutex_lock(&device->lock);
	idle = device->device_fds == 0 && device->enclaves == 0 && device->running == 0 &&
	       device->vcpus == 0 && device->mappings == 0;
	pthread_mutex_unlock(&device->lock);
	return idle;
}
