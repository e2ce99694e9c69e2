/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files in the spool directory (nefs/spool.h). */
#include "cunit_main.h"
#include "failing_memory.h"
#include "fake_fuse.h"
#include "spool.h"
#include "temporary.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <nefs/workers.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a worker closes, and what the caller does: bytes. */
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
}

/* Nothing is left in the directory, whatever a test did. */
static void tear_down(void)
{
	char path[TEMPORARY_MAX + 16];

	workers_free(workers);
	sd_event_unref(event);
	spool_close(&spool);
	spool_close(&spool);
	snprintf(path, sizeof(path), "%s/spool", base);
	CU_ASSERT_EQUAL(rmdir(path), 0);
	rmdir(base);
}

static struct spool_file *new_file(uint64_t size)
{
	struct spool_file *file = NULL;
	struct nefs_error err = { 0 };

	CU_ASSERT_EQUAL_FATAL(spool_file_new(&spool, &file, &err), 0);
	CU_ASSERT_EQUAL(spool_truncate(file, size, &err), 0);
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

static void test_content(void)
{
	struct spool_file *file = new_file(0);
	struct nefs_error err = { 0 };
	struct fuse_req req = { 0 };
	char text[16] = "";

	CU_ASSERT_EQUAL(file->size, 0);
	CU_ASSERT_EQUAL(spool_read(file, text, sizeof(text), 0), 0);
	CU_ASSERT_EQUAL(spool_write(file, "hello", 5, 0, &err), 5);
	CU_ASSERT_EQUAL(spool_write(file, "J", 1, 0, &err), 1);
	CU_ASSERT_EQUAL(file->size, 5);
	CU_ASSERT_EQUAL(spool_write(file, "!", 1, 7, &err), 1);
	CU_ASSERT_EQUAL(file->size, 8);
	CU_ASSERT_EQUAL(spool_read(file, text, sizeof(text), 0), 8);
	CU_ASSERT_EQUAL(memcmp(text, "Jello\0\0!", 8), 0);
	spool_reply(&req, file, 3, 1);
	CU_ASSERT_EQUAL(req.size, 3);
	CU_ASSERT_EQUAL(memcmp(req.data, "ell", 3), 0);
	CU_ASSERT_EQUAL(spool_truncate(file, 2, &err), 0);
	CU_ASSERT_EQUAL(file->size, 2);
	CU_ASSERT_EQUAL(spool_truncate(file, 4, &err), 0);
	CU_ASSERT_EQUAL(spool_read(file, text, sizeof(text), 0), 4);
	CU_ASSERT_EQUAL(memcmp(text, "Je\0\0", 4), 0);
	CU_ASSERT_EQUAL(spool_truncate(file, 0, &err), 0);
	CU_ASSERT_EQUAL(file->size, 0);
	spool_file_unref(file);
	spool_file_unref(NULL);
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

		CU_ASSERT_EQUAL(spool_write(file, "xx", rows[i].size, rows[i].offset, &err),
			rows[i].result);
		CU_ASSERT_EQUAL(err.code, rows[i].result < 0 ? EFBIG : 0);
		CU_ASSERT_EQUAL(file->size, rows[i].result < 0 ? 10 : SPOOL_FILE_MAX);
	}
	CU_ASSERT_EQUAL(spool_truncate(file, SPOOL_FILE_MAX + 1, NULL), -EFBIG);
	CU_ASSERT_EQUAL(spool_truncate(file, UINT64_MAX, NULL), -EFBIG);
	CU_ASSERT_EQUAL(spool_truncate(file, SPOOL_FILE_MAX, NULL), 0);
	CU_ASSERT_EQUAL(file->size, SPOOL_FILE_MAX);
	spool_file_unref(file);
}

/* What the system refuses is told, and changes nothing. */
static void test_refused(void)
{
	struct spool_file *file = new_file(5), *none = NULL;
	struct nefs_error err = { 0 };
	int fd = file->fd, directory = spool.directory;
	char byte;

	file->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CU_ASSERT_EQUAL(spool_write(file, "x", 1, 5, &err), -EBADF);
	CU_ASSERT_EQUAL(err.code, EBADF);
	CU_ASSERT_EQUAL(spool_truncate(file, 3, &err), -EINVAL);
	close(file->fd);
	file->fd = directory;
	CU_ASSERT_EQUAL(spool_read(file, &byte, 1, 0), -EISDIR);
	CU_ASSERT_EQUAL(file->size, 5);
	file->fd = fd;
	memory_fail(0);
	CU_ASSERT_EQUAL(spool_file_new(&spool, &none, &err), -ENOMEM);
	CU_ASSERT_TRUE(memory_failed());
	/* No directory, no file: what is emptied then keeps its own. */
	CU_ASSERT_EQUAL(spool_truncate(file, LARGE, &err), 0);
	spool.directory = -1;
	CU_ASSERT_EQUAL(spool_file_new(&spool, &none, &err), -EBADF);
	CU_ASSERT_PTR_NULL(none);
	CU_ASSERT_EQUAL(spool_truncate(file, 0, &err), 0);
	spool.directory = directory;
	CU_ASSERT_EQUAL(file->size, 0);
	CU_ASSERT_EQUAL(file->fd, fd);
	CU_ASSERT_EQUAL(spool_read(file, &byte, 1, 0), 0);
	spool_file_unref(file);
}

/* ---- who closes ---- */

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

static void shut(struct gate *gate)
{
	*gate = (struct gate){ .work = { .run = run_gate, .done = gate_done } };
	pthread_mutex_init(&gate->lock, NULL);
	pthread_mutex_lock(&gate->lock);
	workers_submit(workers, &gate->work);
}

/* Lets the worker go, and waits until it has nothing more to do. */
static void open_gate(struct gate *gate)
{
	pthread_mutex_unlock(&gate->lock);
	while (workers_pending(workers))
		sd_event_run(event, UINT64_MAX);
	pthread_mutex_destroy(&gate->lock);
}

static void test_large_is_closed_by_worker(void)
{
	struct spool_file *small = new_file(LARGE - 1), *large = new_file(LARGE);
	int small_fd = small->fd, large_fd = large->fd;
	struct gate gate;

	shut(&gate);
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

static void test_large_is_emptied_by_worker(void)
{
	struct spool_file *small = new_file(LARGE - 1), *large = new_file(LARGE);
	int small_fd = small->fd, large_fd = large->fd;
	struct nefs_error err = { 0 };
	struct gate gate;
	char text[8];

	shut(&gate);
	CU_ASSERT_EQUAL(spool_truncate(small, 0, &err), 0);
	CU_ASSERT_EQUAL(small->fd, small_fd);
	/* Only to empty it takes another: what is cut shorter keeps its beginning. */
	CU_ASSERT_EQUAL(spool_write(large, "begin", 5, 0, &err), 5);
	CU_ASSERT_EQUAL(spool_truncate(large, LARGE + 4, &err), 0);
	CU_ASSERT_EQUAL(large->fd, large_fd);
	CU_ASSERT_EQUAL(spool_truncate(large, 0, &err), 0);
	CU_ASSERT_NOT_EQUAL(large->fd, large_fd);
	CU_ASSERT_TRUE(is_open(large_fd));
	CU_ASSERT_EQUAL(large->size, 0);
	CU_ASSERT_EQUAL(spool_read(large, text, sizeof(text), 0), 0);
	CU_ASSERT_EQUAL(spool_write(large, "new", 3, 0, &err), 3);
	open_gate(&gate);
	CU_ASSERT_FALSE(is_open(large_fd));
	CU_ASSERT_EQUAL(spool_read(large, text, sizeof(text), 0), 3);
	spool_file_unref(small);
	spool_file_unref(large);
	CU_ASSERT_EQUAL(workers_pending(workers), 0);
}

/* Who removed a file counts on its room, whether a worker has come to it or not. */
static void test_closed_for_its_room(void)
{
	struct spool_file *large = new_file(LARGE), *file = new_file(0);
	int large_fd = large->fd, fd = file->fd;
	struct nefs_error err = { 0 };
	struct gate gate;

	shut(&gate);
	spool_file_unref(large);
	CU_ASSERT_EQUAL(spool_write(file, "x", 1, 0, &err), 1);
	CU_ASSERT_TRUE(is_open(large_fd));
	file->fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	CU_ASSERT_EQUAL(spool_write(file, "x", 1, 1, &err), -ENOSPC);
	CU_ASSERT_FALSE(is_open(large_fd));
	CU_ASSERT_EQUAL(file->size, 1);
	close(file->fd);
	file->fd = fd;
	spool_file_unref(file);
	open_gate(&gate);
}

/* What somebody reads who does not matter any more holds no room until he is done with it. */
static void test_abandoned(void)
{
	struct spool_file *large = new_file(LARGE);
	char byte;

	CU_ASSERT_EQUAL(spool_read(large, &byte, 1, 0), 1);
	spool_file_ref(large);
	spool_file_abandon(large);
	spool_file_unref(large);
	while (workers_pending(workers))
		sd_event_run(event, UINT64_MAX);
	CU_ASSERT_EQUAL(spool_read(large, &byte, 1, 0), 0);
	spool_file_unref(large);
}

/* Without workers, or without memory to ask one, the caller closes it itself. */
static void test_closed_at_once(void)
{
	struct spool_file *one = new_file(LARGE), *other = new_file(LARGE);
	int one_fd = one->fd, other_fd = other->fd;

	memory_fail(0);
	spool_file_unref(one);
	CU_ASSERT_TRUE(memory_failed());
	CU_ASSERT_FALSE(is_open(one_fd));
	spool.workers = NULL;
	spool_file_unref(other);
	CU_ASSERT_FALSE(is_open(other_fd));
	spool.workers = workers;
	CU_ASSERT_EQUAL(workers_pending(workers), 0);
}

/* No file has a name that somebody could find. */
static void test_nameless(void)
{
	struct spool_file *file = new_file(10);
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

static const CU_TestInfo tests[] = {
	{ "directories that will do, and others", test_directories },
	{ "what is no directory", test_no_directory },
	{ "content and sizes", test_content },
	{ "the largest file", test_limits },
	{ "what the system refuses", test_refused },
	{ "a worker closes what is large", test_large_is_closed_by_worker },
	{ "a worker empties what is large", test_large_is_emptied_by_worker },
	{ "it is closed at once for its room", test_closed_for_its_room },
	{ "what is abandoned holds no room", test_abandoned },
	{ "without a worker it is closed at once", test_closed_at_once },
	{ "files have no names", test_nameless },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("spool", tests, set_up, tear_down);
}
