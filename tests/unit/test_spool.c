/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files in the spool directory (nefs/spool.h). */
#include "cunit_main.h"
#include "failing_memory.h"
#include "fake_fuse.h"
#include "request_buffers.h"
#include "spool_now.h"
#include "temporary.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <nefs/workers.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is on disk: bytes. */
#define LARGE (1U << 20)

static char base[TEMPORARY_MAX];
static struct spool spool;
static sd_event *event;
static struct workers *workers;

static void set_up(void)
{
	char path[TEMPORARY_MAX + 16];
	struct nefs_error err = { 0 };

	temporary_directory(base, "nefs-spool");
	snprintf(path, sizeof(path), "%s/spool", base);
	CU_ASSERT_EQUAL_FATAL(sd_event_new(&event), 0);
	CU_ASSERT_EQUAL_FATAL(workers_new(event, 1, &workers, &err), 0);
	CU_ASSERT_EQUAL_FATAL(spool_open(&spool, path, workers, &err), 0);
	spool.event = event;
}

/* Nothing is left in the directory, whatever a test did. */
static void tear_down(void)
{
	char path[TEMPORARY_MAX + 16];

	workers_free(workers);
	spool_close(&spool);
	spool_close(&spool);
	sd_event_unref(event);
	snprintf(path, sizeof(path), "%s/spool", base);
	CU_ASSERT_EQUAL(rmdir(path), 0);
	rmdir(base);
}

static struct spool_file *new_file(uint64_t size)
{
	struct spool_file *file = NULL;
	struct nefs_error err = { 0 };

	CU_ASSERT_EQUAL_FATAL(spool_file_new(&spool, 0, &file, &err), 0);
	CU_ASSERT_EQUAL(spool_resize_now(file, size, &err), 0);
	return file;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* ---- the directory ---- */

static void test_directories(void)
{
	static const struct {
		const char *path; /* below the test's directory */
		mode_t there;	  /* made before, with this mode; 0: not */
		int result;
	} rows[] = {
		{ "made", 0, 0 },
		{ "below/others/made", 0, 0 },
		{ "with//slashes/", 0, 0 },
		{ "slash/", 0, 0 },
		{ "private", 0700, 0 },
		{ "open", 0755, -EPERM },
		{ "group", 0710, -EPERM },
		{ "write", 0702, -EPERM },
	};
	char path[TEMPORARY_MAX + 64];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nefs_error err = { 0 };
		struct spool other = { .directory = 77 };
		struct stat status;
		int result;

		snprintf(path, sizeof(path), "%s/%s", base, rows[i].path);
		if (rows[i].there)
			CU_ASSERT_TRUE(!mkdir(path, 0700) && !chmod(path, rows[i].there));
		result = spool_open(&other, path, NULL, &err);
		if (result != rows[i].result)
			printf("%s: %d, %s\n", rows[i].path, result, err.text);
		CU_ASSERT_EQUAL(result, rows[i].result);
		CU_ASSERT_EQUAL(err.code, -rows[i].result);
		CU_ASSERT_EQUAL(other.directory >= 0, rows[i].result == 0);
		if (!result)
			CU_ASSERT_TRUE(!fstat(other.directory, &status) &&
				       (status.st_mode & 07777) == 0700);
		spool_close(&other);
		rmdir(path);
	}
	for (const char *const *left =
			(const char *const[]){ "below/others", "below", "with", NULL };
		*left; left++) {
		snprintf(path, sizeof(path), "%s/%s", base, *left);
		CU_ASSERT_EQUAL(rmdir(path), 0);
	}
}

static void test_no_directory(void)
{
	char path[TEMPORARY_MAX + 16], link[TEMPORARY_MAX + 64];
	struct nefs_error err = { 0 };
	struct spool other;

	snprintf(path, sizeof(path), "%s/file", base);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	CU_ASSERT_EQUAL(spool_open(&other, path, NULL, &err), -ENOTDIR);
	CU_ASSERT_EQUAL(other.directory, -1);
	snprintf(link, sizeof(link), "%s/below", path);
	CU_ASSERT_EQUAL(spool_open(&other, link, NULL, &err), -ENOTDIR);
	unlink(path);
	/* A link's owner may be anybody. */
	snprintf(path, sizeof(path), "%s/spool", base);
	snprintf(link, sizeof(link), "%s/link", base);
	CU_ASSERT_EQUAL(symlink(path, link), 0);
	CU_ASSERT_TRUE(spool_open(&other, link, NULL, &err) < 0);
	CU_ASSERT_EQUAL(other.directory, -1);
	unlink(link);
	CU_ASSERT_EQUAL(spool_open(&other, "", NULL, &err), -ENOENT);
	CU_ASSERT_EQUAL(other.directory, -1);
	memory_fail(0);
	CU_ASSERT_EQUAL(spool_open(&other, path, NULL, &err), -ENOMEM);
	CU_ASSERT_TRUE(memory_failed());
}

/* ---- content ---- */

static void check_content(struct spool_file *file, const char *expected, size_t size)
{
	struct fuse_req req = { 0 };
	size_t head = size < SPOOL_HEAD ? size : SPOOL_HEAD;

	CU_ASSERT_EQUAL(file->size, size);
	CU_ASSERT_EQUAL(file->on_disk, size > SPOOL_SMALL);
	CU_ASSERT_EQUAL(memcmp(file->head, expected, head), 0);
	spool_reply(&req, file, FAKE_REPLY_MAX, 0);
	while (workers_pending(workers))
		sd_event_run(event, UINT64_MAX);
	CU_ASSERT_EQUAL(req.answers, 1);
	CU_ASSERT_EQUAL(req.size, size < FAKE_REPLY_MAX ? size : FAKE_REPLY_MAX);
	CU_ASSERT_EQUAL(memcmp(req.data, expected, req.size), 0);
}

static void test_content(void)
{
	struct spool_file *file = new_file(0);
	struct nefs_error err = { 0 };
	struct fuse_req req = { 0 };
	char text[SPOOL_SMALL + 1] = "";

	CU_ASSERT_EQUAL(spool_contents(file, text, sizeof(text)), 0);
	CU_ASSERT_EQUAL(spool_fill(file, "hello", 5, &err), 0);
	CU_ASSERT_EQUAL(spool_write_now(file, "J", 1, 0, &err), 1);
	check_content(file, "Jello", 5);
	CU_ASSERT_EQUAL(spool_write_now(file, "!", 1, 7, &err), 1);
	check_content(file, "Jello\0\0!", 8);
	CU_ASSERT_EQUAL(spool_contents(file, text, 3), 3);
	CU_ASSERT_EQUAL(spool_contents(file, text, sizeof(text)), 8);
	CU_ASSERT_EQUAL(memcmp(text, "Jello\0\0!", 8), 0);
	spool_reply(&req, file, 3, 1);
	CU_ASSERT_EQUAL(req.size, 3);
	CU_ASSERT_EQUAL(memcmp(req.data, "ell", 3), 0);
	CU_ASSERT_EQUAL(spool_resize_now(file, 2, &err), 0);
	CU_ASSERT_EQUAL(spool_resize_now(file, 4, &err), 0);
	check_content(file, "Je\0\0", 4);
	CU_ASSERT_EQUAL(spool_resize_now(file, 0, &err), 0);
	check_content(file, "", 0);
	spool_reply(&req, file, 3, 0);
	CU_ASSERT_EQUAL(req.size, 0);
	CU_ASSERT_EQUAL(spool_fill(file, text, sizeof(text), &err), -E2BIG);
	spool_file_unref(file);
	spool_file_unref(NULL);
}

/* From memory to the disk and back, whatever does it; its fd is the same number. */
static void test_moves(void)
{
	char bytes[3 * SPOOL_SMALL];
	struct spool_file *file = new_file(0);
	struct nefs_error err = { 0 };
	struct stat memory, disk;
	int fd = file->fd;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i % 251 + 1);
	CU_ASSERT_EQUAL(spool_write_now(file, bytes, SPOOL_SMALL, 0, &err), SPOOL_SMALL);
	check_content(file, bytes, SPOOL_SMALL);
	CU_ASSERT_EQUAL(fstat(fd, &memory), 0);
	CU_ASSERT_EQUAL(spool_write_now(file, bytes + SPOOL_SMALL, SPOOL_SMALL, SPOOL_SMALL, &err),
		SPOOL_SMALL);
	check_content(file, bytes, 2 * SPOOL_SMALL);
	CU_ASSERT_EQUAL(fstat(fd, &disk), 0);
	CU_ASSERT_NOT_EQUAL(memory.st_dev, disk.st_dev);
	CU_ASSERT_EQUAL(spool_contents(file, bytes, 1), -E2BIG);
	/* Cut short it is small again. */
	CU_ASSERT_EQUAL(spool_resize_now(file, SPOOL_SMALL + 1, &err), 0);
	check_content(file, bytes, SPOOL_SMALL + 1);
	CU_ASSERT_EQUAL(spool_resize_now(file, 700, &err), 0);
	check_content(file, bytes, 700);
	memset(bytes + 700, 0, sizeof(bytes) - 700);
	CU_ASSERT_EQUAL(spool_resize_now(file, sizeof(bytes), &err), 0);
	check_content(file, bytes, sizeof(bytes));
	memset(bytes + 10, 0, 600);
	CU_ASSERT_EQUAL(spool_punch_now(file, 10, 600, &err), 0);
	check_content(file, bytes, sizeof(bytes));
	CU_ASSERT_EQUAL(spool_resize_now(file, 100, &err), 0);
	memset(bytes + 5, 0, 95);
	CU_ASSERT_EQUAL(spool_punch_now(file, 5, UINT64_MAX, &err), 0);
	CU_ASSERT_EQUAL(spool_punch_now(file, UINT64_MAX, 1, &err), 0);
	check_content(file, bytes, 100);
	memset(bytes, 0, sizeof(bytes));
	CU_ASSERT_EQUAL(spool_resize_now(file, 0, &err), 0);
	/* Room ahead changes the size only if it is to, and never to a smaller one. */
	CU_ASSERT_EQUAL(spool_allocate_now(file, sizeof(bytes), true, &err), 0);
	check_content(file, bytes, 0);
	CU_ASSERT_EQUAL(spool_allocate_now(file, sizeof(bytes), false, &err), 0);
	CU_ASSERT_EQUAL(spool_allocate_now(file, 5, false, &err), 0);
	check_content(file, bytes, sizeof(bytes));
	CU_ASSERT_EQUAL(spool_allocate_now(file, SPOOL_FILE_MAX, false, &err), -ENOSPC);
	check_content(file, bytes, sizeof(bytes));
	CU_ASSERT_EQUAL(file->fd, fd);
	spool_file_unref(file);
}

static void test_limits(void)
{
	static const struct {
		size_t size;
		long long offset;
		int result;
	} rows[] = {
		{ 1, -1, -EFBIG },
		{ 1, INT64_MIN, -EFBIG },
		{ 1, SPOOL_FILE_MAX, -EFBIG },
		{ 2, SPOOL_FILE_MAX - 1, -EFBIG },
		{ 1, SPOOL_FILE_MAX + 1, -EFBIG },
		{ 1, INT64_MAX, -EFBIG },
		{ 1, SPOOL_FILE_MAX - 1, 1 },
	};
	struct spool_file *file = new_file(10);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nefs_error err = { 0 };

		CU_ASSERT_EQUAL(
			spool_write_now(file, "xx", rows[i].size, (off_t)rows[i].offset, &err),
			rows[i].result);
		CU_ASSERT_EQUAL(err.code, rows[i].result < 0 ? EFBIG : 0);
		CU_ASSERT_EQUAL(file->size, rows[i].result < 0 ? 10 : SPOOL_FILE_MAX);
	}
	CU_ASSERT_EQUAL(spool_resize_now(file, SPOOL_FILE_MAX + 1, NULL), -EFBIG);
	CU_ASSERT_EQUAL(spool_resize_now(file, UINT64_MAX, NULL), -EFBIG);
	CU_ASSERT_EQUAL(spool_allocate_now(file, SPOOL_FILE_MAX + 1, true, NULL), -EFBIG);
	CU_ASSERT_EQUAL(spool_resize_now(file, SPOOL_FILE_MAX, NULL), 0);
	CU_ASSERT_EQUAL(file->size, SPOOL_FILE_MAX);
	spool_file_unref(file);
}

/* What the system refuses is told, and changes nothing. */
static void test_refused(void)
{
	struct spool_file *file = new_file(LARGE), *small = new_file(5), *none = NULL;
	struct nefs_error err = { 0 };
	int fd = file->fd, directory = spool.directory;

	file->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CU_ASSERT_EQUAL(spool_write_now(file, "x", 1, 5, &err), -EBADF);
	CU_ASSERT_EQUAL(err.code, EBADF);
	CU_ASSERT_EQUAL(spool_resize_now(file, LARGE - 1, &err), -EINVAL);
	close(file->fd);
	CU_ASSERT_EQUAL(file->size, LARGE);
	file->fd = fd;
	memory_fail(0);
	CU_ASSERT_EQUAL(spool_file_new(&spool, 0, &none, &err), -ENOMEM);
	CU_ASSERT_TRUE(memory_failed());
	/* No directory, no large file: what was small is as it was. */
	spool.directory = -1;
	CU_ASSERT_EQUAL(spool_write_now(small, "x", 1, LARGE, &err), -EBADF);
	CU_ASSERT_EQUAL(err.code, EBADF);
	CU_ASSERT_EQUAL(spool_resize_now(small, LARGE, &err), -EBADF);
	CU_ASSERT_EQUAL(spool_allocate_now(small, LARGE, false, &err), -EBADF);
	check_content(small, "\0\0\0\0", 5);
	spool.directory = directory;
	spool_file_unref(small);
	spool_file_unref(file);
}

/* ---- who does what ---- */

/* Holds the only worker up, so that nothing is closed before it is let go. */
struct gate {
	struct work work; /* first */
	pthread_mutex_t lock;
};

static void run_gate(struct work *work)
{
	struct gate *gate = (struct gate *)work;

	pthread_mutex_lock(&gate->lock);
	pthread_mutex_unlock(&gate->lock);
}

static void gate_done(struct work *work)
{
}

static void shut_lane(struct gate *gate, enum work_lane lane)
{
	*gate = (struct gate){ .work = { .run = run_gate, .done = gate_done, .lane = lane } };
	pthread_mutex_init(&gate->lock, NULL);
	pthread_mutex_lock(&gate->lock);
	workers_submit(workers, &gate->work);
}

static void shut(struct gate *gate)
{
	shut_lane(gate, WORK_SPOOL);
}

/* Lets the worker go, and waits until it has nothing more to do. */
static void open_gate(struct gate *gate)
{
	pthread_mutex_unlock(&gate->lock);
	while (workers_pending(workers))
		sd_event_run(event, UINT64_MAX);
	pthread_mutex_destroy(&gate->lock);
}

/* Of a small file nothing waits for a worker, though they are all amid something. */
static void test_small_waits_for_nobody(void)
{
	struct spool_file *file = new_file(0);
	struct nefs_error err = { 0 };
	struct fuse_req req = { 0 };
	struct gate gate;
	char text[8];

	shut(&gate);
	CU_ASSERT_EQUAL(spool_write_now(file, "512M\n", 5, 0, &err), 5);
	CU_ASSERT_EQUAL(spool_resize_now(file, 4, &err), 0);
	CU_ASSERT_EQUAL(spool_contents(file, text, sizeof(text)), 4);
	spool_reply(&req, file, 10, 0);
	CU_ASSERT_EQUAL(req.size, 4);
	spool_file_unref(file);
	CU_ASSERT_EQUAL(workers_pending(workers), 1);
	open_gate(&gate);
}

struct told {
	struct spool_job job; /* first */
	unsigned int order;
};

static unsigned int told;

static void on_told(struct spool_job *job)
{
	((struct told *)job)->order = ++told;
}

/* One after the other, in the order in which they came; each has its data, whatever became of where that was. */
static void test_order(void)
{
	struct request_buffers buffers = { 0 };
	struct told jobs[3] = { 0 };
	struct spool_file *file = new_file(0);
	char bytes[2 * SPOOL_SMALL], data[2 * SPOOL_SMALL];
	struct gate gate;

	told = 0;
	spool.buffers = &buffers;
	shut(&gate);
	for (size_t i = 0; i < 3; i++)
		jobs[i].job.done = on_told;
	memset(data, 'a', sizeof(data));
	memset(bytes, 'a', sizeof(bytes));
	spool_write(&jobs[0].job, file, data, sizeof(data), 0);
	CU_ASSERT_TRUE(file->running);
	CU_ASSERT_EQUAL(spool_contents(file, bytes, 1), -EBUSY);
	memset(data, 'b', sizeof(data));
	spool_write(&jobs[1].job, file, data, 10, 0);
	memset(bytes, 'b', 10);
	memset(data, 'c', sizeof(data));
	spool_resize(&jobs[2].job, file, SPOOL_SMALL);
	CU_ASSERT_EQUAL(told, 0);
	CU_ASSERT_EQUAL(file->size, 0);
	/* Who has no more use for it does not end what is under way. */
	spool_file_ref(file);
	spool_file_unref(file);
	open_gate(&gate);
	for (size_t i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(jobs[i].order, i + 1);
	CU_ASSERT_EQUAL(jobs[0].job.result, sizeof(data));
	CU_ASSERT_EQUAL(jobs[1].job.result, 10);
	check_content(file, bytes, SPOOL_SMALL);
	CU_ASSERT_EQUAL(file->jobs, 0);
	spool_file_unref(file);
	spool.buffers = NULL;
	CU_ASSERT_EQUAL(buffers.bytes, 0);
	request_buffers_release(&buffers);
}

/* What is in memory is done by the loop while nobody waits for it, and else, or if room has to be made, by a worker. */
static void test_at_once(void)
{
	int waiting = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), fd;
	struct spool_file *file = new_file(LARGE);
	struct told job = { .job.done = on_told };
	struct nefs_error err = { 0 };
	struct fuse_req req = { 0 };
	struct gate gate;

	spool.in_memory = true;
	spool.requests = waiting;
	shut(&gate);
	CU_ASSERT_EQUAL(spool_write_now(file, "x", 1, LARGE, &err), 1);
	spool_reply(&req, file, 10, LARGE);
	CU_ASSERT_EQUAL(req.size, 1);
	CU_ASSERT_EQUAL(workers_pending(workers), 1);
	told = 0;
	fd = file->fd;
	file->fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	spool_write(&job.job, file, "x", 1, 0);
	CU_ASSERT_EQUAL(told, 0);
	CU_ASSERT_EQUAL(workers_pending(workers), 2);
	open_gate(&gate);
	CU_ASSERT_EQUAL(told, 1);
	CU_ASSERT_EQUAL(job.job.result, -ENOSPC);
	close(file->fd);
	file->fd = fd;
	shut(&gate);
	CU_ASSERT_EQUAL(eventfd_write(waiting, 1), 0);
	job = (struct told){ .job.done = on_told };
	spool_write(&job.job, file, "x", 1, 0);
	CU_ASSERT_EQUAL(told, 1);
	open_gate(&gate);
	CU_ASSERT_EQUAL(told, 2);
	CU_ASSERT_EQUAL(job.job.result, 1);
	spool.in_memory = false;
	spool.requests = 0;
	close(waiting);
	spool_file_unref(file);
}

/* ---- who closes ---- */

static void test_large_is_closed_by_worker(void)
{
	struct spool_file *small = new_file(SPOOL_SMALL), *large = new_file(SPOOL_SMALL + 1);
	int small_fd = small->fd, large_fd = large->fd;
	struct gate gate;

	shut_lane(&gate, WORK_RELEASE);
	spool_file_ref(large);
	spool_file_unref(large);
	CU_ASSERT_EQUAL(workers_pending(workers), 1);
	spool_file_unref(small);
	spool_file_unref(large);
	CU_ASSERT_FALSE(is_open(small_fd));
	CU_ASSERT_TRUE(is_open(large_fd));
	CU_ASSERT_EQUAL(workers_pending(workers), 2);
	open_gate(&gate);
	CU_ASSERT_FALSE(is_open(large_fd));
}

/* What is amid something is there until that has ended. */
static void test_closed_behind_its_job(void)
{
	struct spool_file *large = new_file(LARGE);
	struct told job = { .job.done = on_told };
	int fd = large->fd;
	struct gate gate;

	shut(&gate);
	told = 0;
	spool_write(&job.job, large, "x", 1, 0);
	spool_file_unref(large);
	CU_ASSERT_TRUE(is_open(fd));
	open_gate(&gate);
	CU_ASSERT_EQUAL(told, 1);
	CU_ASSERT_EQUAL(job.job.result, 1);
	CU_ASSERT_FALSE(is_open(fd));
}

/* Who removed a file counts on its room, whether a worker has come to it or not. */
static void test_closed_for_its_room(void)
{
	struct spool_file *large = new_file(LARGE), *file = new_file(LARGE);
	struct told job = { .job.done = on_told };
	int large_fd = large->fd, fd = file->fd;
	struct gate gate;

	told = 0;
	file->fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	shut_lane(&gate, WORK_RELEASE);
	spool_file_unref(large);
	CU_ASSERT_TRUE(is_open(large_fd));
	spool_write(&job.job, file, "x", 1, 1);
	while (!told)
		sd_event_run(event, UINT64_MAX);
	CU_ASSERT_EQUAL(job.job.result, -ENOSPC);
	CU_ASSERT_FALSE(is_open(large_fd));
	open_gate(&gate);
	CU_ASSERT_EQUAL(file->size, LARGE);
	close(file->fd);
	file->fd = fd;
	spool_file_unref(file);
}

/* What somebody reads who does not matter any more holds no room until he is done with it. */
static void test_abandoned(void)
{
	struct spool_file *large = new_file(LARGE);
	char byte;

	CU_ASSERT_EQUAL(pread(large->fd, &byte, 1, 0), 1);
	spool_file_ref(large);
	spool_file_abandon(large);
	spool_file_unref(large);
	while (workers_pending(workers))
		sd_event_run(event, UINT64_MAX);
	CU_ASSERT_EQUAL(pread(large->fd, &byte, 1, 0), 0);
	memory_fail(0);
	spool_file_abandon(large);
	CU_ASSERT_TRUE(memory_failed());
	CU_ASSERT_EQUAL(workers_pending(workers), 0);
	spool_file_unref(large);
}

/* Without workers the caller does it all. */
static void test_without_workers(void)
{
	struct spool_file *file;
	int fd;

	spool.workers = NULL;
	file = new_file(LARGE);
	check_content(file, (char[SPOOL_HEAD * 8]){ 0 }, LARGE);
	fd = file->fd;
	spool_file_unref(file);
	CU_ASSERT_FALSE(is_open(fd));
	spool.workers = workers;
	CU_ASSERT_EQUAL(workers_pending(workers), 0);
}

/* No file has a name that somebody could find. */
static void test_nameless(void)
{
	struct spool_file *file = new_file(LARGE);
	char path[TEMPORARY_MAX + 16];
	struct dirent *entry;
	unsigned int found = 0;
	struct stat status;
	DIR *directory;

	snprintf(path, sizeof(path), "%s/spool", base);
	directory = opendir(path);
	CU_ASSERT_PTR_NOT_NULL_FATAL(directory);
	while ((entry = readdir(directory)))
		found += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(directory);
	CU_ASSERT_EQUAL(found, 0);
	CU_ASSERT_TRUE(!fstat(file->fd, &status) && status.st_nlink == 0);
	CU_ASSERT_EQUAL(fcntl(file->fd, F_GETFD), FD_CLOEXEC);
	spool_file_unref(file);
}

/* What a file takes of the disk is counted for its user, and given back with it. */
static void test_counted(void)
{
	static char block[64 << 10];
	struct quota quota = { .limits.each[QUOTA_BYTES] = 128 << 10, .limits.all[QUOTA_FDS] = 4 };
	struct spool_file *file = NULL, *other = NULL, *more = NULL;
	struct nefs_error err = { 0 };

	spool.quota = &quota;
	memset(block, 'x', sizeof(block));
	CU_ASSERT_EQUAL_FATAL(spool_file_new(&spool, 1000, &file, &err), 0);
	CU_ASSERT_EQUAL_FATAL(spool_file_new(&spool, 1000, &other, &err), 0);
	/* No more than is left for others. */
	CU_ASSERT_EQUAL(spool_file_new(&spool, 1000, &more, &err), -EDQUOT);
	CU_ASSERT_EQUAL(quota.used[QUOTA_FDS], 2);
	/* What is small is in memory, and a hole is nothing. */
	CU_ASSERT_EQUAL(spool_write_now(file, "5", 1, 0, &err), 1);
	CU_ASSERT_EQUAL(quota.used[QUOTA_BYTES], 0);
	CU_ASSERT_EQUAL(spool_resize_now(file, 1 << 30, &err), 0);
	CU_ASSERT_TRUE(quota.used[QUOTA_BYTES] <= 4096);
	CU_ASSERT_EQUAL(spool_write_now(file, "5", 1, 1 << 29, &err), 1);
	CU_ASSERT_TRUE(quota.used[QUOTA_BYTES] <= 2 * 4096);
	CU_ASSERT_EQUAL(spool_punch_now(file, 0, 1 << 30, &err), 0);
	CU_ASSERT_TRUE(quota.used[QUOTA_BYTES] <= 4096);
	CU_ASSERT_EQUAL(spool_resize_now(file, 0, &err), 0);
	CU_ASSERT_EQUAL(quota.used[QUOTA_BYTES], 0);
	/* Up to the bound; and what is there may be written again. */
	CU_ASSERT_EQUAL(spool_write_now(file, block, sizeof(block), 0, &err), sizeof(block));
	CU_ASSERT_EQUAL(quota.used[QUOTA_BYTES], sizeof(block));
	CU_ASSERT_EQUAL(spool_write_now(other, block, sizeof(block), 0, &err), sizeof(block));
	CU_ASSERT_EQUAL(spool_write_now(file, block, sizeof(block), 0, &err), sizeof(block));
	CU_ASSERT_EQUAL(spool_write_now(file, block, 1, sizeof(block), &err), -EDQUOT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "user 1000 has 131072 bytes"));
	CU_ASSERT_EQUAL(file->size, sizeof(block));
	CU_ASSERT_EQUAL(quota.used[QUOTA_BYTES], 2 * sizeof(block));
	/* Given to another, whatever they have. */
	CU_ASSERT_EQUAL(spool_file_chown(other, 1001), 0);
	CU_ASSERT_EQUAL(quota_used(file->user, QUOTA_BYTES), sizeof(block));
	CU_ASSERT_EQUAL(quota_used(other->user, QUOTA_BYTES), sizeof(block));
	CU_ASSERT_EQUAL(spool_write_now(file, block, 1, sizeof(block), &err), 1);
	CU_ASSERT_EQUAL(spool_file_chown(other, 0), 0);
	CU_ASSERT_PTR_NULL(other->user);
	CU_ASSERT_EQUAL(spool_file_chown(other, 1000), 0);
	CU_ASSERT_EQUAL(quota.used[QUOTA_BYTES], 2 * sizeof(block) + 4096);
	spool_file_unref(other);
	CU_ASSERT_EQUAL(quota.used[QUOTA_BYTES], sizeof(block) + 4096);
	/* What is abandoned is given back, though somebody has it still. */
	spool_file_abandon(file);
	CU_ASSERT_EQUAL(quota.used[QUOTA_BYTES], 0);
	spool_file_unref(file);
	CU_ASSERT_EQUAL(quota.used[QUOTA_BYTES], 0);
	CU_ASSERT_EQUAL(quota.used[QUOTA_FDS], 0);
	CU_ASSERT_EQUAL(quota.count, 0);
	/* What is refused for want of memory is counted for nobody. */
	CU_ASSERT_EQUAL_FATAL(spool_file_new(&spool, 1000, &file, &err), 0);
	memory_fail(0);
	CU_ASSERT_EQUAL(spool_file_chown(file, 1001), -ENOMEM);
	CU_ASSERT_TRUE(memory_failed());
	CU_ASSERT_EQUAL(file->owner, 1000);
	spool_file_unref(file);
	CU_ASSERT_EQUAL(quota.count, 0);
	spool.quota = NULL;
}

static const CU_TestInfo tests[] = {
	{ "directories that will do, and others", test_directories },
	{ "what is no directory", test_no_directory },
	{ "content and sizes", test_content },
	{ "from memory to disk and back", test_moves },
	{ "the largest file", test_limits },
	{ "what the system refuses", test_refused },
	{ "a small file waits for nobody", test_small_waits_for_nobody },
	{ "one job after the other", test_order },
	{ "at once, where nobody waits", test_at_once },
	{ "a worker closes what is on disk", test_large_is_closed_by_worker },
	{ "it is closed behind its job", test_closed_behind_its_job },
	{ "it is closed at once for its room", test_closed_for_its_room },
	{ "what is abandoned holds no room", test_abandoned },
	{ "without workers", test_without_workers },
	{ "files have no names", test_nameless },
	{ "what it takes of the disk is counted", test_counted },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("spool", tests, set_up, tear_down);
}
