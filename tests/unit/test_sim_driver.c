/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulated driver where tests/conformance does not reach: replies that are late or missing,
 * commands that fail half-way, two threads at a time, and what it all costs.
 */
#include "cunit_main.h"
#include "hang_up.h"
#include "sim.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB	    0x100000ULL
#define PAGE	    (2 * MIB)
#define ENCLAVE	    (64 * MIB)
#define PATIENCE_MS 20000

static struct ne_dev *dev;
static int node; /* the device fd */

static void machine(unsigned int cpus, uint64_t memory, unsigned int timeout_ms)
{
	const struct sim_options options = {
		.cpus = cpus, .memory = memory, .vm_none = true, .reply_timeout_ms = timeout_ms
	};
	struct nefs_error err = { 0 };

	if (sim_dev_new(&options, &dev, &err) < 0) {
		fprintf(stderr, "no machine: %s\n", err.text);
		exit(EXIT_FAILURE);
	}
	node = dev->ops->open(dev, NULL);
	CU_ASSERT_FATAL(node >= 0);
}

static void set_up(void)
{
	/* Three cores in the pool. */
	machine(8, 1024 * MIB, 0);
}

static void tear_down(void)
{
	dev->ops->close(dev, node);
	dev->ops->destroy(dev);
}

/* Another machine than the one of set_up. */
static void other_machine(unsigned int cpus, uint64_t memory, unsigned int timeout_ms)
{
	tear_down();
	machine(cpus, memory, timeout_ms);
}

static int call(int fd, unsigned long request, void *argument)
{
	return dev->ops->ioctl(dev, fd, request, argument);
}

static int create(uint64_t *uid)
{
	uint64_t unwanted;

	return call(node, NE_CREATE_VM, uid ? uid : &unwanted);
}

static int add_vcpu(int fd, uint32_t *id)
{
	uint32_t any = 0;

	return call(fd, NE_ADD_VCPU, id ? id : &any);
}

static int add_memory(int fd, void *address, uint64_t size)
{
	struct ne_user_memory_region region = { .memory_size = size,
		.userspace_addr = (uintptr_t)address };

	return call(fd, NE_SET_USER_MEMORY_REGION, &region);
}

static int start(int fd, uint64_t cid)
{
	struct ne_enclave_start_info info = { .enclave_cid = cid };

	return call(fd, NE_START_ENCLAVE, &info);
}

static void *map(uint64_t size)
{
	void *address = NULL;

	CU_ASSERT_EQUAL_FATAL(dev->ops->map(dev, size, PAGE, &address, NULL), 0);
	return address;
}

/* A running enclave of one core. */
static int running(uint64_t *uid)
{
	void *address = map(ENCLAVE);
	int fd = create(uid);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(add_vcpu(fd, NULL), 0);
	CU_ASSERT_EQUAL(add_vcpu(fd, NULL), 0);
	CU_ASSERT_EQUAL(add_memory(fd, address, ENCLAVE), 0);
	dev->ops->unmap(dev, address, ENCLAVE);
	CU_ASSERT_EQUAL_FATAL(start(fd, 0), 0);
	return fd;
}

static int faults(const char *text)
{
	return sim_dev_set_faults(dev, text, strlen(text), NULL);
}

static bool hung_up(int fd, int timeout_ms)
{
	struct pollfd watched = { .fd = fd };

	return poll(&watched, 1, timeout_ms) == 1 && watched.revents == POLLHUP;
}

static uint64_t free_pages(void)
{
	struct ne_dev_pages pages;

	CU_ASSERT_EQUAL(dev->ops->pages(dev, &pages, 1), 1);
	CU_ASSERT_EQUAL(pages.size, PAGE);
	return pages.free;
}

/* The slots' text is exactly this. */
static bool slots_are(const char *expected)
{
	char *text = sim_dev_slots(dev);
	bool same = text && strcmp(text, expected) == 0;

	if (!same)
		fprintf(stderr, "slots:\n%s", text);
	free(text);
	return same;
}

static unsigned int open_fds(void)
{
	unsigned int count = 0;

	for (int fd = 0; fd < 4096; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* ---- replies ---- */

static void test_dropped(void)
{
	struct timespec before, after;
	int fd;

	other_machine(8, 1024 * MIB, 50);
	CU_ASSERT_EQUAL(faults("SLOT_ALLOC drop 1"), 0);
	clock_gettime(CLOCK_MONOTONIC, &before);
	CU_ASSERT_EQUAL(create(NULL), -ETIMEDOUT);
	clock_gettime(CLOCK_MONOTONIC, &after);
	CU_ASSERT_TRUE((after.tv_sec - before.tv_sec) * 1000 +
			       (after.tv_nsec - before.tv_nsec) / 1000000 >=
		       49);
	fd = create(NULL);
	CU_ASSERT_TRUE(fd >= 0);
	dev->ops->close(dev, fd);
	CU_ASSERT_TRUE(slots_are(""));
}

static void test_late(void)
{
	int fd, other;

	other_machine(8, 1024 * MIB, 20);
	fd = create(NULL);
	CU_ASSERT_FATAL(fd >= 0);
	/* The reply of the first, an error, comes when the second is sent, or nearly. */
	for (int i = 0; i < 100; i++) {
		uint32_t id = 2;
		int result;

		CU_ASSERT_EQUAL(faults("SLOT_ADD_VCPU delay 20\nSLOT_ADD_VCPU fail 5"), 0);
		result = add_vcpu(fd, &id);
		CU_ASSERT_TRUE(result == -ETIMEDOUT || result == -EIO);
		/* A busy machine may be late with this one, too; what it must not be is the EIO. */
		other = create(NULL);
		CU_ASSERT_TRUE(other >= 0 || other == -ETIMEDOUT);
		if (other >= 0)
			dev->ops->close(dev, other);
	}
	CU_ASSERT_EQUAL(faults(""), 0);
	CU_ASSERT_EQUAL(add_vcpu(fd, NULL), 0);
	dev->ops->close(dev, fd);
	CU_ASSERT_TRUE(slots_are(""));
}

static void test_device_errors(void)
{
	void *address = map(ENCLAVE), *other;
	int fd;

	CU_ASSERT_EQUAL(faults("SLOT_ALLOC fail 23 1"), 0);
	CU_ASSERT_EQUAL(create(NULL), -23);
	fd = create(NULL);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(faults("SLOT_ADD_VCPU fail 11 1\nSLOT_ADD_MEM fail 22 1\n"
			       "ENCLAVE_START fail 4095 1"),
		0);
	CU_ASSERT_EQUAL(add_vcpu(fd, NULL), -11);
	CU_ASSERT_EQUAL(add_vcpu(fd, NULL), 0);
	CU_ASSERT_EQUAL(add_vcpu(fd, NULL), 0);
	/* The next would be of another core: the refused one has not been lost. */
	CU_ASSERT_EQUAL(add_memory(fd, address, ENCLAVE), -22);
	/* The range stays taken, as on Linux, for the device might have a part of it. */
	CU_ASSERT_EQUAL(add_memory(fd, address, ENCLAVE), -NE_ERR_MEM_REGION_ALREADY_USED);
	CU_ASSERT_EQUAL(start(fd, 0), -NE_ERR_NO_MEM_REGIONS_ADDED);
	other = map(ENCLAVE);
	CU_ASSERT_EQUAL(add_memory(fd, other, ENCLAVE), 0);
	CU_ASSERT_EQUAL(start(fd, 0), -4095);
	CU_ASSERT_EQUAL(start(fd, 0), 0);
	dev->ops->close(dev, fd);
	dev->ops->unmap(dev, other, ENCLAVE);
	dev->ops->unmap(dev, address, ENCLAVE);
	CU_ASSERT_EQUAL(free_pages(), 512);
	CU_ASSERT_TRUE(slots_are(""));
}

static void test_half_donated(void)
{
	void *small[4], *scattered;
	int fd = create(NULL);

	/* Every other page is free: four pages have four regions. */
	for (int i = 0; i < 4; i++)
		small[i] = map(PAGE);
	scattered = map(1016 * MIB);
	dev->ops->unmap(dev, small[0], PAGE);
	dev->ops->unmap(dev, small[2], PAGE);
	small[0] = map(2 * PAGE);
	CU_ASSERT_EQUAL(faults("SLOT_ADD_MEM delay 0 1\nSLOT_ADD_MEM fail 5 1"), 0);
	/* The first piece fails: none is counted. */
	CU_ASSERT_EQUAL(add_memory(fd, small[0], 2 * PAGE), -EIO);
	CU_ASSERT_EQUAL(add_memory(fd, small[0], 2 * PAGE), -NE_ERR_MEM_REGION_ALREADY_USED);
	CU_ASSERT_EQUAL(add_memory(fd, small[1], PAGE), 0);
	CU_ASSERT_EQUAL(start(fd, 0), -NE_ERR_ENCLAVE_MEM_MIN_SIZE);
	/* Its pages are the enclave's until the end. */
	dev->ops->unmap(dev, small[0], 2 * PAGE);
	CU_ASSERT_EQUAL(free_pages(), 0);
	dev->ops->close(dev, fd);
	CU_ASSERT_EQUAL(free_pages(), 2);
	dev->ops->unmap(dev, small[1], PAGE);
	dev->ops->unmap(dev, small[3], PAGE);
	dev->ops->unmap(dev, scattered, 1016 * MIB);
	CU_ASSERT_EQUAL(free_pages(), 512);
}

/* Linux keeps what the device may still have: it is lost until the driver is loaded again. */
static void test_lost(void)
{
	uint64_t uid;
	int fd = running(&uid);

	CU_ASSERT_EQUAL(faults("ENCLAVE_STOP fail 5 1"), 0);
	dev->ops->close(dev, fd);
	CU_ASSERT_EQUAL(free_pages(), 512 - 32);
	CU_ASSERT_TRUE(slots_are("0x1 running 2 67108864 16\n"));
	fd = create(NULL);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(add_vcpu(fd, NULL), 0);
	CU_ASSERT_EQUAL(add_vcpu(fd, NULL), -NE_ERR_NO_CPUS_AVAIL_IN_POOL);
	CU_ASSERT_EQUAL(faults("SLOT_FREE fail 5 1"), 0);
	dev->ops->close(dev, fd);
	CU_ASSERT_EQUAL(create(NULL), -NE_ERR_NO_CPUS_AVAIL_IN_POOL);
	/* An event of a lost one finds nobody to tell. */
	CU_ASSERT_EQUAL(sim_dev_crash(dev, uid, NULL), 0);
}

/* ---- the end of an enclave ---- */

static void test_info_fails(void)
{
	uint64_t uid;
	int fd = running(&uid);

	/* A reply without a state is not `running`: Linux hangs up. */
	CU_ASSERT_EQUAL(faults("SLOT_INFO fail 5 1\nevent spurious"), 0);
	CU_ASSERT_TRUE(hung_up(fd, PATIENCE_MS));
	CU_ASSERT_EQUAL(faults(""), 0);
	dev->ops->close(dev, fd);
}

static void test_missed_event(void)
{
	uint64_t uid, other_uid;
	int fd, other;

	other_machine(8, 1024 * MIB, 50);
	fd = running(&uid);
	other = running(&other_uid);
	/* No answer, no news: it surfaces at the next event. */
	CU_ASSERT_EQUAL(faults("SLOT_INFO drop 2"), 0);
	CU_ASSERT_EQUAL(sim_dev_crash(dev, uid, NULL), 0);
	CU_ASSERT_FALSE(hung_up(fd, 200));
	CU_ASSERT_EQUAL(faults("event spurious"), 0);
	CU_ASSERT_TRUE(hung_up(fd, PATIENCE_MS));
	CU_ASSERT_FALSE(hung_up(other, 0));
	dev->ops->close(dev, fd);
	dev->ops->close(dev, other);
	CU_ASSERT_TRUE(slots_are(""));
}

static int all_events(int fd)
{
	struct pollfd watched = { .fd = fd, .events = POLLIN | POLLOUT | POLLPRI | POLLRDHUP };

	CU_ASSERT_TRUE(poll(&watched, 1, 0) >= 0);
	return watched.revents;
}

/* As Linux has it: nothing, then POLLHUP alone; in copies, too. One fd each. */
static void test_hang_up(void)
{
	unsigned int before = open_fds();
	int fd, copy;

	CU_ASSERT_TRUE(hang_up_is_exact());
	CU_ASSERT_EQUAL(open_fds(), before);
	fd = hang_up_new(true);
	CU_ASSERT_EQUAL(open_fds(), before + 1);
	CU_ASSERT_TRUE_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	copy = dup(fd);
	CU_ASSERT_EQUAL(all_events(fd), 0);
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(hang_up(fd), 0);
		CU_ASSERT_EQUAL(all_events(fd), POLLHUP);
		CU_ASSERT_EQUAL(all_events(copy), POLLHUP);
	}
	close(fd);
	close(copy);
	CU_ASSERT_EQUAL(open_fds(), before);
}

/* What is made where there is no /proc or /dev/shm. */
static void test_hang_up_of_a_socket(void)
{
	int fd = hang_up_new(false);

	CU_ASSERT_TRUE_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CU_ASSERT_EQUAL(all_events(fd), POLLOUT);
	CU_ASSERT_FALSE(hung_up(fd, 0));
	CU_ASSERT_EQUAL(hang_up(fd), 0);
	CU_ASSERT_TRUE(hung_up(fd, 0));
	CU_ASSERT_TRUE(hung_up(fd, 0));
	close(fd);
}

/* No fd is left when the enclave dies: it is told late, not never. */
static void test_hang_up_without_an_fd_left(void)
{
	struct rlimit before, none;
	uint64_t uid;
	int fd = running(&uid), lowest = dup(fd);

	CU_ASSERT_FATAL(lowest >= 0);
	close(lowest);
	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ .rlim_cur = (rlim_t)lowest, .rlim_max = before.rlim_max };
	CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &none), 0);
	CU_ASSERT_EQUAL(hang_up(fd), -EMFILE);
	CU_ASSERT_EQUAL(sim_dev_crash(dev, uid, NULL), 0);
	CU_ASSERT_FALSE(hung_up(fd, 250));
	CU_ASSERT_EQUAL(start(fd, 0), -NE_ERR_NOT_IN_INIT_STATE);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &before), 0);
	CU_ASSERT_TRUE(hung_up(fd, PATIENCE_MS));
	dev->ops->close(dev, fd);
}

static void *raise_events(void *argument)
{
	const bool *stop = argument;

	while (!__atomic_load_n(stop, __ATOMIC_RELAXED))
		faults("event spurious");
	return NULL;
}

/* close() has given everything back when it returns, whatever the driver is doing meanwhile. */
static void test_close_is_complete(void)
{
	bool stop = false;
	pthread_t thread;

	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, raise_events, &stop), 0);
	for (int i = 0; i < 300; i++) {
		int fd = running(NULL);

		dev->ops->close(dev, fd);
		CU_ASSERT_EQUAL_FATAL(free_pages(), 512);
		CU_ASSERT_TRUE_FATAL(slots_are(""));
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
}

static void test_cycles(void)
{
	unsigned int before = open_fds();
	uint64_t uid;

	for (int i = 0; i < 1000; i++) {
		int fd = running(&uid);

		CU_ASSERT_EQUAL_FATAL(sim_dev_crash(dev, uid, NULL), 0);
		CU_ASSERT_TRUE_FATAL(hung_up(fd, PATIENCE_MS));
		dev->ops->close(dev, fd);
	}
	CU_ASSERT_EQUAL(open_fds(), before);
	CU_ASSERT_EQUAL(free_pages(), 512);
	CU_ASSERT_TRUE(slots_are(""));
}

/* ---- callers ---- */

static void test_no_such_fd(void)
{
	int fd = dup(node), pipes[2];
	uint64_t uid;

	CU_ASSERT_EQUAL(call(-1, NE_CREATE_VM, &uid), -EBADF);
	CU_ASSERT_EQUAL(close(fd), 0);
	CU_ASSERT_EQUAL(call(fd, NE_CREATE_VM, &uid), -EBADF);
	CU_ASSERT_EQUAL(call(fd, 0x1234, &uid), -EBADF);
	CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
	CU_ASSERT_EQUAL(call(pipes[0], NE_START_ENCLAVE, &uid), -ENOTTY);
	close(pipes[0]);
	close(pipes[1]);
}

/* Runs the ioctls of a child that inherited the fd; its exit status says how many were right. */
static int as_child(int fd, void *address, bool runs)
{
	const uint32_t ids[] = { 0, 4, 2, 8, 1 };
	/* Linux looks at the state, the id and the pool first, and who is calling last. */
	const int expected[] = { -EIO, -EIO, -NE_ERR_VCPU_ALREADY_USED, -NE_ERR_INVALID_VCPU,
		-NE_ERR_VCPU_NOT_IN_CPU_POOL };
	int status = -1, right = 0;
	pid_t child = fork();

	if (child == 0) {
		for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
			uint32_t id = ids[i];

			right += add_vcpu(fd, &id) ==
				 (runs ? -NE_ERR_NOT_IN_INIT_STATE : expected[i]);
		}
		right += add_memory(fd, address, ENCLAVE) ==
			 (runs ? -NE_ERR_NOT_IN_INIT_STATE : -EIO);
		right += call(fd, NE_ADD_VCPU, NULL) == -EFAULT;
		/* Linux would do this one; here it must not hang, and the close must do no harm. */
		right += create(NULL) == -EIO;
		dev->ops->close(dev, fd);
		_exit(right);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static void test_other_process(void)
{
	void *address = map(ENCLAVE);
	int fd = create(NULL);
	uint32_t id = 2;

	CU_ASSERT_EQUAL(add_vcpu(fd, &id), 0);
	CU_ASSERT_EQUAL(as_child(fd, address, false), 8);
	/* The parent has not lost anything by that. */
	CU_ASSERT_EQUAL(add_vcpu(fd, NULL), 0);
	CU_ASSERT_EQUAL(add_memory(fd, address, ENCLAVE), 0);
	CU_ASSERT_EQUAL(start(fd, 0), 0);
	CU_ASSERT_EQUAL(as_child(fd, address, true), 8);
	CU_ASSERT_FALSE(hung_up(fd, 0));
	CU_ASSERT_TRUE(slots_are("0x1 running 2 67108864 16\n"));
	dev->ops->unmap(dev, address, ENCLAVE);
	dev->ops->close(dev, fd);
}

static void test_regions(void)
{
	char *address = map(ENCLAVE);
	void *foreign = NULL, *small;
	int fd = create(NULL);

	CU_ASSERT_EQUAL(add_memory(fd, address, 2 * PAGE), 0);
	/* Nothing inside what is taken already is taken; nothing elsewhere is no memory. */
	CU_ASSERT_EQUAL(add_memory(fd, address, 0), -NE_ERR_MEM_REGION_ALREADY_USED);
	CU_ASSERT_EQUAL(add_memory(fd, address + PAGE, 0), -NE_ERR_MEM_REGION_ALREADY_USED);
	CU_ASSERT_EQUAL(add_memory(fd, address + 2 * PAGE, 0), -ENOMEM);
	/* The second node's page. */
	CU_ASSERT_EQUAL_FATAL(sim_dev_map_other_node(dev, &foreign, NULL), 0);
	CU_ASSERT_EQUAL(add_memory(fd, foreign, PAGE), -NE_ERR_MEM_DIFFERENT_NUMA_NODE);
	CU_ASSERT_EQUAL(sim_dev_map_other_node(dev, &foreign, NULL), -EBUSY);
	dev->ops->unmap(dev, foreign, PAGE);
	/* Small pages, read-only or not, and none. */
	small = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	address = (char *)(((uintptr_t)small + PAGE - 1) & ~(PAGE - 1));
	CU_ASSERT_EQUAL(add_memory(fd, address, PAGE), -NE_ERR_MEM_NOT_HUGE_PAGE);
	CU_ASSERT_EQUAL(mprotect(small, 2 * PAGE, PROT_NONE), 0);
	CU_ASSERT_EQUAL(add_memory(fd, address, PAGE), -EFAULT);
	munmap(small, 2 * PAGE);
	CU_ASSERT_EQUAL(add_memory(fd, address, PAGE), -EFAULT);
	dev->ops->close(dev, fd);
}

/* One call with 600 pages in a row is one region; 513 calls with a page each are one too many. */
static void test_merging(void)
{
	char *address;
	int fd;

	other_machine(8, 4096 * MIB, 0);
	address = map(600 * PAGE);
	fd = create(NULL);
	CU_ASSERT_EQUAL(add_memory(fd, address, 600 * PAGE), 0);
	dev->ops->close(dev, fd);
	fd = create(NULL);
	for (unsigned int i = 0; i < 512; i++)
		CU_ASSERT_EQUAL(add_memory(fd, address + i * PAGE, PAGE), 0);
	CU_ASSERT_EQUAL(add_memory(fd, address + 512 * PAGE, PAGE), -NE_ERR_MEM_MAX_REGIONS);
	CU_ASSERT_EQUAL(add_memory(fd, address + 512 * PAGE, PAGE), -NE_ERR_MEM_MAX_REGIONS);
	dev->ops->close(dev, fd);
	dev->ops->unmap(dev, address, 600 * PAGE);
	CU_ASSERT_EQUAL(free_pages(), 2048);
}

static void test_options(void)
{
	static const struct sim_options bad[] = {
		{ .cpus = 0, .memory = 64 * MIB },
		{ .cpus = 2, .memory = 64 * MIB },
		{ .cpus = 7, .memory = 64 * MIB },
		{ .cpus = 65538, .memory = 64 * MIB },
		{ .cpus = UINT32_MAX - 1, .memory = 64 * MIB },
		{ .cpus = 8, .memory = 0 },
		{ .cpus = 8, .memory = 3 * MIB },
		{ .cpus = 8, .memory = UINT64_MAX - PAGE + 1 },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct nefs_error err = { 0 };
		struct ne_dev *none = NULL;

		CU_ASSERT_EQUAL(sim_dev_new(&bad[i], &none, &err), -EINVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "sim_"));
		CU_ASSERT_PTR_NULL(none);
	}
}

/* ---- many ---- */

#define CROWD	8
#define PER_ONE 25

static void *one_of_the_crowd(void *argument)
{
	unsigned int *failures = argument;

	for (int i = 0; i < PER_ONE; i++) {
		void *address = NULL;
		uint64_t uid;
		int fd = create(&uid);
		int failed = fd < 0;

		failed = failed || dev->ops->map(dev, ENCLAVE, PAGE, &address, NULL) < 0 ||
			 add_vcpu(fd, NULL) < 0 || add_vcpu(fd, NULL) < 0 ||
			 add_memory(fd, address, ENCLAVE) < 0 || start(fd, 0) < 0 ||
			 sim_dev_crash(dev, uid, NULL) < 0 || !hung_up(fd, PATIENCE_MS);
		if (address)
			dev->ops->unmap(dev, address, ENCLAVE);
		if (fd >= 0)
			dev->ops->close(dev, fd);
		*failures += failed;
	}
	return NULL;
}

static void test_crowd(void)
{
	pthread_t threads[CROWD];
	unsigned int failures[CROWD] = { 0 };

	other_machine(2 + 2 * CROWD, CROWD * ENCLAVE, 0);
	for (int i = 0; i < CROWD; i++)
		CU_ASSERT_EQUAL_FATAL(
			pthread_create(&threads[i], NULL, one_of_the_crowd, &failures[i]), 0);
	for (int i = 0; i < CROWD; i++) {
		pthread_join(threads[i], NULL);
		CU_ASSERT_EQUAL(failures[i], 0);
	}
	CU_ASSERT_EQUAL(free_pages(), CROWD * 32);
	CU_ASSERT_TRUE(slots_are(""));
}

static double seconds_since(const struct timespec *before)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - before->tv_sec) +
	       (double)(now.tv_nsec - before->tv_nsec) / 1e9;
}

#define MANY 10000

static void test_ten_thousand(void)
{
	static int fds[MANY];
	static uint64_t uids[MANY];
	struct timespec before;
	double took;

	other_machine(2 + 2 * MANY, MANY * ENCLAVE, 0);
	clock_gettime(CLOCK_MONOTONIC, &before);
	for (int i = 0; i < MANY; i++)
		fds[i] = running(&uids[i]);
	took = seconds_since(&before);
	printf("[%d started in %.2f s] ", MANY, took);
	CU_ASSERT_EQUAL(free_pages(), 0);
	CU_ASSERT_EQUAL(create(NULL), -NE_ERR_NO_CPUS_AVAIL_IN_POOL);
	clock_gettime(CLOCK_MONOTONIC, &before);
	CU_ASSERT_EQUAL(sim_dev_crash(dev, uids[MANY / 2], NULL), 0);
	CU_ASSERT_TRUE(hung_up(fds[MANY / 2], PATIENCE_MS));
	printf("[one told in %.3f s] ", seconds_since(&before));
	CU_ASSERT_FALSE(hung_up(fds[0], 0));
	clock_gettime(CLOCK_MONOTONIC, &before);
	for (int i = 0; i < MANY; i++)
		dev->ops->close(dev, fds[i]);
	printf("[closed in %.2f s] ", seconds_since(&before));
	CU_ASSERT_EQUAL(free_pages(), MANY * 32);
	CU_ASSERT_TRUE(slots_are(""));
}

static const CU_TestInfo tests[] = {
	{ "a dropped reply times out; the next command works", test_dropped },
	{ "a late reply is nobody's", test_late },
	{ "the device's rc is the errno", test_device_errors },
	{ "a region that was refused stays taken", test_half_donated },
	{ "what the device does not give back is lost", test_lost },
	{ "a SLOT_INFO that fails hangs up", test_info_fails },
	{ "a missed event surfaces at the next", test_missed_event },
	{ "a hang-up", test_hang_up },
	{ "a hang-up of a socket", test_hang_up_of_a_socket },
	{ "a hang-up without an fd left", test_hang_up_without_an_fd_left },
	{ "close gives everything back before it returns", test_close_is_complete },
	{ "a thousand lives leave nothing behind", test_cycles },
	{ "fds that are not the driver's", test_no_such_fd },
	{ "another process", test_other_process },
	{ "what memory is refused", test_regions },
	{ "contiguous pages are one region within a call", test_merging },
	{ "machines that make no sense", test_options },
	{ "a crowd of threads", test_crowd },
	{ "ten thousand", test_ten_thousand },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("sim_driver", tests, set_up, tear_down);
}
