/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nefs-device itself: its options, sockets, fds and its end. */
#include "cunit_main.h"
#include "temporary.h"
#include "vfio_user_driver.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <nefs/cleanup.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#define PATIENCE_MS 20000
#define ARGUMENTS   8

static char directory[TEMPORARY_MAX], device_path[96], control_path[96], notify_path[96],
	output_path[96];
static int notify = -1;

/* A run of the program. */
struct run {
	pid_t pid;
	int pidfd;
};

static void require(bool fine, const char *what)
{
	if (fine)
		return;
	perror(what);
	abort();
}

static void set_up(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	temporary_directory(directory, "nefs-vfu");
	snprintf(device_path, sizeof(device_path), "%s/device", directory);
	snprintf(control_path, sizeof(control_path), "%s/control", directory);
	snprintf(notify_path, sizeof(notify_path), "%s/notify", directory);
	snprintf(output_path, sizeof(output_path), "%s/output", directory);
	notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	strcpy(address.sun_path, notify_path);
	require(bind(notify, (struct sockaddr *)&address, sizeof(address)) == 0, notify_path);
}

static void tear_down(void)
{
	close(notify);
	unlink(device_path);
	unlink(control_path);
	unlink(notify_path);
	unlink(output_path);
	require(rmdir(directory) == 0, directory);
}

/* Starts it; what it prints goes to output_path. Its fds are limited to so many, if not 0. */
static struct run run_limited(rlim_t fds, const char *argument, ...)
{
	char *arguments[ARGUMENTS] = { (char *)"nefs-device", (char *)argument };
	const struct rlimit limit = { fds, fds };
	struct run run;
	va_list more;

	va_start(more, argument);
	for (size_t i = 2; i < ARGUMENTS - 1 && arguments[i - 1]; i++)
		arguments[i] = va_arg(more, char *);
	va_end(more);
	run.pid = fork();
	require(run.pid >= 0, "fork");
	if (run.pid == 0) {
		int output = open(
			output_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);

		/* It does not outlive a test that aborts. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* The sockets are for their owner only whatever the umask is. */
		umask(0);
		setenv("NOTIFY_SOCKET", notify_path, 1);
		if (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0 ||
			(fds && setrlimit(RLIMIT_NOFILE, &limit)))
			_exit(126);
		execv(NEFS_DEVICE, arguments);
		_exit(127);
	}
	run.pidfd = pidfd_open(run.pid, 0);
	require(run.pidfd >= 0, "pidfd_open");
	return run;
}

#define run(...) run_limited(0, __VA_ARGS__, NULL)

/* Its exit status, or -1 - the signal that it died of, after a signal was sent to it (0: none). */
static int finish(const struct run *run, int signal)
{
	struct pollfd ended = { .fd = run->pidfd, .events = POLLIN };
	int status;

	if (signal)
		kill(run->pid, signal);
	if (poll(&ended, 1, PATIENCE_MS) != 1) {
		printf("it does not end\n");
		kill(run->pid, SIGKILL);
	}
	require(waitpid(run->pid, &status, 0) == run->pid, "waitpid");
	close(run->pidfd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1 - WTERMSIG(status);
}

static const char *output(void)
{
	static char text[8192];
	NEFS_AUTO_CLOSE int fd = open(output_path, O_RDONLY | O_CLOEXEC);
	ssize_t size = read(fd, text, sizeof(text) - 1);

	text[size > 0 ? size : 0] = '\0';
	return text;
}

/* Waits until it says that it is ready. */
static bool ready(void)
{
	struct pollfd said = { .fd = notify, .events = POLLIN };
	char text[64] = "";

	return poll(&said, 1, PATIENCE_MS) == 1 && recv(notify, text, sizeof(text) - 1, 0) > 0 &&
	       strcmp(text, "READY=1") == 0;
}

static struct run serve(void)
{
	struct run server = run("--socket", device_path, "--control", control_path, "--vm", "none");

	CU_ASSERT_TRUE_FATAL(ready());
	return server;
}

/* It says STOPPING=1, too: none of that is left for the next. */
static void drain(void)
{
	char text[64];

	while (recv(notify, text, sizeof(text), MSG_DONTWAIT) > 0)
		;
}

static int stop(const struct run *server, int signal)
{
	int status = finish(server, signal);

	drain();
	return status;
}

static bool answers(void)
{
	int control = client_connect(control_path);
	bool fine = strcmp(control_ask(control, "list\n"), "ok\n") == 0;

	close(control);
	return fine;
}

/* ---- options ---- */

static void test_tells(void)
{
	struct run server = run("--help");

	CU_ASSERT_EQUAL(finish(&server, 0), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(output(), "--socket PATH"));
	server = run("--version");
	CU_ASSERT_EQUAL(finish(&server, 0), 0);
	CU_ASSERT_STRING_EQUAL(output(), "nefs-device " NEFS_VERSION "\n");
}

static void test_wrong_options(void)
{
	static const struct {
		const char *arguments[4], *sentence;
	} table[] = {
		{ { NULL }, "--socket PATH is missing" },
		{ { "--socket", device_path, "--vm", "xen" }, "--vm is qemu or none" },
		{ { "--socket", device_path, "more" }, "one argument too many" },
		{ { "--nonsense" }, "--help" },
		{ { "--socket" }, "--help" },
		{ { "--socket", "/proc/none/such" }, "cannot make the socket" },
		{ { "--socket", "/tmp/123456789012345678901234567890123456789012345678901234567890"
				"1234567890123456789012345678901234567890123456789012" },
			"at most 107 characters" },
		{ { "--socket", device_path, "--regions", "0" }, "--regions is a number" },
		{ { "--socket", device_path, "--regions", "9x" }, "--regions is a number" },
		{ { "--socket", device_path, "--regions", "010" }, "--regions is a number" },
		{ { "--socket", device_path, "--regions", "+5" }, "--regions is a number" },
		{ { "--socket", device_path, "--regions", " 5" }, "--regions is a number" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const char *const *a = table[i].arguments;
		struct run server = run(a[0], a[1], a[2], a[3]);

		CU_ASSERT_EQUAL(finish(&server, 0), 1);
		CU_ASSERT_PTR_NOT_NULL(strstr(output(), table[i].sentence));
		if (!strstr(output(), table[i].sentence))
			printf("%zu: %s", i, output());
		CU_ASSERT_EQUAL(access(device_path, F_OK), -1);
	}
}

/* ---- sockets ---- */

static void test_sockets(void)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct run server = serve();
		struct stat device, control;
		int client = client_connect(device_path);

		CU_ASSERT_EQUAL(lstat(device_path, &device), 0);
		CU_ASSERT_EQUAL(device.st_mode, S_IFSOCK | 0600);
		CU_ASSERT_EQUAL(lstat(control_path, &control), 0);
		CU_ASSERT_EQUAL(control.st_mode, S_IFSOCK | 0600);
		CU_ASSERT_TRUE(client_greet(client));
		CU_ASSERT_TRUE(answers());
		/* In the middle of a message is no reason to stay. */
		CU_ASSERT_TRUE(client_send(client, "half", 4, NULL, 0));
		CU_ASSERT_STRING_EQUAL(output(), "");
		CU_ASSERT_EQUAL(stop(&server, signals[i]), 0);
		CU_ASSERT_TRUE(client_is_shut_out(client));
		CU_ASSERT_EQUAL(access(device_path, F_OK), -1);
		CU_ASSERT_EQUAL(access(control_path, F_OK), -1);
		close(client);
	}
}

/* Enclaves end with it, whatever they are doing. */
static void test_ends_with_enclaves(void)
{
	struct run server = serve();
	struct driver driver = driver_begin_at(device_path);

	driver_start(&driver, 0);
	driver_start(&driver, 1);
	CU_ASSERT_EQUAL(stop(&server, SIGTERM), 0);
	driver_end(&driver);
}

static void test_stale_sockets(void)
{
	struct run server = serve();

	CU_ASSERT_EQUAL(stop(&server, SIGKILL), -1 - SIGKILL);
	CU_ASSERT_EQUAL(access(device_path, F_OK), 0);
	server = serve();
	CU_ASSERT_TRUE(answers());
	CU_ASSERT_EQUAL(stop(&server, SIGTERM), 0);
}

static void test_live_sockets(void)
{
	struct run server = serve(), second;
	char other[104];
	int client;

	second = run("--socket", device_path);
	CU_ASSERT_EQUAL(finish(&second, 0), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(output(), "somebody listens on"));
	/* Its own socket goes if it can't have the other. */
	snprintf(other, sizeof(other), "%s.other", device_path);
	second = run("--socket", other, "--control", control_path);
	CU_ASSERT_EQUAL(finish(&second, 0), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(output(), "somebody listens on"));
	CU_ASSERT_EQUAL(access(other, F_OK), -1);
	/* The first has not noticed. */
	client = client_connect(device_path);
	CU_ASSERT_TRUE(client_greet(client));
	CU_ASSERT_TRUE(answers());
	close(client);
	CU_ASSERT_EQUAL(stop(&server, SIGTERM), 0);
}

static void test_no_socket(void)
{
	int fd = open(device_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	struct run server = run("--socket", device_path);
	struct stat file;

	close(fd);
	CU_ASSERT_EQUAL(finish(&server, 0), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(output(), "is no socket"));
	CU_ASSERT_EQUAL(lstat(device_path, &file), 0);
	CU_ASSERT_TRUE(S_ISREG(file.st_mode));
}

/* ---- fds ---- */

static size_t open_fds(const struct run *server)
{
	char path[64];
	size_t count = 0;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", server->pid);
	fds = opendir(path);
	require(fds, path);
	while (readdir(fds))
		count++;
	closedir(fds);
	return count;
}

/* Whatever came with a message, of whatever kind and however it ended, is gone with the client. */
static void test_no_leak(void)
{
	static const uint8_t nothing[64];
	struct run server = serve();
	int client = client_connect(device_path), fds[8];
	const struct {
		struct vfio_user_header header;
		uint32_t more;
	} half = { { 1, VFIO_USER_DMA_MAP, 48, 0, 0 }, 0 };
	struct driver driver;
	size_t before;

	CU_ASSERT_TRUE(client_greet(client));
	before = open_fds(&server);
	close(client);
	for (unsigned int round = 0; round < 3; round++) {
		driver = driver_begin_at(device_path);
		driver_start(&driver, 0);
		for (size_t i = 0; i < 8; i++)
			fds[i] = driver.memory;
		CU_ASSERT_EQUAL(driver_map(&driver, 1ULL << 40, 4096, driver.memory), 0);
		/* Refused, unknown, and meant for nothing. */
		CU_ASSERT_EQUAL(driver_map(&driver, 1ULL << 40, 4096, driver.memory), -1 - EEXIST);
		for (uint16_t command = 0; command < 20; command++)
			client_call(driver.client, command, nothing, 32, fds, 8, NULL, 0);
		/* Half a message. */
		CU_ASSERT_TRUE(client_send(driver.client, &half, sizeof(half), fds, 5));
		driver_end(&driver);
	}
	client = client_greet_at(device_path);
	CU_ASSERT_EQUAL(open_fds(&server), before);
	close(client);
	CU_ASSERT_EQUAL(stop(&server, SIGTERM), 0);
}

static uint64_t cpu_ns(const struct run *server)
{
	struct timespec used;
	clockid_t clock;

	require(clock_getcpuclockid(server->pid, &clock) == 0 && clock_gettime(clock, &used) == 0,
		"the time that it has used");
	return (uint64_t)used.tv_sec * 1000000000U + (uint64_t)used.tv_nsec;
}

/* A client with more windows than fds can be had: it is told, and control clients have theirs still. */
static void test_fds_run_out(void)
{
	enum { LIMIT = 128, CROWD = 100 };
	struct run server = run_limited(
		LIMIT, "--socket", device_path, "--control", control_path, "--vm", "none", NULL);
	struct driver driver;
	unsigned int windows = 0;
	int crowd[CROWD];
	ssize_t got;
	uint64_t used;

	CU_ASSERT_TRUE_FATAL(ready());
	driver = driver_begin_at(device_path);
	do {
		got = driver_map(&driver, (1ULL << 40) + windows * 4096ULL, 4096, driver.memory);
	} while (got == 0 && ++windows < 10000);
	CU_ASSERT_EQUAL(got, -1 - EMFILE);
	CU_ASSERT_TRUE(windows > LIMIT / 4 && windows < LIMIT);
	CU_ASSERT_TRUE(answers());
	/* A crowd takes the rest. Those for whom there is none are hung up on, not left to wait. */
	for (size_t i = 0; i < CROWD; i++)
		crowd[i] = client_connect(control_path);
	CU_ASSERT_TRUE(client_is_shut_out(crowd[CROWD - 1]));
	used = cpu_ns(&server);
	usleep(500000);
	CU_ASSERT_TRUE(cpu_ns(&server) - used < 100000000U);
	for (size_t i = 0; i < CROWD; i++)
		close(crowd[i]);
	CU_ASSERT_TRUE(answers());
	CU_ASSERT_EQUAL(driver_map(&driver, 1ULL << 40, 4096, -1), -1 - EEXIST);
	driver_end(&driver);
	CU_ASSERT_EQUAL(stop(&server, SIGTERM), 0);
}

static const CU_TestInfo tests[] = {
	{ "help and version", test_tells },
	{ "wrong options", test_wrong_options },
	{ "its sockets", test_sockets },
	{ "its end with enclaves", test_ends_with_enclaves },
	{ "sockets of one that died", test_stale_sockets },
	{ "sockets of one that lives", test_live_sockets },
	{ "a file where the socket is to be", test_no_socket },
	{ "no fd is left", test_no_leak },
	{ "fds run out", test_fds_run_out },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("vfio_user_program", tests, set_up, tear_down);
}
