/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System calls that fail when a test says so, for a program as it is: LD_PRELOAD puts these functions in front of the C
 * library's, for the program and its libraries. The test writes which one is to fail, and how, into a file that
 * both have mapped, NEFS_FAILING_CALLS. tests/fs/failing_calls.py is its other end.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum call {
	CALL_OPEN,
	CALL_OPENAT,
	CALL_MEMFD_CREATE,
	CALL_PREAD,
	CALL_PWRITE,
	CALL_FTRUNCATE,
	CALL_FALLOCATE,
	CALL_FSTATVFS,
	CALL_DUP3,
	CALL_F_DUPFD,
	CALL_PIPE2,
	CALL_SOCKET,
	CALL_SOCKETPAIR,
	CALL_EVENTFD,
	CALL_TIMERFD_CREATE,
	CALL_EPOLL_CTL,
	CALL_FORK,
	CALL_PTHREAD_CREATE,
	CALL_MKFIFO,
	CALL_CLOCK, /* CLOCK_REALTIME is so many seconds (error) from what it is */
	CALLS,
};

/* Of each of them; zeros: it works. */
struct order {
	atomic_int error;   /* it fails with this errno; -1: it does half of what it is to do */
	atomic_uint left;   /* so many more work before that */
	atomic_uint times;  /* how often it fails then; 0: always */
	atomic_uint failed; /* how often it has */
};

static struct order *_Atomic orders;

__attribute__((constructor)) static void map_orders(void)
{
	const char *path = getenv("NEFS_FAILING_CALLS");
	int (*real_open)(const char *name, int flags, ...);
	void *found = dlsym(RTLD_NEXT, "open"), *mapped;
	int fd;

	memcpy(&real_open, &found, sizeof(found));
	fd = path ? real_open(path, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	mapped =
		mmap(NULL, CALLS * sizeof(struct order), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (mapped != MAP_FAILED)
		atomic_store(&orders, mapped);
}

/* 0: it works. */
static int failure(enum call call)
{
	struct order *now = atomic_load(&orders);
	int error = now ? atomic_load(&now[call].error) : 0;
	unsigned int left;

	if (!error)
		return 0;
	left = atomic_load(&now[call].left);
	while (left > 0)
		if (atomic_compare_exchange_weak(&now[call].left, &left, left - 1))
			return 0;
	if (atomic_load(&now[call].times) &&
		atomic_fetch_add(&now[call].failed, 1) >= atomic_load(&now[call].times))
		return 0;
	return error;
}

static bool fails(enum call call)
{
	int error = failure(call);

	if (error > 0)
		errno = error;
	return error > 0;
}

/* The real one, as what the function before it is declared as. */
#define REAL(name)                                                                                 \
	__extension__({                                                                            \
		static void *_Atomic found_;                                                       \
		__typeof__(&name) function_;                                                       \
		void *next_ = atomic_load(&found_);                                                \
		if (!next_) {                                                                      \
			next_ = dlsym(RTLD_NEXT, #name);                                           \
			atomic_store(&found_, next_);                                              \
		}                                                                                  \
		memcpy(&function_, &next_, sizeof(next_));                                         \
		function_;                                                                         \
	})

static mode_t mode_of(int flags, va_list arguments)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(name)                                                                                 \
	int name(const char *path, int flags, ...)                                                 \
	{                                                                                          \
		va_list arguments;                                                                 \
		mode_t mode;                                                                       \
                                                                                                   \
		va_start(arguments, flags);                                                        \
		mode = mode_of(flags, arguments);                                                  \
		va_end(arguments);                                                                 \
		return fails(CALL_OPEN) ? -1 : REAL(name)(path, flags, mode);                      \
	}

#define OPENAT(name)                                                                               \
	int name(int directory, const char *path, int flags, ...)                                  \
	{                                                                                          \
		va_list arguments;                                                                 \
		mode_t mode;                                                                       \
                                                                                                   \
		va_start(arguments, flags);                                                        \
		mode = mode_of(flags, arguments);                                                  \
		va_end(arguments);                                                                 \
		return fails(CALL_OPENAT) ? -1 : REAL(name)(directory, path, flags, mode);         \
	}

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int memfd_create(const char *name, unsigned int flags)
{
	return fails(CALL_MEMFD_CREATE) ? -1 : REAL(memfd_create)(name, flags);
}

/* Half of it; all of one byte. */
static size_t part(size_t size)
{
	return size > 1 ? size / 2 : size;
}

#define TRANSFER(name, call, data_type)                                                            \
	ssize_t name(int fd, data_type data, size_t size, off64_t offset)                          \
	{                                                                                          \
		int error = failure(call);                                                         \
                                                                                                   \
		if (error > 0) {                                                                   \
			errno = error;                                                             \
			return -1;                                                                 \
		}                                                                                  \
		return REAL(name)(fd, data, error < 0 ? part(size) : size, offset);                \
	}

TRANSFER(pread, CALL_PREAD, void *)
TRANSFER(pread64, CALL_PREAD, void *)
TRANSFER(pwrite, CALL_PWRITE, const void *)
TRANSFER(pwrite64, CALL_PWRITE, const void *)

ssize_t __pread64_chk(int fd, void *data, size_t size, off64_t offset, size_t room);

/* What a program that is built with _FORTIFY_SOURCE calls. */
ssize_t __pread64_chk(int fd, void *data, size_t size, off64_t offset, size_t room)
{
	if (size > room)
		abort();
	return pread64(fd, data, size, offset);
}

#define TRUNCATE(name)                                                                             \
	int name(int fd, off64_t size)                                                             \
	{                                                                                          \
		return fails(CALL_FTRUNCATE) ? -1 : REAL(name)(fd, size);                          \
	}

TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define ALLOCATE(name)                                                                             \
	int name(int fd, int mode, off64_t offset, off64_t size)                                   \
	{                                                                                          \
		return fails(CALL_FALLOCATE) ? -1 : REAL(name)(fd, mode, offset, size);            \
	}

ALLOCATE(fallocate)
ALLOCATE(fallocate64)

int fstatvfs(int fd, struct statvfs *status)
{
	return fails(CALL_FSTATVFS) ? -1 : REAL(fstatvfs)(fd, status);
}

int fstatvfs64(int fd, struct statvfs64 *status)
{
	return fails(CALL_FSTATVFS) ? -1 : REAL(fstatvfs64)(fd, status);
}

int dup3(int old, int fd, int flags)
{
	return fails(CALL_DUP3) ? -1 : REAL(dup3)(old, fd, flags);
}

#define CONTROL(name)                                                                              \
	int name(int fd, int command, ...)                                                         \
	{                                                                                          \
		va_list arguments;                                                                 \
		void *argument;                                                                    \
                                                                                                   \
		va_start(arguments, command);                                                      \
		argument = va_arg(arguments, void *);                                              \
		va_end(arguments);                                                                 \
		if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && fails(CALL_F_DUPFD))     \
			return -1;                                                                 \
		return REAL(name)(fd, command, argument);                                          \
	}

CONTROL(fcntl)
CONTROL(fcntl64)

int pipe2(int ends[2], int flags)
{
	return fails(CALL_PIPE2) ? -1 : REAL(pipe2)(ends, flags);
}

int socket(int domain, int type, int protocol)
{
	return fails(CALL_SOCKET) ? -1 : REAL(socket)(domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int ends[2])
{
	return fails(CALL_SOCKETPAIR) ? -1 : REAL(socketpair)(domain, type, protocol, ends);
}

int eventfd(unsigned int count, int flags)
{
	return fails(CALL_EVENTFD) ? -1 : REAL(eventfd)(count, flags);
}

int timerfd_create(clockid_t clock, int flags)
{
	return fails(CALL_TIMERFD_CREATE) ? -1 : REAL(timerfd_create)(clock, flags);
}

/* What is watched anew takes the kernel's memory. */
int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	return operation == EPOLL_CTL_ADD && fails(CALL_EPOLL_CTL)
		       ? -1
		       : REAL(epoll_ctl)(epoll, operation, fd, event);
}

pid_t fork(void)
{
	return fails(CALL_FORK) ? -1 : REAL(fork)();
}

int pthread_create(
	pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
	int error = failure(CALL_PTHREAD_CREATE);

	return error > 0 ? error : REAL(pthread_create)(thread, attributes, run, argument);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	struct order *all = atomic_load(&orders);
	int failed = REAL(clock_gettime)(clock, now);

	if (!failed && clock == CLOCK_REALTIME && all)
		now->tv_sec += atomic_load(&all[CALL_CLOCK].error);
	return failed;
}

int mkfifo(const char *path, mode_t mode)
{
	return fails(CALL_MKFIFO) ? -1 : REAL(mkfifo)(path, mode);
}
