/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NE_SET_USER_MEMORY_REGION: what memory is taken, in how many regions, and until when. */
#include "subject.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Ordinary memory: 2 MiB, aligned to that, of a reservation twice as large. */
struct ordinary {
	void *reserved;
	char *page;
};

static void ordinary_end(struct ordinary *ordinary)
{
	if (ordinary->page)
		munmap(ordinary->reserved, 2 * PAGE);
}

#define ORDINARY(name) struct ordinary name __attribute__((cleanup(ordinary_end))) = { 0 }

static bool ordinary_map(struct ordinary *ordinary, int protection, int flags, int fd)
{
	ordinary->reserved = mmap(NULL, 2 * PAGE, protection, flags, fd, 0);
	if (ordinary->reserved == MAP_FAILED)
		return false;
	ordinary->page = (char *)(((uintptr_t)ordinary->reserved + PAGE - 1) & ~(PAGE - 1));
	return true;
}

static int add_ordinary(struct conformance *conformance, int protection, int flags, int fd)
{
	ORDINARY(ordinary);
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(ordinary_map(&ordinary, protection, flags, fd));
	return subject_add_part(&subject, ordinary.page, 0, PAGE);
}

static int memory_untouched(struct conformance *conformance)
{
	return add_ordinary(conformance, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}

static int memory_read_only(struct conformance *conformance)
{
	return add_ordinary(conformance, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static int memory_without_access(struct conformance *conformance)
{
	return add_ordinary(conformance, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static int memory_of_a_file(struct conformance *conformance)
{
	int fd = memfd_create("ne-conformance", MFD_CLOEXEC), result;

	REQUIRE(fd >= 0 && ftruncate(fd, (off_t)(2 * PAGE)) == 0);
	result = add_ordinary(conformance, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	close(fd);
	return result;
}

static int memory_unmapped(struct conformance *conformance)
{
	SUBJECT(subject);
	void *address;

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_map(&subject, PAGE) == 0);
	address = subject.memory;
	conformance->dev->ops->unmap(conformance->dev, address, PAGE);
	subject.memory = NULL;
	return subject_add_part(&subject, address, 0, PAGE);
}

#define TRIES 16

/*
 * A huge page with something else right behind it: both together, and then the page alone, which
 * the first call must not have kept.
 */
static int add_with_neighbour(struct conformance *conformance, int protection, int *both)
{
	struct subject tries[TRIES];
	int made = 0, result = -EADDRINUSE;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	/* Not each mapping has room behind it. */
	while (result == -EADDRINUSE && made < TRIES) {
		char *behind, *wanted;

		tries[made] = (struct subject){ .conformance = conformance, .fd = -1 };
		result = subject_map(&tries[made++], PAGE);
		if (result)
			break;
		wanted = (char *)tries[made - 1].memory + PAGE;
		/* Linux puts one mapping right before the last: the last makes way. */
		if (made > 1 && wanted == tries[made - 2].memory)
			subject_end(&tries[made - 2]);
		behind = mmap(wanted, PAGE, protection,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		result = -EADDRINUSE;
		if (behind == wanted) {
			*both = subject_add_part(&subject, tries[made - 1].memory, 0, 2 * PAGE);
			result = subject_add_part(&subject, tries[made - 1].memory, 0, PAGE);
		}
		if (behind != MAP_FAILED)
			munmap(behind, PAGE);
	}
	while (made > 0)
		subject_end(&tries[--made]);
	return result;
}

static int memory_then_none(struct conformance *conformance)
{
	int both = 0;

	EXPECT(add_with_neighbour(conformance, PROT_NONE, &both), 0);
	return both;
}

static int memory_then_ordinary(struct conformance *conformance)
{
	int both = 0;

	EXPECT(add_with_neighbour(conformance, PROT_READ | PROT_WRITE, &both), 0);
	return both;
}

/* ---- several regions ---- */

static int memory_neighbours(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_map(&subject, 4 * PAGE) == 0);
	EXPECT(subject_add_part(&subject, subject.memory, PAGE, PAGE), 0);
	EXPECT(subject_add_part(&subject, subject.memory, 0, PAGE), 0);
	EXPECT(subject_add_part(&subject, subject.memory, 2 * PAGE, 2 * PAGE), 0);
	return 0;
}

static int memory_around_a_region(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_map(&subject, 3 * PAGE) == 0);
	EXPECT(subject_add_part(&subject, subject.memory, PAGE, PAGE), 0);
	EXPECT(subject_add_part(&subject, subject.memory, 0, 2 * PAGE),
		-NE_ERR_MEM_REGION_ALREADY_USED);
	EXPECT(subject_add_part(&subject, subject.memory, PAGE, 2 * PAGE),
		-NE_ERR_MEM_REGION_ALREADY_USED);
	return subject_add_part(&subject, subject.memory, 0, 3 * PAGE);
}

static int memory_from_two_mappings(struct conformance *conformance)
{
	SUBJECT(other);
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_map(&subject, PAGE) == 0 && subject_map(&other, 2 * PAGE) == 0);
	EXPECT(subject_add_part(&subject, other.memory, 0, 2 * PAGE), 0);
	return subject_add_memory(&subject);
}

/* As many calls as pages, from the last page to the first. */
static int memory_page_by_page(struct conformance *conformance)
{
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_map(&subject, ENCLAVE_MIN) == 0);
	for (uint64_t at = ENCLAVE_MIN; at > 0; at -= PAGE)
		EXPECT(subject_add_part(&subject, subject.memory, at - PAGE, PAGE), 0);
	EXPECT(subject_add_core(&subject), 0);
	return subject_start(&subject, 0);
}

static int memory_is_not_cleared(struct conformance *conformance)
{
	SUBJECT(subject);
	char *memory;

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_map(&subject, PAGE) == 0);
	memory = subject.memory;
	memset(memory, 0xa5, 64);
	memory[PAGE - 1] = 0x5a;
	EXPECT(subject_add_memory(&subject), 0);
	REQUIRE(memory[0] == (char)0xa5 && memory[63] == (char)0xa5 && memory[PAGE - 1] == 0x5a);
	/* The image is put in after it was given. */
	memory[64] = 1;
	REQUIRE(memory[64] == 1);
	return 0;
}

static int memory_argument_is_left(struct conformance *conformance)
{
	struct ne_user_memory_region region = { .memory_size = PAGE }, before;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_map(&subject, PAGE) == 0);
	region.userspace_addr = (uintptr_t)subject.memory;
	before = region;
	EXPECT(on_fd(conformance, subject.fd, NE_SET_USER_MEMORY_REGION, &region), 0);
	REQUIRE(memcmp(&region, &before, sizeof(region)) == 0);
	return 0;
}

/* ---- the device's limit of regions ---- */

static int memory_regions_used_up(struct conformance *conformance)
{
	uint64_t max = conformance->lab->regions_max;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_map(&subject, (max + 1) * PAGE) == 0);
	for (uint64_t i = 0; i < max; i++)
		EXPECT(subject_add_part(&subject, subject.memory, i * PAGE, PAGE), 0);
	/* Refused twice: it is not kept the first time. */
	EXPECT(subject_add_part(&subject, subject.memory, max * PAGE, PAGE),
		-NE_ERR_MEM_MAX_REGIONS);
	return subject_add_part(&subject, subject.memory, max * PAGE, PAGE);
}

static int memory_is_merged(struct conformance *conformance)
{
	const struct lab *lab = conformance->lab;
	uint64_t max = lab->regions_max;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(lab->arrange(lab->context, max + 1) == 0);
	REQUIRE(subject_map(&subject, (max + 1) * PAGE) == 0);
	/* One call of many pages is a region; so there is room for another. */
	EXPECT(subject_add_part(&subject, subject.memory, PAGE, max * PAGE), 0);
	return subject_add_part(&subject, subject.memory, 0, PAGE);
}

/* ---- NUMA ---- */

static int memory_of_another_node(struct conformance *conformance)
{
	const struct lab *lab = conformance->lab;
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(lab->map_other_node(lab->context, &subject.memory) == 0);
	subject.memory_size = PAGE;
	return subject_add_memory(&subject);
}

/* ---- until when ---- */

static int memory_outlives_its_mapping(struct conformance *conformance)
{
	int64_t before = free_pages(conformance), pages = ENCLAVE_MIN / PAGE;
	SUBJECT(subject);

	REQUIRE(subject_make(&subject, STATE_RUNNING));
	REQUIRE(free_pages(conformance) == before - pages);
	conformance->dev->ops->unmap(conformance->dev, subject.memory, subject.memory_size);
	subject.memory = NULL;
	REQUIRE(free_pages(conformance) == before - pages);
	REQUIRE(events_of(subject.fd, 20) == 0);
	subject_end(&subject);
	REQUIRE(free_pages(conformance) == before);
	return 0;
}

static int memory_outlives_its_enclave(struct conformance *conformance)
{
	int64_t before = free_pages(conformance), pages = ENCLAVE_MIN / PAGE;
	SUBJECT(memory);
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_map(&memory, ENCLAVE_MIN) == 0);
	EXPECT(subject_add_part(&subject, memory.memory, 0, ENCLAVE_MIN), 0);
	subject_end(&subject);
	REQUIRE(free_pages(conformance) == before - pages);
	memset(memory.memory, 1, 64);
	/* And may be given to the next one. */
	REQUIRE(subject_create(&subject) >= 0);
	return subject_add_part(&subject, memory.memory, 0, ENCLAVE_MIN);
}

static int memory_refused_is_not_held(struct conformance *conformance)
{
	int64_t before = free_pages(conformance);
	SUBJECT(memory);
	SUBJECT(subject);

	REQUIRE(subject_create(&subject) >= 0);
	REQUIRE(subject_map(&memory, 2 * PAGE) == 0);
	EXPECT(subject_add_part(&subject, memory.memory, 0, PAGE + 1),
		-NE_ERR_INVALID_MEM_REGION_SIZE);
	subject_end(&memory);
	REQUIRE(free_pages(conformance) == before);
	return 0;
}

const struct conformance_case memory_cases[] = {
	{ "memory: ordinary pages, untouched", memory_untouched, -NE_ERR_MEM_NOT_HUGE_PAGE },
	{ "memory: ordinary pages, read-only", memory_read_only, -NE_ERR_MEM_NOT_HUGE_PAGE },
	{ "memory: a file's pages", memory_of_a_file, -NE_ERR_MEM_NOT_HUGE_PAGE },
	{ "memory: without access", memory_without_access, -EFAULT },
	{ "memory: huge pages that were unmapped", memory_unmapped, -EFAULT },
	{ "memory: a huge page, then none", memory_then_none, -EFAULT },
	{ "memory: a huge page, then ordinary ones", memory_then_ordinary,
		-NE_ERR_MEM_NOT_HUGE_PAGE },
	{ "memory: neighbours", memory_neighbours },
	{ "memory: around a region", memory_around_a_region, -NE_ERR_MEM_REGION_ALREADY_USED },
	{ "memory: from two mappings", memory_from_two_mappings },
	{ "memory: page by page, backwards", memory_page_by_page },
	{ "memory: its content is kept", memory_is_not_cleared },
	{ "memory: the argument is left alone", memory_argument_is_left },
	{ "memory: the regions used up", memory_regions_used_up, -NE_ERR_MEM_MAX_REGIONS,
		NEED_REGIONS },
	{ "memory: contiguous pages are a region", memory_is_merged, 0,
		NEED_REGIONS | NEED_ARRANGE },
	{ "memory: of another NUMA node", memory_of_another_node, -NE_ERR_MEM_DIFFERENT_NUMA_NODE,
		NEED_OTHER_NODE },
	{ "memory: pages outlive their mapping", memory_outlives_its_mapping },
	{ "memory: pages outlive their enclave", memory_outlives_its_enclave },
	{ "memory: what is refused is not held", memory_refused_is_not_held },
	{ NULL },
};
