/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vector 4 of docs/facts/eif.md §3: an image that nitro-cli made, NEFS_VECTOR4 (scripts/fetch gets it). */
#include "build.h"
#include "eif_image.h"
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <jansson.h>
#include <sys/mman.h>
#include <unistd.h>

#define V4_PCR0                                                                                    \
	"bb284bdbdb58acc5378b549b0f8aa74663f306dd7f37fe612c2f255ed957d0747ebe5f4e1e521aba45703be7" \
	"fbb44478"
#define V4_PCR1                                                                                    \
	"3b4a7e1b5f13c5a1000b3ed32ef8995ee13e9876329f9bc72650b918329ef9cf4e2e4d1e1e37375dab0ba56b" \
	"a0974d03"
#define V4_PCR2                                                                                    \
	"fcb50b1cdbd84c5517696f7aec573eb5f725e20856e1c4a8da91288d3830a9a0fa90d1525f8340848665b2d6" \
	"96306a86"
#define V4_SHA256 "d1b021b464f21586138eae5fc21d2f9a1adb08abd2a07f6e05ac31a58c2da141"

static void check_vector4_json(const char *json)
{
	json_t *root = json_loads(json, 0, NULL);
	const char *arch = "", *crc = "", *name = "", *type = "", *pcr1 = "";
	int offset = 0, size = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(root);
	CU_ASSERT_EQUAL(json_unpack(root, "{s:{s:s}, s:s, s:{s:s}, s:{s:s}}", "header", "arch",
				&arch, "crc32", &crc, "metadata", "ImageName", &name,
				"measurements", "PCR1", &pcr1),
		0);
	CU_ASSERT_STRING_EQUAL(arch, "aarch64");
	CU_ASSERT_STRING_EQUAL(crc, "7db75a75");
	CU_ASSERT_STRING_EQUAL(name, "hello");
	CU_ASSERT_STRING_EQUAL(pcr1, V4_PCR1);
	CU_ASSERT_EQUAL(json_unpack(json_array_get(json_object_get(root, "sections"), 4),
				"{s:s, s:i, s:i}", "type", &type, "offset", &offset, "size", &size),
		0);
	CU_ASSERT_STRING_EQUAL(type, "ramdisk");
	CU_ASSERT_EQUAL(offset, 11311009);
	CU_ASSERT_EQUAL(size, 4104192);
	CU_ASSERT(json_is_null(json_object_get(root, "signature")));
	CU_ASSERT_EQUAL(json_array_size(json_object_get(root, "warnings")), 0);
	json_decref(root);
}

static void test_vector4(void)
{
	static const struct eif_section sections[] = {
		{ 1, 0, 548 + 12, 10547712 },
		{ 2, 0, 10548272 + 12, 84 },
		{ 5, 0, 10548368 + 12, 1785 },
		{ 3, 0, 10550165 + 12, 760832 },
		{ 3, 0, 11311009 + 12, 4104192 },
	};
	const char *path = getenv("NEFS_VECTOR4");
	struct nefs_error err = { 0 };
	struct eif_source source;
	struct eif_pcrs pcrs;
	uint8_t digest[32];
	struct eif eif;
	char *json = NULL;
	void *bytes;
	int fd;

	if (!path) {
		CU_FAIL_FATAL("NEFS_VECTOR4 must be the path of hello.eif (scripts/fetch gets it)");
		return;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL_FATAL(eif_source_fd(&source, fd, &err), 0);
	CU_ASSERT_EQUAL_FATAL(source.size, 15415213);
	bytes = mmap(NULL, source.size, PROT_READ, MAP_PRIVATE, fd, 0);
	CU_ASSERT_FATAL(bytes != MAP_FAILED);
	gnutls_hash_fast(GNUTLS_DIG_SHA256, bytes, source.size, digest);
	munmap(bytes, source.size);
	CU_ASSERT(hex_is(digest, sizeof(digest), V4_SHA256));

	CU_ASSERT_EQUAL(eif_read_measured(&source, &eif, &pcrs, &err), 0);
	CU_ASSERT_STRING_EQUAL(err.text, "");
	CU_ASSERT_EQUAL(eif.version, 4);
	CU_ASSERT_EQUAL(eif.flags, 1);
	CU_ASSERT_EQUAL(eif.arch, EIF_AARCH64);
	CU_ASSERT_EQUAL(eif.crc, 0x7db75a75);
	CU_ASSERT_EQUAL(eif.warnings, 0);
	CU_ASSERT_EQUAL_FATAL(eif.section_count, 5);
	for (size_t i = 0; i < 5; i++) {
		CU_ASSERT_EQUAL(eif.sections[i].type, sections[i].type);
		CU_ASSERT_EQUAL(eif.sections[i].offset, sections[i].offset);
		CU_ASSERT_EQUAL(eif.sections[i].size, sections[i].size);
	}
	CU_ASSERT_EQUAL(eif_check_kernel(&source, &eif, &err), 0);
	CU_ASSERT(hex_is(pcrs.pcr[0], EIF_PCR_SIZE, V4_PCR0));
	CU_ASSERT(hex_is(pcrs.pcr[1], EIF_PCR_SIZE, V4_PCR1));
	CU_ASSERT(hex_is(pcrs.pcr[2], EIF_PCR_SIZE, V4_PCR2));
	CU_ASSERT_EQUAL(eif_describe(&source, &eif, &pcrs, &json, &err), 0);
	check_vector4_json(json);
	free(json);
	close(fd);
}

static const CU_TestInfo tests[] = {
	{ "vector 4: a real image", test_vector4 },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("eif_vector4", tests, NULL, NULL);
}
