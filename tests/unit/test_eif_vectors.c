/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The vectors of docs/facts/eif.md §3: what others' tools have made and measured. test_eif_vector4.c has the largest. */
#include "build.h"
#include "eif_image.h"
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <jansson.h>
#include <sys/mman.h>
#include <unistd.h>

#define EMPTY_PCR2                                                                                 \
	"21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c10edb30948c90ba67310f7b9" \
	"64fc500a"
#define V3_PCR0                                                                                    \
	"4063f19876dde88d7e3051b3b7beda6dbd30a152a954d680b2ff88d94a167046e67ffd1890e521b728ed83ed" \
	"8baefcc9"
#define V3_PCR1                                                                                    \
	"8d596aaa9ae9d3d4d1b6ade70253ce593dfb0a03ecd055bdec038ad4abe2863b8c36266e1b3aacefb1acd978" \
	"ca1c5010"
#define V3_PCR2                                                                                    \
	"c3c20bf6bf31a7dce4ba1aa496ab51e33a66cbd49e0d51a19832b80d6f3ee317138f8642296d02626ccfefa3" \
	"8ce64284"
#define V3_SHA256 "7a96bd256f66708a925465e2e7ba3868e931e65e03d23c8c455d9d5014342e54"

static void test_empty_pcr2(void)
{
	struct image image;
	struct eif_source source;
	struct eif_pcrs pcrs;
	struct eif eif;

	image_begin(&image, 4, 0);
	image_add_text(&image, EIF_KERNEL, "K");
	image_add_text(&image, EIF_CMDLINE, "c");
	image_add_text(&image, EIF_METADATA, "{}");
	image_add_text(&image, EIF_RAMDISK, "R");
	image_end(&image);
	eif_source_memory(&source, image.bytes, image.size);
	CU_ASSERT_EQUAL_FATAL(eif_read_measured(&source, &eif, &pcrs, NULL), 0);
	CU_ASSERT(hex_is(pcrs.pcr[2], EIF_PCR_SIZE, EMPTY_PCR2));
	/* One ramdisk: both cover all of it. */
	CU_ASSERT_EQUAL(memcmp(pcrs.pcr[0], pcrs.pcr[1], EIF_PCR_SIZE), 0);
	CU_ASSERT_FALSE(pcrs.has_pcr8);
	image_free(&image);
}

static void check_vector3(const struct eif *eif, const struct eif_pcrs *pcrs)
{
	static const uint64_t starts[] = { 548, 567, 592, 606, 626 };
	static const uint64_t sizes[] = { 7, 13, 2, 8, 8 };
	static const uint16_t types[] = { 1, 2, 5, 3, 3 };

	CU_ASSERT_EQUAL(eif->version, 4);
	CU_ASSERT_EQUAL(eif->flags, 0);
	CU_ASSERT_EQUAL(eif->arch, EIF_X86_64);
	CU_ASSERT_EQUAL(eif->default_mem, 1ULL << 30);
	CU_ASSERT_EQUAL(eif->default_cpus, 2);
	CU_ASSERT_EQUAL(eif->crc, 0x29b2827a);
	CU_ASSERT_EQUAL(eif->size, 646);
	CU_ASSERT_EQUAL(eif->warnings, EIF_WARN_KERNEL);
	CU_ASSERT_EQUAL_FATAL(eif->section_count, 5);
	for (size_t i = 0; i < 5; i++) {
		CU_ASSERT_EQUAL(eif->sections[i].type, types[i]);
		CU_ASSERT_EQUAL(eif->sections[i].offset, starts[i] + 12);
		CU_ASSERT_EQUAL(eif->sections[i].size, sizes[i]);
	}
	CU_ASSERT(hex_is(pcrs->pcr[0], EIF_PCR_SIZE, V3_PCR0));
	CU_ASSERT(hex_is(pcrs->pcr[1], EIF_PCR_SIZE, V3_PCR1));
	CU_ASSERT(hex_is(pcrs->pcr[2], EIF_PCR_SIZE, V3_PCR2));
}

static void test_vector3_read(void)
{
	uint8_t digest[32];
	struct nefs_error err = { 0 };
	struct eif_source source;
	struct eif_pcrs pcrs;
	struct image image;
	struct eif eif;

	image_vector3(&image);
	CU_ASSERT_EQUAL(image.size, 646);
	gnutls_hash_fast(GNUTLS_DIG_SHA256, image.bytes, image.size, digest);
	CU_ASSERT(hex_is(digest, sizeof(digest), V3_SHA256));
	eif_source_memory(&source, image.bytes, image.size);
	CU_ASSERT_EQUAL_FATAL(eif_read_measured(&source, &eif, &pcrs, &err), 0);
	check_vector3(&eif, &pcrs);
	/* It is no kernel, and what boots images says so. */
	CU_ASSERT(image_refused(eif_check_kernel(&source, &eif, &err), &err));
	CU_ASSERT_EQUAL(eif_verify(&source, &eif, &(struct eif_pcrs){ 0 }, &err), -ENODATA);
	image_free(&image);
}

static void test_vector3_built(void)
{
	static const char *const ramdisk_texts[] = { "RAMDISK1", "RAMDISK2" };
	struct eif_source kernel, ramdisks[2];
	struct nefs_error err = { 0 };
	struct eif_pcrs pcrs;
	uint8_t digest[32], *bytes;
	struct eif eif;
	int fd = memfd_create("vector3", MFD_CLOEXEC);

	eif_source_memory(&kernel, "KERNEL\n", 7);
	for (size_t i = 0; i < 2; i++)
		eif_source_memory(&ramdisks[i], ramdisk_texts[i], 8);

	const struct eif_build build = {
		.arch = EIF_X86_64,
		.kernel = &kernel,
		.cmdline = "console=ttyS0",
		.cmdline_size = 13,
		.ramdisks = ramdisks,
		.ramdisk_count = 2,
		.metadata = "{}",
		.metadata_size = 2,
		.any_kernel = true,
	};

	CU_ASSERT_EQUAL(eif_build(&build, fd, &eif, &pcrs, &err), 0);
	CU_ASSERT_STRING_EQUAL(err.text, "");
	CU_ASSERT_EQUAL_FATAL(eif.size, 646);
	bytes = malloc(646);
	CU_ASSERT_EQUAL(pread(fd, bytes, 646, 0), 646);
	gnutls_hash_fast(GNUTLS_DIG_SHA256, bytes, 646, digest);
	CU_ASSERT(hex_is(digest, sizeof(digest), V3_SHA256));
	check_vector3(&eif, &pcrs);
	free(bytes);
	close(fd);
}

static void test_pcrs_text(void)
{
	struct eif_pcrs pcrs = { 0 };
	char zeros[2 * EIF_PCR_SIZE + 1] = "";
	char expected[1024];
	char *text;

	memset(zeros, '0', 2 * EIF_PCR_SIZE);
	text = eif_pcrs_text(&pcrs);
	snprintf(expected, sizeof(expected), "PCR0 %s\nPCR1 %s\nPCR2 %s\n", zeros, zeros, zeros);
	CU_ASSERT_STRING_EQUAL(text, expected);
	free(text);

	pcrs.has_pcr8 = true;
	pcrs.pcr8[0] = 0xab;
	text = eif_pcrs_text(&pcrs);
	snprintf(expected, sizeof(expected), "PCR0 %s\nPCR1 %s\nPCR2 %s\nPCR8 ab%s\n", zeros, zeros,
		zeros, zeros + 2);
	CU_ASSERT_STRING_EQUAL(text, expected);
	free(text);
}

static const CU_TestInfo tests[] = {
	{ "vector 1: PCR2 of one ramdisk", test_empty_pcr2 },
	{ "vector 3: read and measured", test_vector3_read },
	{ "vector 3: built, byte for byte", test_vector3_built },
	{ "measurements as text", test_pcrs_text },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("eif_vectors", tests, NULL, NULL);
}
