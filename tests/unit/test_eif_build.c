/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Building images, their metadata, and their description. */
#include "build.h"
#include "eif_image.h"
#include "eif_keys.h"
#include <fcntl.h>
#include <jansson.h>
#include <sys/mman.h>
#include <unistd.h>

#define KERNEL_SIZE 0x300

/* What a build takes, with defaults that work. */
struct parts {
	uint8_t kernel_bytes[KERNEL_SIZE];
	struct eif_source kernel;
	struct eif_source ramdisks[EIF_RAMDISKS_MAX + 1];
	struct eif_build build;
};

static void parts_init(struct parts *parts)
{
	memset(parts, 0, sizeof(*parts));
	memcpy(parts->kernel_bytes + 0x202, "HdrS", 4);
	eif_source_memory(&parts->kernel, parts->kernel_bytes, KERNEL_SIZE);
	parts->build = (struct eif_build){
		.arch = EIF_X86_64,
		.kernel = &parts->kernel,
		.cmdline = "quiet",
		.cmdline_size = 5,
		.ramdisks = parts->ramdisks,
		.metadata = "{}",
		.metadata_size = 2,
	};
}

static void add_ramdisk(struct parts *parts, const char *text)
{
	eif_source_memory(&parts->ramdisks[parts->build.ramdisk_count++], text, strlen(text));
}

static int build(
	const struct parts *parts, struct image *image, struct eif *eif, struct nefs_error *err)
{
	int fd = memfd_create("built", MFD_CLOEXEC);
	struct eif_pcrs pcrs;
	int failed;

	failed = eif_build(&parts->build, fd, eif, &pcrs, err);
	if (!failed && image) {
		image_begin(image, 0, 0);
		image->size = eif->size;
		CU_ASSERT_EQUAL(pread(fd, image->bytes, IMAGE_ROOM, 0), (ssize_t)image->size);
	}
	close(fd);
	return failed;
}

static void build_refused(const struct parts *parts, const char *because)
{
	struct nefs_error err = { 0 };
	struct eif eif;

	CU_ASSERT_EQUAL(build(parts, NULL, &eif, &err), -EINVAL);
	if (!strstr(err.text, because))
		printf("\n    \"%s\" does not say \"%s\"\n", err.text, because);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, because));
}

static void test_build(void)
{
	struct nefs_error err = { 0 };
	static const uint16_t types[] = { 1, 2, 5, 3, 3 };
	struct image image;
	struct parts parts;
	struct eif eif;

	parts_init(&parts);
	add_ramdisk(&parts, "one");
	add_ramdisk(&parts, "two");
	CU_ASSERT_EQUAL_FATAL(build(&parts, &image, &eif, &err), 0);
	CU_ASSERT_EQUAL(eif.version, 4);
	CU_ASSERT_EQUAL(eif.flags, 0);
	CU_ASSERT_EQUAL(eif.default_mem, 1ULL << 30);
	CU_ASSERT_EQUAL(eif.default_cpus, 2);
	CU_ASSERT_EQUAL(eif.warnings, 0);
	CU_ASSERT_EQUAL_FATAL(eif.section_count, 5);
	for (size_t i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(eif.sections[i].type, types[i]);
	CU_ASSERT_EQUAL(
		memcmp(image.bytes + eif.sections[0].offset, parts.kernel_bytes, KERNEL_SIZE), 0);
	CU_ASSERT_EQUAL(memcmp(image.bytes + eif.sections[1].offset, "quiet", 5), 0);
	CU_ASSERT_EQUAL(memcmp(image.bytes + eif.sections[4].offset, "two", 3), 0);
	CU_ASSERT_EQUAL(eif.sections[4].size, 3);
	image_free(&image);
}

static void test_padding(void)
{
	static const struct {
		const char *ramdisks[3];
		uint64_t sizes[3];
	} cases[] = {
		/* Compressed ones stay as they are. */
		{ { "\x1f\x8b\x08", "x", NULL }, { 3, 1 } },
		/* A raw one is padded, and so is what stands before it. */
		{ { "070701abc", "xyz", NULL }, { 12, 3 } },
		{ { "\x1f\x8b\x08", "070701", "x" }, { 4, 8, 1 } },
		{ { "a", "bb", "070702ccc" }, { 4, 4, 12 } },
		{ { "070701ab", "070701", "07070" }, { 8, 8, 5 } },
		{ { "070703abc", NULL, NULL }, { 9 } },
		{ { "", "0707010", NULL }, { 0, 8 } },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct nefs_error err = { 0 };
		struct image image;
		struct parts parts;
		struct eif eif;

		parts_init(&parts);
		for (size_t j = 0; j < 3 && cases[i].ramdisks[j]; j++)
			add_ramdisk(&parts, cases[i].ramdisks[j]);
		CU_ASSERT_EQUAL_FATAL(build(&parts, &image, &eif, &err), 0);
		for (size_t j = 0; j < parts.build.ramdisk_count; j++) {
			const struct eif_section *section = &eif.sections[3 + j];
			const size_t raw = strlen(cases[i].ramdisks[j]);
			const uint8_t *data = image.bytes + section->offset;

			CU_ASSERT_EQUAL(section->size, cases[i].sizes[j]);
			CU_ASSERT_EQUAL(memcmp(data, cases[i].ramdisks[j], raw), 0);
			for (size_t k = raw; k < section->size; k++)
				CU_ASSERT_EQUAL(data[k], 0);
		}
		image_free(&image);
	}
}

static void test_refusals(void)
{
	struct parts parts;
	struct eif eif;

	parts_init(&parts);
	parts.kernel.size = 0;
	build_refused(&parts, "the kernel is empty");

	parts_init(&parts);
	parts.build.any_kernel = true;
	parts.kernel.size = 0;
	build_refused(&parts, "the kernel is empty");

	parts_init(&parts);
	parts.build.arch = EIF_AARCH64;
	build_refused(&parts, "no Image, which aarch64 needs");
	parts.build.any_kernel = true;
	CU_ASSERT_EQUAL(build(&parts, NULL, &eif, NULL), 0);
	CU_ASSERT_EQUAL(eif.warnings, EIF_WARN_KERNEL);
	CU_ASSERT_EQUAL(eif.flags, 1);

	parts_init(&parts);
	parts.kernel_bytes[0x202] = 'h';
	build_refused(&parts, "no bzImage, which x86_64 needs");

	parts_init(&parts);
	parts.build.cmdline = "a\nb";
	parts.build.cmdline_size = 3;
	build_refused(&parts, "a newline at byte 1 of 3");
	parts.build.cmdline = "ab\0c";
	parts.build.cmdline_size = 4;
	build_refused(&parts, "a NUL at byte 2 of 4");
	parts.build.cmdline = "ab\n";
	parts.build.cmdline_size = 3;
	build_refused(&parts, "a newline at byte 2 of 3");
	parts.build.cmdline_size = 0;
	CU_ASSERT_EQUAL(build(&parts, NULL, &eif, NULL), 0);

	parts_init(&parts);
	for (size_t i = 0; i < EIF_RAMDISKS_MAX; i++)
		add_ramdisk(&parts, "r");
	CU_ASSERT_EQUAL(build(&parts, NULL, &eif, NULL), 0);
	CU_ASSERT_EQUAL(eif.section_count, 31);
	add_ramdisk(&parts, "r");
	build_refused(&parts, "there are 29 ramdisks; at most 28 fit");
}

/* A disk that is full, or a file that is not writable. */
static void test_write_error(void)
{
	struct nefs_error err = { 0 };
	struct eif_pcrs pcrs;
	struct parts parts;
	struct eif eif;
	int fd;

	parts_init(&parts);
	fd = open("/dev/full", O_RDWR | O_CLOEXEC);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(eif_build(&parts.build, fd, &eif, &pcrs, &err), -ENOSPC);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "No space left"));
	close(fd);
}

/* A kernel that can be read at its beginning only. */
static int read_flaky(const struct eif_source *source, void *buffer, size_t size, uint64_t offset)
{
	if (offset >= 0x280)
		return -EIO;
	memset(buffer, 0, size);
	if (offset == 0x202)
		memcpy(buffer, "HdrS", 4);
	return 0;
}

static void test_source_error(void)
{
	struct nefs_error err = { 0 };
	struct parts parts;
	struct eif eif;

	parts_init(&parts);
	parts.kernel = (struct eif_source){ .read = read_flaky, .size = 3 << 20, .fd = -1 };
	CU_ASSERT_EQUAL(build(&parts, NULL, &eif, &err), -EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "cannot read"));
}

static const char *text_at(const json_t *root, const char *object, const char *key)
{
	const json_t *from = object ? json_object_get(root, object) : root;
	const char *text = json_string_value(json_object_get(from, key));

	return text ? text : "(none)";
}

static void test_metadata(void)
{
	struct eif_metadata metadata = {
		.name = "web \"front\" \xc3\xa9",
		.version = "1.2",
		.build_time = 1577934245,
		.kernel_version = "6.1.0",
		.custom = "{\"a\": [1, null]}",
		.custom_size = 16,
	};
	struct nefs_error err = { 0 };
	json_t *root;
	char *json;

	CU_ASSERT_EQUAL_FATAL(eif_metadata_make(&metadata, &json, &err), 0);
	root = json_loads(json, 0, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(root);
	CU_ASSERT_STRING_EQUAL(text_at(root, NULL, "ImageName"), metadata.name);
	CU_ASSERT_STRING_EQUAL(text_at(root, NULL, "ImageVersion"), "1.2");
	CU_ASSERT_STRING_EQUAL(
		text_at(root, "BuildMetadata", "BuildTime"), "2020-01-02T03:04:05+00:00");
	CU_ASSERT_STRING_EQUAL(text_at(root, "BuildMetadata", "BuildTool"), "nefs-eif");
	CU_ASSERT_STRING_EQUAL(text_at(root, "BuildMetadata", "BuildToolVersion"), NEFS_VERSION);
	CU_ASSERT_STRING_EQUAL(text_at(root, "BuildMetadata", "OperatingSystem"), "Linux");
	CU_ASSERT_STRING_EQUAL(text_at(root, "BuildMetadata", "KernelVersion"), "6.1.0");
	CU_ASSERT(json_is_null(json_object_get(root, "DockerInfo")));
	CU_ASSERT_EQUAL(
		json_array_size(json_object_get(json_object_get(root, "CustomMetadata"), "a")), 2);
	json_decref(root);
	free(json);

	/* Without custom metadata. */
	metadata.custom = NULL;
	metadata.custom_size = 0;
	CU_ASSERT_EQUAL_FATAL(eif_metadata_make(&metadata, &json, &err), 0);
	root = json_loads(json, 0, NULL);
	CU_ASSERT(json_is_null(json_object_get(root, "CustomMetadata")));
	json_decref(root);
	free(json);
}

static void test_bad_metadata(void)
{
	static char large[4098];
	struct eif_metadata metadata = { .name = "n", .version = "v", .kernel_version = "k" };
	struct nefs_error err = { 0 };
	char *json = NULL;

	metadata.custom = "{\n\"a\": }";
	metadata.custom_size = strlen(metadata.custom);
	CU_ASSERT(image_refused(eif_metadata_make(&metadata, &json, &err), &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "line 2"));
	metadata.custom = "";
	metadata.custom_size = 0;
	CU_ASSERT(image_refused(eif_metadata_make(&metadata, &json, &err), &err));

	/* The limit is exact. */
	memset(large, ' ', sizeof(large));
	large[0] = '7';
	metadata.custom = large;
	metadata.custom_size = 4097;
	CU_ASSERT(image_refused(eif_metadata_make(&metadata, &json, &err), &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "4097 bytes; it may have at most 4096"));
	metadata.custom_size = 4096;
	CU_ASSERT_EQUAL(eif_metadata_make(&metadata, &json, &err), 0);
	free(json);

	metadata.name = "\xff";
	CU_ASSERT_EQUAL(eif_metadata_make(&metadata, &json, &err), -EINVAL);
	metadata.name = "n";
	metadata.build_time = INT64_MAX;
	CU_ASSERT(image_refused(eif_metadata_make(&metadata, &json, &err), &err));

	CU_ASSERT_EQUAL(eif_metadata_check("{}", 2, &err), 0);
	CU_ASSERT(image_refused(eif_metadata_check("[]", 2, &err), &err));
	CU_ASSERT(image_refused(eif_metadata_check("{} {}", 5, &err), &err));
	CU_ASSERT(image_refused(eif_metadata_check("", 0, &err), &err));
}

static void test_kernel_version(void)
{
	uint8_t kernel[0x400] = { 0 };
	struct eif_source source;
	char *version;

	memcpy(kernel + 0x202, "HdrS", 4);
	kernel[0x20e] = 0x80;
	strcpy((char *)kernel + 0x280, "6.1.0-35-cloud-amd64 (debian) #1");
	eif_source_memory(&source, kernel, sizeof(kernel));
	version = eif_kernel_version(&source);
	CU_ASSERT_STRING_EQUAL(version, "6.1.0-35-cloud-amd64");
	free(version);

	/* It points behind the end, or to the end, or nowhere. */
	for (unsigned int i = 0; i < 3; i++) {
		static const uint16_t pointers[] = { 0xffff, 0x200, 0 };

		kernel[0x20e] = (uint8_t)pointers[i];
		kernel[0x20f] = (uint8_t)(pointers[i] >> 8);
		version = eif_kernel_version(&source);
		CU_ASSERT_STRING_EQUAL(version, "unknown");
		free(version);
	}
	/* It runs to the end without a NUL. */
	kernel[0x20e] = 0xf0;
	kernel[0x20f] = 0x01;
	memset(kernel + 0x3f0, 'v', 16);
	version = eif_kernel_version(&source);
	CU_ASSERT_STRING_EQUAL(version, "vvvvvvvvvvvvvvvv");
	free(version);
	eif_source_memory(&source, kernel, 0x20f);
	version = eif_kernel_version(&source);
	CU_ASSERT_STRING_EQUAL(version, "unknown");
	free(version);
}

/* The description of an image, parsed. */
static json_t *describe(const struct image *image)
{
	struct nefs_error err = { 0 };
	struct eif_source source;
	struct eif_pcrs pcrs;
	struct eif eif;
	char *text = NULL;
	json_t *root;

	eif_source_memory(&source, image->bytes, image->size);
	CU_ASSERT_EQUAL_FATAL(eif_read_measured(&source, &eif, &pcrs, &err), 0);
	CU_ASSERT_EQUAL_FATAL(eif_describe(&source, &eif, &pcrs, &text, &err), 0);
	CU_ASSERT_EQUAL(text[strlen(text) - 1], '\n');
	root = json_loads(text, 0, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(root);
	free(text);
	return root;
}

static void test_describe(void)
{
	struct image image;
	json_t *root, *section;

	image_vector3(&image);
	image_put64(&image, 8, UINT64_MAX);
	image.bytes[7] = 0x40;
	image_seal(&image);
	root = describe(&image);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(root, "size")), 646);
	CU_ASSERT_STRING_EQUAL(text_at(root, "header", "default_mem"), "18446744073709551615");
	CU_ASSERT_STRING_EQUAL(text_at(root, "header", "arch"), "x86_64");
	CU_ASSERT_EQUAL(json_array_size(json_object_get(root, "sections")), 5);
	section = json_array_get(json_object_get(root, "sections"), 1);
	CU_ASSERT_STRING_EQUAL(text_at(section, NULL, "type"), "cmdline");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(section, "offset")), 567);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(section, "data_offset")), 579);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(section, "size")), 13);
	CU_ASSERT_EQUAL_FATAL(json_array_size(json_object_get(root, "warnings")), 2);
	CU_ASSERT_STRING_EQUAL(
		json_string_value(json_array_get(json_object_get(root, "warnings"), 0)),
		"unknown-flags");
	CU_ASSERT_STRING_EQUAL(
		json_string_value(json_array_get(json_object_get(root, "warnings"), 1)),
		"kernel-format");
	CU_ASSERT_EQUAL(strlen(text_at(root, "measurements", "PCR2")), 96);
	CU_ASSERT_PTR_NULL(json_object_get(json_object_get(root, "measurements"), "PCR8"));
	CU_ASSERT(json_is_object(json_object_get(root, "metadata")));
	CU_ASSERT_PTR_NULL(json_object_get(root, "metadata_error"));
	CU_ASSERT(json_is_null(json_object_get(root, "signature")));
	json_decref(root);
	image_free(&image);
}

static void test_describe_metadata(void)
{
	static char large[EIF_DESCRIPTION_MAX + 1];
	static const struct {
		const char *text;
		size_t size;
		bool good;
	} cases[] = {
		{ "[1]", 3, true },
		{ "\"text\"", 6, true },
		{ "", 0, false },
		{ "{\"a\": 1", 7, false },
		{ "{\"a\": \"\xff\"}", 10, false },
		{ "\0\0", 2, false },
		{ large, EIF_DESCRIPTION_MAX, true },
		{ large, EIF_DESCRIPTION_MAX + 1, false },
	};

	memset(large, ' ', sizeof(large));
	large[0] = '7';
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct image image;
		json_t *root;

		image_begin(&image, 4, 0);
		image_add_text(&image, EIF_KERNEL, "K");
		image_add_text(&image, EIF_CMDLINE, "c");
		image_add(&image, EIF_METADATA, cases[i].text, cases[i].size);
		image_end(&image);
		root = describe(&image);
		CU_ASSERT_EQUAL(json_is_null(json_object_get(root, "metadata")), !cases[i].good);
		CU_ASSERT_EQUAL(json_object_get(root, "metadata_error") == NULL, cases[i].good);
		json_decref(root);
		image_free(&image);
	}
}

/* Nesting that a recursive reader or writer of JSON would have to survive. */
static void test_describe_nested(void)
{
	char *deep = malloc(400000);
	struct image image;
	json_t *root;

	memset(deep, '[', 200000);
	memset(deep + 200000, ']', 200000);
	image_begin(&image, 4, 0);
	image_add_text(&image, EIF_KERNEL, "K");
	image_add_text(&image, EIF_CMDLINE, "c");
	image_add(&image, EIF_METADATA, deep, 400000);
	image_end(&image);
	root = describe(&image);
	CU_ASSERT(json_is_null(json_object_get(root, "metadata")));
	CU_ASSERT_PTR_NOT_NULL(json_object_get(root, "metadata_error"));
	json_decref(root);
	image_free(&image);
	free(deep);
}

static void test_describe_signature(void)
{
	struct nefs_error err = { 0 };
	struct eif_signer *signer = NULL;
	json_t *root, *signature, *certificate;
	struct image image;
	struct parts parts;
	struct pair pair;
	struct eif eif;

	for (unsigned int expired = 0; expired < 2; expired++) {
		pair_make(&pair, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP384R1),
			"CN=described,O=Example", 1577934245, expired ? 1580612645 : 4102455845);
		CU_ASSERT_EQUAL_FATAL(
			eif_signer_load(pair.key.data, pair.key.size, pair.certificate.data,
				pair.certificate.size, &signer, &err),
			0);
		parts_init(&parts);
		parts.build.signer = signer;
		CU_ASSERT_EQUAL_FATAL(build(&parts, &image, &eif, &err), 0);
		root = describe(&image);
		signature = json_object_get(root, "signature");
		certificate = json_object_get(signature, "certificate");
		CU_ASSERT_STRING_EQUAL(text_at(signature, NULL, "algorithm"), "ES384");
		CU_ASSERT_STRING_EQUAL(
			text_at(certificate, NULL, "subject"), "CN=described,O=Example");
		CU_ASSERT_STRING_EQUAL(
			text_at(certificate, NULL, "issuer"), "CN=described,O=Example");
		CU_ASSERT_STRING_EQUAL(text_at(certificate, NULL, "serial"), "123456");
		CU_ASSERT_STRING_EQUAL(text_at(certificate, NULL, "curve"), "P-384");
		CU_ASSERT_STRING_EQUAL(
			text_at(certificate, NULL, "not_before"), "2020-01-02T03:04:05Z");
		CU_ASSERT_STRING_EQUAL(text_at(certificate, NULL, "not_after"),
			expired ? "2020-02-02T03:04:05Z" : "2100-01-01T03:04:05Z");
		CU_ASSERT_EQUAL(json_is_true(json_object_get(signature, "valid")), !expired);
		CU_ASSERT_EQUAL(json_is_null(json_object_get(signature, "reason")), !expired);
		if (expired)
			CU_ASSERT_PTR_NOT_NULL(
				strstr(text_at(signature, NULL, "reason"), "expired on 2020"));
		CU_ASSERT_EQUAL(strlen(text_at(root, "measurements", "PCR8")), 96);
		json_decref(root);
		image_free(&image);
		eif_signer_free(signer);
		pair_free(&pair);
	}
}

static const CU_TestInfo tests[] = {
	{ "an image", test_build },
	{ "ramdisks are padded where they must be", test_padding },
	{ "parts that make no image", test_refusals },
	{ "a full disk", test_write_error },
	{ "a kernel that cannot be read", test_source_error },
	{ "metadata", test_metadata },
	{ "bad metadata", test_bad_metadata },
	{ "the kernel's version", test_kernel_version },
	{ "a description", test_describe },
	{ "a description with odd metadata", test_describe_metadata },
	{ "a description with nested metadata", test_describe_nested },
	{ "a description of a signature", test_describe_signature },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("eif_build", tests, NULL, NULL);
}
