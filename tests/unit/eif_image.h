/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images made by hand for the tests of the EIF library: written from docs/facts/eif.md §1 and §2, not
 * with the library, and able to lie in every field.
 */
#ifndef NEFS_TEST_EIF_IMAGE_H
#define NEFS_TEST_EIF_IMAGE_H

#include "cunit_main.h"
#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <nefs/eif.h>
#include <stdbool.h>
#include <stdint.h>
#include <zlib.h>

#define IMAGE_ROOM (4U << 20)

struct image {
	uint8_t *bytes; /* IMAGE_ROOM of them */
	size_t size;
	unsigned int sections;
};

static inline void image_put16(struct image *image, size_t at, uint16_t value)
{
	value = htobe16(value);
	memcpy(image->bytes + at, &value, sizeof(value));
}

static inline void image_put32(struct image *image, size_t at, uint32_t value)
{
	value = htobe32(value);
	memcpy(image->bytes + at, &value, sizeof(value));
}

static inline void image_put64(struct image *image, size_t at, uint64_t value)
{
	value = htobe64(value);
	memcpy(image->bytes + at, &value, sizeof(value));
}

static inline uint64_t image_get64(const struct image *image, size_t at)
{
	uint64_t value;

	memcpy(&value, image->bytes + at, sizeof(value));
	return be64toh(value);
}

/* Table entry of section i: where its offset and its size stand. */
static inline size_t image_at_offset(unsigned int i)
{
	return 28 + 8 * (size_t)i;
}

static inline size_t image_at_size(unsigned int i)
{
	return 284 + 8 * (size_t)i;
}

static inline void image_begin(struct image *image, uint16_t version, uint16_t flags)
{
	image->bytes = calloc(1, IMAGE_ROOM);
	image->size = 548;
	image->sections = 0;
	memcpy(image->bytes, "\x2e\x65\x69\x66", 4);
	image_put16(image, 4, version);
	image_put16(image, 6, flags);
	image_put64(image, 8, 1ULL << 30);
	image_put64(image, 16, 2);
}

static inline void image_add(struct image *image, uint16_t type, const void *data, size_t size)
{
	image_put64(image, image_at_offset(image->sections), image->size);
	image_put64(image, image_at_size(image->sections), size);
	image_put16(image, image->size, type);
	image_put64(image, image->size + 4, size);
	if (size > 0)
		memcpy(image->bytes + image->size + 12, data, size);
	image->size += 12 + size;
	image->sections++;
}

static inline void image_add_text(struct image *image, uint16_t type, const char *text)
{
	image_add(image, type, text, strlen(text));
}

/* Makes the CRC right, whatever else is wrong. */
static inline void image_seal(struct image *image)
{
	uLong crc = crc32(0, image->bytes, 544);

	if (image->size > 548)
		crc = crc32(crc, image->bytes + 548, (uInt)(image->size - 548));
	image_put32(image, 544, (uint32_t)crc);
}

static inline void image_end(struct image *image)
{
	image_put16(image, 26, (uint16_t)image->sections);
	image_seal(image);
}

static inline void image_free(struct image *image)
{
	free(image->bytes);
	image->bytes = NULL;
}

/* Vector 3 of docs/facts/eif.md. */
static inline void image_vector3(struct image *image)
{
	image_begin(image, 4, 0);
	image_add_text(image, EIF_KERNEL, "KERNEL\n");
	image_add_text(image, EIF_CMDLINE, "console=ttyS0");
	image_add_text(image, EIF_METADATA, "{}");
	image_add_text(image, EIF_RAMDISK, "RAMDISK1");
	image_add_text(image, EIF_RAMDISK, "RAMDISK2");
	image_end(image);
}

/* The other ways to read an image must find what eif_read found. */
static inline void image_read_other_ways(const struct eif_source *source, int result,
	const struct eif *eif, const struct nefs_error *err)
{
	struct nefs_error measuring = { 0 }, table = { 0 };
	struct eif measured, structure;
	struct eif_pcrs pcrs;

	if (eif_read_table(source, &structure, &table) == 0) {
		CU_ASSERT_TRUE(result == 0 || (err && strstr(err->text, "CRC")));
	} else {
		CU_ASSERT_EQUAL(result, -table.code);
		CU_ASSERT_TRUE(!err || strcmp(table.text, err->text) == 0);
	}
	if (eif_read_measured(source, &measured, &pcrs, &measuring) == 0) {
		CU_ASSERT_EQUAL(result, 0);
		CU_ASSERT_EQUAL(memcmp(&measured, eif, sizeof(*eif)), 0);
		CU_ASSERT_EQUAL(memcmp(&structure, eif, sizeof(*eif)), 0);
	} else if (result != 0) {
		CU_ASSERT_EQUAL(result, -measuring.code);
		CU_ASSERT_TRUE(!err || strcmp(measuring.text, err->text) == 0);
	} else {
		CU_ASSERT_PTR_NOT_NULL(strstr(measuring.text, "signature"));
	}
}

/* Reads the first size bytes from a block of just that size, so that ASan sees one byte more. */
static inline int image_read_cut(
	const struct image *image, size_t size, struct eif *eif, struct nefs_error *err)
{
	uint8_t *exact = malloc(size > 0 ? size : 1);
	struct eif_source source;
	int failed;

	memcpy(exact, image->bytes, size);
	eif_source_memory(&source, exact, size);
	failed = eif_read(&source, eif, err);
	image_read_other_ways(&source, failed, eif, err);
	free(exact);
	return failed;
}

static inline int image_read(const struct image *image, struct eif *eif, struct nefs_error *err)
{
	return image_read_cut(image, image->size, eif, err);
}

/* A refusal as it must be: EINVAL, and a sentence with figures. */
static inline bool image_refused(int result, const struct nefs_error *err)
{
	bool figures = false;

	for (const char *c = err->text; *c; c++)
		figures = figures || isdigit((unsigned char)*c);
	if (result != -EINVAL || err->code != EINVAL || !figures)
		printf("\n    result %d, code %d, sentence \"%s\"\n", result, err->code, err->text);
	return result == -EINVAL && err->code == EINVAL && figures;
}

static inline bool hex_is(const uint8_t *bytes, size_t size, const char *hex)
{
	char text[2 * 64 + 1];

	for (size_t i = 0; i < size && i < 64; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
	if (strcmp(text, hex) != 0)
		printf("\n    is %s\n    not %s\n", text, hex);
	return strcmp(text, hex) == 0;
}

#endif
