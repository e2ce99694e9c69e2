/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A listening socket with a name: what may stand at its path already, and callers when no fd is left. */
#include "cunit_main.h"
#include "listener.h"
#include "temporary.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char directory[TEMPORARY_MAX], path[96];
static struct listener listener;
static struct nefs_error err;

static void set_up(void)
{
	temporary_directory(directory, "nefs-listen");
	snprintf(path, sizeof(path), "%s/socket", directory);
	listener = LISTENER_NONE;
	nefs_error_clear(&err);
}

static void tear_down(void)
{
	listener_close(&listener);
	unlink(path);
	rmdir(directory);
}

static int call(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void refused(int code)
{
	struct listener other;

	CU_ASSERT_EQUAL(listener_open(&other, path, &err), -code);
	CU_ASSERT(other.fd == -1 && other.spare == -1);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, path));
}

static void test_accepts(void)
{
	struct stat status;
	int caller, peer;
	char byte;

	CU_ASSERT_EQUAL_FATAL(listener_open(&listener, path, &err), 0);
	CU_ASSERT_EQUAL(stat(path, &status), 0);
	CU_ASSERT_EQUAL(status.st_mode, S_IFSOCK | 0600);
	CU_ASSERT_EQUAL(listener_accept(&listener), -1);
	caller = call();
	peer = listener_accept(&listener);
	CU_ASSERT_FATAL(peer >= 0);
	CU_ASSERT(fcntl(peer, F_GETFL) & O_NONBLOCK && fcntl(peer, F_GETFD) & FD_CLOEXEC);
	CU_ASSERT_EQUAL(write(peer, "x", 1), 1);
	CU_ASSERT_EQUAL(read(caller, &byte, 1), 1);
	close(peer);
	close(caller);
	listener_close(&listener);
	CU_ASSERT_EQUAL(access(path, F_OK), 0);
	listener_close(&listener);
}

static void test_replaces_stale(void)
{
	CU_ASSERT_EQUAL_FATAL(listener_open(&listener, path, &err), 0);
	listener_close(&listener);
	CU_ASSERT_EQUAL(listener_open(&listener, path, &err), 0);
	close(call());
}

static void test_leaves_others(void)
{
	int fd, callers[64];
	size_t count = 0;
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	CU_ASSERT_EQUAL_FATAL(listener_open(&listener, path, &err), 0);
	refused(EADDRINUSE);
	/* One that listens, and is behind with its callers, is alive, too. */
	strcpy(address.sun_path, path);
	while (count < 64) {
		callers[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (connect(callers[count++], (struct sockaddr *)&address, sizeof(address)))
			break;
	}
	CU_ASSERT(count < 64 && errno == EAGAIN);
	refused(EADDRINUSE);
	while (count > 0)
		close(callers[--count]);
	listener_close(&listener);
	unlink(path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	refused(EEXIST);
	unlink(path);
	CU_ASSERT_EQUAL(symlink("/dev/null", path), 0);
	refused(EEXIST);
}

static void test_bad_paths(void)
{
	char keep[sizeof(path)], far[200];
	struct listener other;

	memset(far, 'x', sizeof(far) - 1);
	far[sizeof(far) - 1] = '\0';
	CU_ASSERT_EQUAL(listener_open(&other, far, &err), -ENAMETOOLONG);
	strcpy(keep, path);
	snprintf(path, sizeof(path), "%s/none/socket", directory);
	refused(ENOENT);
	strcpy(path, keep);
}

/* Whoever calls then is hung up on; else the loop would be woken by him for ever. */
static void test_no_fd_left(void)
{
	struct rlimit limit, less;
	struct pollfd caller = { .events = POLLIN };
	int peer;
	char byte;

	CU_ASSERT_EQUAL_FATAL(listener_open(&listener, path, &err), 0);
	caller.fd = call();
	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &limit), 0);
	less = (struct rlimit){ (rlim_t)caller.fd + 1, limit.rlim_max };
	CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &less), 0);
	CU_ASSERT_EQUAL(listener_accept(&listener), -1);
	setrlimit(RLIMIT_NOFILE, &limit);
	CU_ASSERT_EQUAL(poll(&caller, 1, 0), 1);
	CU_ASSERT_EQUAL(read(caller.fd, &byte, 1), 0);
	close(caller.fd);
	/* And the next one is served. */
	caller.fd = call();
	peer = listener_accept(&listener);
	CU_ASSERT(peer >= 0);
	close(peer);
	close(caller.fd);
}

static const CU_TestInfo tests[] = {
	{ "accepts callers", test_accepts },
	{ "replaces what nobody listens on", test_replaces_stale },
	{ "leaves what is somebody's", test_leaves_others },
	{ "paths that cannot be", test_bad_paths },
	{ "no fd is left", test_no_fd_left },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("listener", tests, set_up, tear_down);
}
