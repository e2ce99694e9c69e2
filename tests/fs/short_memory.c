/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that runs out when a test says so, for a program as it is: LD_PRELOAD puts these functions in front of the C
 * library's, for the program, its libraries, and the C library itself. The test writes what is to fail
 * into a file that both have mapped, NEFS_SHORT_MEMORY, and reads there what was asked for; no signal, no system
 * call. tests/fs/short_memory.py is its other end.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The file. Zeros: nothing fails. */
struct orders {
	atomic_uint period; /* one in so many fails, which ones by the seed; 0: none */
	atomic_uint seed;
	atomic_llong left;   /* so many more succeed, then one fails; negative: none does by this */
	atomic_ullong calls; /* what was asked for since it was 0 */
	atomic_ullong failures;
};

/* What the loader allocates while it looks for the real functions; never given back. */
static _Alignas(max_align_t) char first[1 << 16];
static atomic_size_t first_used;

static struct orders *_Atomic orders;

static struct {
	void *(*malloc)(size_t size);
	void *(*calloc)(size_t count, size_t size);
	void *(*realloc)(void *old, size_t size);
	void *(*memalign)(size_t alignment, size_t size);
	void (*free)(void *memory);
	atomic_int found; /* 1: they are being looked for; 2: they are there */
} real;

__attribute__((constructor)) static void map_orders(void)
{
	const char *path = getenv("NEFS_SHORT_MEMORY");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *mapped;

	if (fd < 0)
		return;
	mapped = mmap(NULL, sizeof(struct orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (mapped != MAP_FAILED)
		atomic_store(&orders, mapped);
}

/* Well mixed, so that neighbouring numbers have nothing in common. */
static uint32_t mix(uint64_t number)
{
	number = (number ^ number >> 30) * 0xbf58476d1ce4e5b9U;
	number = (number ^ number >> 27) * 0x94d049bb133111ebU;
	return (uint32_t)(number >> 32);
}

static bool fails(void)
{
	struct orders *now = atomic_load_explicit(&orders, memory_order_relaxed);
	unsigned int period;
	uint64_t number;
	bool failing;

	if (!now)
		return false;
	number = atomic_fetch_add(&now->calls, 1);
	period = atomic_load(&now->period);
	failing = period && mix(number + ((uint64_t)atomic_load(&now->seed) << 40)) % period == 0;
	if (atomic_load(&now->left) >= 0 && atomic_fetch_sub(&now->left, 1) == 0)
		failing = true;
	if (!failing)
		return false;
	atomic_fetch_add(&now->failures, 1);
	errno = ENOMEM;
	return true;
}

static bool is_first(const void *memory)
{
	return (const char *)memory >= first && (const char *)memory < first + sizeof(first);
}

static void *take_first(size_t size)
{
	size_t rounded = (size + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
	size_t at = atomic_fetch_add(&first_used, rounded);

	return at + rounded <= sizeof(first) ? first + at : NULL;
}

static void look_up(void *function, const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	memcpy(function, &found, sizeof(found));
}

/* False while they are being looked for. */
static bool have_real(void)
{
	int none = 0;

	if (atomic_load(&real.found) == 2)
		return true;
	if (!atomic_compare_exchange_strong(&real.found, &none, 1))
		return false;
	look_up(&real.malloc, "malloc");
	look_up(&real.calloc, "calloc");
	look_up(&real.realloc, "realloc");
	look_up(&real.memalign, "memalign");
	look_up(&real.free, "free");
	atomic_store(&real.found, 2);
	return true;
}

void *malloc(size_t size)
{
	if (!have_real())
		return take_first(size);
	return fails() ? NULL : real.malloc(size);
}

void *calloc(size_t count, size_t size)
{
	/* The loader asks for little, and static memory is zero. */
	if (!have_real())
		return take_first(count * size);
	return fails() ? NULL : real.calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	void *fresh;

	if (have_real() && !is_first(old))
		return fails() ? NULL : real.realloc(old, size);
	fresh = malloc(size);
	/* How large it was nobody knows; what is behind it is there, too. */
	if (fresh && old)
		memcpy(fresh, old,
			size < (size_t)(first + sizeof(first) - (char *)old)
				? size
				: (size_t)(first + sizeof(first) - (char *)old));
	return fresh;
}

void *reallocarray(void *old, size_t count, size_t size)
{
	size_t all;

	if (__builtin_mul_overflow(count, size, &all)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(old, all);
}

void *memalign(size_t alignment, size_t size)
{
	if (!have_real())
		return NULL;
	return fails() ? NULL : real.memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **result, size_t alignment, size_t size)
{
	int saved = errno;
	void *memory = memalign(alignment, size);

	errno = saved;
	if (!memory)
		return ENOMEM;
	*result = memory;
	return 0;
}

void free(void *memory)
{
	if (memory && !is_first(memory) && have_real())
		real.free(memory);
}
