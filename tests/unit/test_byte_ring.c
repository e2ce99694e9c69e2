/* SPDX-License-Identifier: GPL-2.0-or-later */
/* include/nefs/byte_ring.h, against a record of all that was ever put in. */
#include "cunit_main.h"
#include <nefs/byte_ring.h>
#include <stdbool.h>
#include <stdint.h>

#define MAX (8U * BYTE_RING_MIN)

static struct byte_ring ring;
static char *record;
static size_t recorded;

static void set_up(void)
{
	ring = (struct byte_ring){ .max = MAX };
	record = malloc(100 * MAX);
	recorded = 0;
}

static void tear_down(void)
{
	byte_ring_release(&ring);
	free(record);
}

/* Puts in bytes of which no two pieces are alike. */
static void append(size_t size)
{
	for (size_t i = 0; i < size; i++) {
		size_t at = recorded + i;

		record[at] = (char)(at ^ at >> 8 ^ at >> 16);
	}
	byte_ring_append(&ring, record + recorded, size);
	recorded += size;
}

/* Is it, from position on, the record's tail, kept bytes long at least? */
static bool holds(uint64_t position, size_t kept)
{
	const char *data;
	size_t piece, total = 0;

	if (ring.end != recorded || ring.end - ring.start > MAX)
		return false;
	while ((piece = byte_ring_peek(&ring, &position, &data))) {
		if (memcmp(data, record + position, piece) != 0)
			return false;
		position += piece;
		total += piece;
	}
	return position == recorded && total >= kept;
}

static void test_growth(void)
{
	const char *data;
	uint64_t position = 0;

	CU_ASSERT_EQUAL(byte_ring_peek(&ring, &position, &data), 0);
	append(1);
	CU_ASSERT_EQUAL(ring.room, BYTE_RING_MIN);
	/* Nothing is lost before max is reached, wherever the ring had wrapped by then. */
	for (size_t step = 1; recorded + step <= MAX; step += 37) {
		append(step);
		CU_ASSERT_TRUE(holds(0, recorded));
	}
	CU_ASSERT_EQUAL(ring.room, MAX);
}

static void test_wrap(void)
{
	static const size_t sizes[] = { 1, 4095, 4096, 4097, MAX - 1, MAX, MAX + 1, 3 * MAX + 5, 0,
		7, 2 * MAX, 12345 };

	for (size_t round = 0; round < 2; round++) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			append(sizes[i]);
			CU_ASSERT_TRUE(holds(0, recorded < MAX ? recorded : MAX));
		}
	}
}

/* Grows with its oldest bytes in the middle. */
static void test_growth_of_a_wrapped_one(void)
{
	append(BYTE_RING_MIN - 10);
	byte_ring_forget(&ring, recorded - 100);
	append(1000);
	CU_ASSERT_EQUAL(ring.room, BYTE_RING_MIN);
	CU_ASSERT_TRUE(holds(0, 1100));
	append(3 * BYTE_RING_MIN);
	CU_ASSERT_TRUE(holds(0, 1100 + 3 * BYTE_RING_MIN));
}

static void test_forget(void)
{
	uint64_t position;
	const char *data;

	append(1000);
	byte_ring_forget(&ring, 400);
	CU_ASSERT_EQUAL(ring.start, 400);
	byte_ring_forget(&ring, 100);
	CU_ASSERT_EQUAL(ring.start, 400);
	position = 10;
	CU_ASSERT_EQUAL(byte_ring_peek(&ring, &position, &data), 600);
	CU_ASSERT_EQUAL(position, 400);
	position = 999;
	CU_ASSERT_EQUAL(byte_ring_peek(&ring, &position, &data), 1);
	byte_ring_forget(&ring, UINT64_MAX);
	CU_ASSERT_EQUAL(ring.start, 1000);
	position = 0;
	CU_ASSERT_EQUAL(byte_ring_peek(&ring, &position, &data), 0);
	append(5);
	CU_ASSERT_TRUE(holds(0, 5));
	byte_ring_release(&ring);
	CU_ASSERT_TRUE(holds(0, 0));
	append(5);
	CU_ASSERT_TRUE(holds(0, 5));
}

static const CU_TestInfo tests[] = {
	{ "it grows as it fills, and loses nothing until it is full", test_growth },
	{ "the newest bytes stay, however they come", test_wrap },
	{ "it grows when it has wrapped", test_growth_of_a_wrapped_one },
	{ "what is forgotten is gone, and the counting goes on", test_forget },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("byte_ring", tests, set_up, tear_down);
}
