/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The filter on system calls, from inside: a child loads it and makes the calls. */
#include "cunit_main.h"
#include "syscall_filter.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* No exit status of a question: the filter could not be loaded. */
#define NOT_LOADED 255

/* A number that no system call will have for long. */
#define UNHEARD_OF 599

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/*
 * The errno that a question has (0: none) in a child that has the filter; minus the signal that ended it.
 */
static int ask(bool is_sim, int (*question)(void))
{
	pid_t child = fork();
	int status;

	if (child == 0)
		_exit(syscall_filter_load(is_sim, NULL) ? NOT_LOADED : question());
	CU_ASSERT_EQUAL_FATAL(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int errno_of(long result)
{
	return result < 0 ? errno : 0;
}

static int file(void)
{
	char byte;
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	return errno_of(fd < 0 ? fd : read(fd, &byte, 1));
}

static int unix_socket(void)
{
	return errno_of(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int internet_socket(void)
{
	return errno_of(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int netlink_socket(void)
{
	return errno_of(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static int ring(void)
{
	return errno_of(syscall(SYS_io_uring_setup, 1, NULL));
}

static int program(void)
{
	execl("/bin/sh", "sh", "-c", "grep -q 'Seccomp:.*2' /proc/self/status", NULL);
	return errno;
}

static int child_with_program(void)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(program());
	if (child < 0)
		return errno;
	return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void *thread_main(void *argument)
{
	return NULL;
}

static int thread(void)
{
	pthread_t thread;

	return pthread_create(&thread, NULL, thread_main, NULL) || pthread_join(thread, NULL);
}

static int clone_with(unsigned long flags)
{
	long child = syscall(SYS_clone, flags | SIGCHLD, 0L, NULL, NULL, 0L);

	if (child == 0)
		_exit(0);
	return errno_of(child);
}

static int network_namespace(void)
{
	return clone_with(CLONE_NEWNET);
}

static int user_namespace(void)
{
	return clone_with(CLONE_NEWUSER);
}

static int newer_clone(void)
{
	return errno_of(syscall(SYS_clone3, NULL, 0));
}

static int unheard_of(void)
{
	return errno_of(syscall(UNHEARD_OF));
}

static int read_process(pid_t pid)
{
	char from = 'x', to = 0;
	struct iovec source = { &from, 1 }, target = { &to, 1 };

	return errno_of(syscall(SYS_process_vm_readv, pid, &target, 1UL, &source, 1UL, 0UL));
}

static int own_memory(void)
{
	return read_process(getpid());
}

static int memory_of_another(void)
{
	return read_process(getppid());
}

static int new_privileges(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
}

static int trace(void)
{
	return errno_of(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int leave(void)
{
	return errno_of(unshare(CLONE_NEWNS));
}

static int mount_something(void)
{
	return errno_of(syscall(SYS_mount, "none", "/", "tmpfs", 0UL, NULL));
}

static int load_module(void)
{
	return errno_of(syscall(SYS_finit_module, -1, "", 0));
}

static int load_program(void)
{
	return errno_of(syscall(SYS_bpf, 0, NULL, 0));
}

static int load_kernel(void)
{
	return errno_of(syscall(SYS_kexec_load, 0UL, 0UL, NULL, 0UL));
}

static int key(void)
{
	return errno_of(syscall(SYS_keyctl, 0, 0, 0, 0, 0));
}

static void test_daily_calls(void)
{
	for (int is_sim = 0; is_sim < 2; is_sim++) {
		CU_ASSERT_EQUAL(ask(is_sim, file), 0);
		CU_ASSERT_EQUAL(ask(is_sim, unix_socket), 0);
		CU_ASSERT_EQUAL(ask(is_sim, thread), 0);
		CU_ASSERT_EQUAL(ask(is_sim, new_privileges), 0);
	}
}

static void test_refused(void)
{
	for (int is_sim = 0; is_sim < 2; is_sim++) {
		CU_ASSERT_EQUAL(ask(is_sim, internet_socket), EPERM);
		CU_ASSERT_EQUAL(ask(is_sim, netlink_socket), EPERM);
		CU_ASSERT_EQUAL(ask(is_sim, leave), EPERM);
		if (!SANITIZED) {
			CU_ASSERT_EQUAL(ask(is_sim, network_namespace), EPERM);
			CU_ASSERT_EQUAL(ask(is_sim, user_namespace), EPERM);
			CU_ASSERT_EQUAL(ask(is_sim, memory_of_another), EPERM);
		}
	}
}

static void test_missing(void)
{
	CU_ASSERT_EQUAL(ask(false, ring), ENOSYS);
	CU_ASSERT_EQUAL(ask(true, ring), ENOSYS);
	CU_ASSERT_EQUAL(ask(false, newer_clone), ENOSYS);
	CU_ASSERT_EQUAL(ask(true, newer_clone), ENOSYS);
	CU_ASSERT_EQUAL(ask(false, unheard_of), ENOSYS);
	CU_ASSERT_EQUAL(ask(true, unheard_of), ENOSYS);
}

static void test_deadly(void)
{
	static int (*const questions[])(
		void) = { mount_something, load_module, load_program, load_kernel, key };

	for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
		CU_ASSERT_EQUAL(ask(false, questions[i]), -SIGSYS);
		CU_ASSERT_EQUAL(ask(true, questions[i]), -SIGSYS);
	}
	if (!SANITIZED)
		CU_ASSERT_EQUAL(ask(true, trace), -SIGSYS);
}

/* Only where a QEMU has to be started; and it has the filter, too. */
static void test_programs(void)
{
	if (!SANITIZED) {
		CU_ASSERT_EQUAL(ask(false, program), EPERM);
		CU_ASSERT_EQUAL(ask(false, child_with_program), EPERM);
		CU_ASSERT_EQUAL(ask(false, own_memory), EPERM);
	}
	CU_ASSERT_EQUAL(ask(true, program), 0);
	CU_ASSERT_EQUAL(ask(true, child_with_program), 0);
	CU_ASSERT_EQUAL(ask(true, own_memory), 0);
}

static atomic_int stage;

static void *call_when_loaded(void *answer)
{
	atomic_store(&stage, 1);
	while (atomic_load(&stage) != 2)
		sched_yield();
	*(int *)answer = internet_socket();
	return NULL;
}

static int thread_of_before(void)
{
	pthread_t thread;
	int answer = 0;

	atomic_store(&stage, 0);
	if (pthread_create(&thread, NULL, call_when_loaded, &answer))
		return NOT_LOADED;
	while (atomic_load(&stage) != 1)
		sched_yield();
	if (syscall_filter_load(true, NULL))
		return NOT_LOADED;
	atomic_store(&stage, 2);
	pthread_join(thread, NULL);
	return answer;
}

static void test_threads_of_before(void)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		_exit(thread_of_before());
	CU_ASSERT_EQUAL_FATAL(waitpid(child, &status, 0), child);
	CU_ASSERT_TRUE(WIFEXITED(status));
	CU_ASSERT_EQUAL(WEXITSTATUS(status), EPERM);
}

int main(void)
{
	static const CU_TestInfo tests[] = {
		{ "what is used all day is there", test_daily_calls },
		{ "what is not on the list is EPERM", test_refused },
		{ "what is not there is ENOSYS", test_missing },
		{ "what only an attacker calls ends the process", test_deadly },
		{ "programs are run for backend=sim only", test_programs },
		{ "threads that are there have it, too", test_threads_of_before },
		CU_TEST_INFO_NULL,
	};

	return cunit_run("syscall_filter", tests, NULL, NULL);
}
