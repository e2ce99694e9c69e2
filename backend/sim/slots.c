/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "slots.h"
#include "vm.h"
#include <errno.h>
#include <nefs/cleanup.h>
#include <nefs/ne_limits.h>
#include <nefs/ne_pci.h>
#include <nefs/text_stream.h>
#include <search.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct slots {
	struct slot **table; /* by ascending uid: new ones go to the end */
	size_t count;
	size_t room;
	uint64_t last_uid;
	uint64_t next_cid;
	uint64_t regions_max;
	void *regions; /* tsearch tree of struct slot_region: all that are owned */
	void *cids;    /* tsearch tree of struct slot: all that have a CID */
	uint64_t vcpu_used[NE_CPUS_MAX / 64];
};

/* Regions that overlap are equal: as those in the tree are disjoint, their order is total. */
static int compare_regions(const void *left, const void *right)
{
	const struct slot_region *a = left;
	const struct slot_region *b = right;

	if (a->paddr + a->size <= b->paddr)
		return -1;
	return b->paddr + b->size <= a->paddr;
}

static int compare_cids(const void *left, const void *right)
{
	const struct slot *a = left;
	const struct slot *b = right;

	return (a->cid > b->cid) - (a->cid < b->cid);
}

struct slots *slots_new(void)
{
	struct slots *slots = calloc(1, sizeof(*slots));

	if (!slots)
		return NULL;
	slots->next_cid = SLOT_CID_FIRST;
	slots->regions_max = SLOT_REGIONS_MAX;
	return slots;
}

void slots_free(struct slots *slots)
{
	if (!slots)
		return;
	while (slots->count > 0)
		slots_release(slots, slots->table[slots->count - 1]);
	free(slots->table);
	free(slots);
}

void slots_set_regions_max(struct slots *slots, uint64_t max)
{
	slots->regions_max = max;
}

size_t slots_count(const struct slots *slots)
{
	return slots->count;
}

struct slot *slots_at(const struct slots *slots, size_t index)
{
	return slots->table[index];
}

/* Index of the first slot whose uid is at least uid. */
static size_t find_index(const struct slots *slots, uint64_t uid)
{
	size_t low = 0, high = slots->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (slots->table[middle]->uid >= uid)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

struct slot *slots_find(const struct slots *slots, uint64_t uid)
{
	size_t at = find_index(slots, uid);

	return at < slots->count && slots->table[at]->uid == uid ? slots->table[at] : NULL;
}

struct slot *slots_next(const struct slots *slots, uint64_t uid)
{
	size_t at = uid == UINT64_MAX ? slots->count : find_index(slots, uid + 1);

	return at < slots->count ? slots->table[at] : NULL;
}

struct slot *slots_find_cid(const struct slots *slots, uint64_t cid)
{
	const struct slot key = { .cid = cid };
	void *found = tfind(&key, &slots->cids, compare_cids);

	return found ? *(struct slot **)found : NULL;
}

int slots_alloc(struct slots *slots, struct slot **result)
{
	struct slot *slot;

	if (slots->count == SLOT_COUNT_MAX)
		return -ENOSPC;
	if (slots->count == slots->room) {
		size_t room = slots->room ? 2 * slots->room : 16;
		void *larger = realloc(slots->table, room * sizeof(slots->table[0]));

		if (!larger)
			return -ENOMEM;
		slots->table = larger;
		slots->room = room;
	}
	slot = calloc(1, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	slot->uid = ++slots->last_uid;
	slot->state = NE_SLOT_INIT;
	slot->regions_max = slots->regions_max;
	slot->owner = VM_NO_OWNER;
	slot->regions_tail = &slot->regions;
	slots->table[slots->count++] = slot;
	*result = slot;
	return 0;
}

void slots_release(struct slots *slots, struct slot *slot)
{
	size_t at = find_index(slots, slot->uid);
	struct slot_region *region;

	slots->count--;
	memmove(slots->table + at, slots->table + at + 1,
		(slots->count - at) * sizeof(slots->table[0]));
	slots_clear_cid(slots, slot);
	while ((region = slot->regions)) {
		slot->regions = region->next;
		tdelete(region, &slots->regions, compare_regions);
		free(region);
	}
	for (size_t i = 0; i < slot->vcpu_id_count; i++)
		slots->vcpu_used[slot->vcpu_ids[i] / 64] &= ~(1ULL << slot->vcpu_ids[i] % 64);
	free(slot->vcpu_ids);
	free(slot);
}

int slots_add_region(struct slots *slots, struct slot *slot, uint64_t paddr, uint64_t size)
{
	NEFS_AUTO_FREE struct slot_region *region = calloc(1, sizeof(*region));
	struct slot_region **found;

	if (!region)
		return -ENOMEM;
	if (slot->region_count >= slot->regions_max)
		return -ENOSPC;
	*region = (struct slot_region){ .paddr = paddr, .size = size };
	found = tsearch(region, &slots->regions, compare_regions);
	if (!found)
		return -ENOMEM;
	if (*found != region)
		return -EEXIST;
	*slot->regions_tail = region;
	slot->regions_tail = &region->next;
	slot->region_count++;
	slot->mem_size += size;
	region = NULL;
	return 0;
}

int slots_add_vcpu(struct slots *slots, struct slot *slot, uint32_t id)
{
	if (id >= NE_CPUS_MAX)
		return -EINVAL;
	if (slots->vcpu_used[id / 64] & 1ULL << id % 64)
		return -EEXIST;
	if (slot->vcpu_id_count == slot->vcpu_id_room) {
		size_t room = slot->vcpu_id_room ? 2 * slot->vcpu_id_room : 2;
		void *larger = realloc(slot->vcpu_ids, room * sizeof(slot->vcpu_ids[0]));

		if (!larger)
			return -ENOMEM;
		slot->vcpu_ids = larger;
		slot->vcpu_id_room = room;
	}
	slots->vcpu_used[id / 64] |= 1ULL << id % 64;
	slot->vcpu_ids[slot->vcpu_id_count++] = id;
	slot->nr_vcpus++;
	return 0;
}

int slots_set_cid(struct slots *slots, struct slot *slot, uint64_t cid)
{
	struct slot **found;

	if (cid == 0) {
		/* There are fewer slots than CIDs: at most SLOT_COUNT_MAX steps find a free one. */
		do {
			cid = slots->next_cid;
			slots->next_cid = cid == NE_CID_LAST ? SLOT_CID_FIRST : cid + 1;
		} while (slots_find_cid(slots, cid));
	}
	slot->cid = cid;
	found = tsearch(slot, &slots->cids, compare_cids);
	if (found && *found == slot)
		return 0;
	slot->cid = 0;
	return found ? -EBUSY : -ENOMEM;
}

void slots_clear_cid(struct slots *slots, struct slot *slot)
{
	if (slot->cid == 0)
		return;
	tdelete(slot, &slots->cids, compare_cids);
	slot->cid = 0;
}

static const char *state_name(uint16_t state)
{
	switch (state) {
	case NE_SLOT_INIT:
		return "init";
	case NE_SLOT_RUNNING:
		return "running";
	default:
		return "stopped";
	}
}

char *slots_text(const struct slots *slots)
{
	struct text_stream stream;

	if (text_stream_open(&stream))
		return NULL;
	for (size_t i = 0; i < slots->count; i++) {
		const struct slot *slot = slots->table[i];

		fprintf(stream.out, "%#llx %s %llu %llu %llu\n", (unsigned long long)slot->uid,
			state_name(slot->state), (unsigned long long)slot->nr_vcpus,
			(unsigned long long)slot->mem_size, (unsigned long long)slot->cid);
	}
	return text_stream_take(&stream);
}
