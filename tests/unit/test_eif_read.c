/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Validation: every way in which an image can lie. */
#include "eif_image.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

/* The image must be refused, in a sentence with this in it. */
static void __attribute__((nonnull)) refused(struct image *image, const char *because)
{
	struct nefs_error err = { 0 };
	struct eif eif;

	CU_ASSERT(image_refused(image_read(image, &eif, &err), &err));
	if (!strstr(err.text, because))
		printf("\n    \"%s\" does not say \"%s\"\n", err.text, because);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, because));
}

/* The image must be accepted with these warnings. */
static void accepted(struct image *image, uint32_t warnings)
{
	struct nefs_error err = { 0 };
	struct eif eif;

	CU_ASSERT_EQUAL(image_read(image, &eif, &err), 0);
	CU_ASSERT_STRING_EQUAL(err.text, "");
	CU_ASSERT_EQUAL(eif.warnings, warnings | EIF_WARN_KERNEL);
}

static void test_truncated(void)
{
	struct image image;
	struct eif eif;

	image_vector3(&image);
	for (size_t size = 0; size < image.size; size++) {
		struct nefs_error err = { 0 };

		CU_ASSERT(image_refused(image_read_cut(&image, size, &eif, &err), &err));
	}
	CU_ASSERT_EQUAL(image_read(&image, &eif, NULL), 0);
	image_free(&image);
}

static void test_truncated_sealed(void)
{
	struct image image;

	/* The same with a CRC that fits: the table alone must give it away. */
	image_vector3(&image);
	for (size_t size = image.size - 1; size >= 548; size--) {
		struct nefs_error err = { 0 };
		struct eif eif;

		image.size = size;
		image_seal(&image);
		CU_ASSERT(image_refused(image_read(&image, &eif, &err), &err));
	}
	image_free(&image);
}

static void test_every_bit(void)
{
	struct image image;

	image_vector3(&image);
	for (size_t bit = 0; bit < 8 * image.size; bit++) {
		struct nefs_error err = { 0 };
		struct eif eif;

		image.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		CU_ASSERT(image_refused(image_read(&image, &eif, &err), &err));
		image.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	image_free(&image);
}

/* Every header byte takes every value, with a fitting CRC: no crash, and no errno but EINVAL. */
static void test_every_header_byte(void)
{
	unsigned int refusals = 0, passes = 0;
	struct image image;

	image_vector3(&image);
	for (size_t at = 0; at < 544; at++) {
		const uint8_t before = image.bytes[at];

		for (unsigned int value = 0; value < 256; value += at < 32 || at >= 280 ? 1 : 17) {
			struct nefs_error err = { 0 };
			struct eif eif;
			int result;

			image.bytes[at] = (uint8_t)value;
			image_seal(&image);
			result = image_read(&image, &eif, &err);
			if (result == 0)
				passes++;
			else if (image_refused(result, &err))
				refusals++;
			else
				CU_FAIL("neither accepted nor properly refused");
		}
		image.bytes[at] = before;
	}
	CU_ASSERT(refusals > 1000);
	CU_ASSERT(passes > 1000);
	image_free(&image);
}

static void test_magic(void)
{
	struct image image;

	image_vector3(&image);
	memcpy(image.bytes,
		"\x7f"
		"ELF",
		4);
	image_seal(&image);
	refused(&image, "not an EIF");
	image_free(&image);

	CU_ASSERT_TRUE(eif_plausible(NULL, 0));
	CU_ASSERT_TRUE(eif_plausible(".", 1));
	CU_ASSERT_TRUE(eif_plausible(".ei", 3));
	CU_ASSERT_TRUE(eif_plausible(".eif\x00\x04", 6));
	CU_ASSERT_FALSE(eif_plausible(".eIf", 4));
	CU_ASSERT_FALSE(eif_plausible("\n", 1));
}

static void test_version(void)
{
	static const uint16_t bad[] = { 0, 1, 5, 0x0400, 65535 };
	struct image image;

	image_vector3(&image);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char expected[32];

		image_put16(&image, 4, bad[i]);
		image_seal(&image);
		snprintf(expected, sizeof(expected), "version %u;", bad[i]);
		refused(&image, expected);
	}
	for (uint16_t version = 2; version <= 4; version++) {
		image_put16(&image, 4, version);
		image_seal(&image);
		accepted(&image, 0);
	}
	image_free(&image);
}

static void test_section_count(void)
{
	static const uint16_t bad[] = { 0, 1, 33, 65535 };
	struct image image;

	image_vector3(&image);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char expected[32];

		image_put16(&image, 26, bad[i]);
		image_seal(&image);
		snprintf(expected, sizeof(expected), "has %u sections", bad[i]);
		refused(&image, expected);
	}
	/* More than there are: the next entry is zero, inside the header. */
	image_put16(&image, 26, 6);
	image_seal(&image);
	refused(&image, "inside the header");
	image_free(&image);
}

static void test_most_sections(void)
{
	struct image image;

	image_begin(&image, 4, 0);
	image_add_text(&image, EIF_KERNEL, "K");
	image_add_text(&image, EIF_CMDLINE, "");
	image_add_text(&image, EIF_METADATA, "{}");
	while (image.sections < 32)
		image_add_text(&image, EIF_RAMDISK, "");
	image_end(&image);
	accepted(&image, 0);
	image_free(&image);
}

static void test_fewest_sections(void)
{
	struct image image;

	image_begin(&image, 3, 0);
	image_add_text(&image, EIF_KERNEL, "K");
	image_add_text(&image, EIF_CMDLINE, "c");
	image_end(&image);
	accepted(&image, 0);
	image_free(&image);
}

static void test_offsets(void)
{
	static const struct {
		uint64_t offset;
		const char *because;
	} cases[] = {
		{ 0, "inside the header" },
		{ 1, "inside the header" },
		{ 547, "inside the header" },
		{ 635, "ends at 646" },
		{ 646, "ends at 646" },
		{ 647, "ends at 646" },
		{ 1ULL << 32, "ends at 646" },
		{ INT64_MAX, "ends at 646" },
		{ 1ULL << 63, "ends at 646" },
		{ UINT64_MAX, "ends at 646" },
		{ UINT64_MAX - 11, "ends at 646" },
		{ UINT64_MAX - 12, "ends at 646" },
	};
	struct image image;

	image_vector3(&image);
	for (unsigned int section = 0; section < 5; section++) {
		const uint64_t before = image_get64(&image, image_at_offset(section));

		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			image_put64(&image, image_at_offset(section), cases[i].offset);
			image_seal(&image);
			refused(&image, cases[i].because);
		}
		/* The same 32 bits, one bit higher up: what a narrow variable would not see. */
		image_put64(&image, image_at_offset(section), before | 1ULL << 32);
		image_seal(&image);
		refused(&image, "ends at 646");
		image_put64(&image, image_at_offset(section), before);
	}
	image_free(&image);
}

static void test_sizes(void)
{
	struct image image;

	image_vector3(&image);
	for (unsigned int section = 0; section < 5; section++) {
		const uint64_t start = image_get64(&image, image_at_offset(section));
		const uint64_t before = image_get64(&image, image_at_size(section));
		const uint64_t bad[] = {
			646 - start - 12 + 1, 646, 1ULL << 32, (1ULL << 32) + before, INT64_MAX,
			1ULL << 63, UINT64_MAX,
			UINT64_MAX - start,	 /* start + size wraps to less than the file */
			UINT64_MAX - start - 11, /* with 12 more, it wraps to 0 */
		};

		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			image_put64(&image, image_at_size(section), bad[i]);
			image_seal(&image);
			refused(&image, "by its own");
			image_put64(&image, start + 4, bad[i]);
			image_seal(&image);
			refused(&image, "ends at 646");
			image_put64(&image, start + 4, before);
		}
		image_put64(&image, image_at_size(section), before);
	}
	image_seal(&image);
	accepted(&image, 0);
	image_free(&image);
}

static void test_types(void)
{
	static const uint16_t bad[] = { 0, 6, 0x0100, 65535 };
	struct image image;

	image_vector3(&image);
	for (unsigned int section = 0; section < 5; section++) {
		const size_t start = (size_t)image_get64(&image, image_at_offset(section));
		uint8_t before[2];

		memcpy(before, image.bytes + start, 2);
		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			char expected[32];

			image_put16(&image, start, bad[i]);
			image_seal(&image);
			snprintf(expected, sizeof(expected), "has type %u;", bad[i]);
			refused(&image, expected);
		}
		memcpy(image.bytes + start, before, 2);
	}
	image_free(&image);
}

/* An image with these section types, in this order. */
static void make(struct image *image, uint16_t version, const char *types)
{
	image_begin(image, version, 0);
	for (; *types; types++)
		image_add_text(image, (uint16_t)(*types - '0'), "data");
	image_end(image);
}

static void test_counts_and_order(void)
{
	static const struct {
		uint16_t version;
		const char *types;
		const char *because; /* NULL: fine */
	} cases[] = {
		{ 4, "1253", NULL },
		{ 4, "5213", NULL },
		{ 4, "2135", NULL },
		{ 4, "125", NULL },
		{ 4, "12534", NULL },
		{ 4, "41253", NULL },
		{ 2, "123", NULL },
		{ 3, "1234", NULL },
		{ 3, "1253", NULL },
		{ 4, "123", "0 metadata sections" },
		{ 4, "12553", "2 metadata sections" },
		{ 4, "11253", "2 kernel sections" },
		{ 4, "12531", "2 kernel sections" },
		{ 4, "253", "0 kernel sections" },
		{ 4, "153", "0 cmdline sections" },
		{ 4, "12253", "2 cmdline sections" },
		{ 4, "125344", "2 signature sections" },
		{ 4, "31253", "before the kernel" },
		{ 4, "23153", "before the kernel" },
		{ 4, "3125", "before the kernel" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct image image;

		make(&image, cases[i].version, cases[i].types);
		if (cases[i].because)
			refused(&image, cases[i].because);
		else
			accepted(&image, 0);
		image_free(&image);
	}
}

static void test_signature_size(void)
{
	static uint8_t data[32769];
	struct image image;

	for (size_t size = 32768; size <= 32769; size++) {
		image_begin(&image, 4, 0);
		image_add_text(&image, EIF_KERNEL, "K");
		image_add_text(&image, EIF_CMDLINE, "c");
		image_add_text(&image, EIF_METADATA, "{}");
		image_add(&image, EIF_SIGNATURE, data, size);
		image_end(&image);
		if (size > 32768)
			refused(&image, "32769 bytes");
		else
			accepted(&image, 0);
		image_free(&image);
	}
}

/* Exchanges two table entries: the sections stay where they are. */
static void swap_entries(struct image *image, unsigned int a, unsigned int b)
{
	const uint64_t offset = image_get64(image, image_at_offset(a));
	const uint64_t size = image_get64(image, image_at_size(a));

	image_put64(image, image_at_offset(a), image_get64(image, image_at_offset(b)));
	image_put64(image, image_at_size(a), image_get64(image, image_at_size(b)));
	image_put64(image, image_at_offset(b), offset);
	image_put64(image, image_at_size(b), size);
	image_seal(image);
}

static void test_spans(void)
{
	struct image image;

	image_vector3(&image);
	swap_entries(&image, 3, 4);
	refused(&image, "section 4 begins at offset 606, before the end of section 3 at 646");
	swap_entries(&image, 3, 4);
	swap_entries(&image, 0, 1);
	refused(&image, "section 1 begins at offset 548");
	swap_entries(&image, 0, 1);
	accepted(&image, 0);

	/* The same section twice. */
	image_put64(&image, image_at_offset(4), image_get64(&image, image_at_offset(3)));
	image_seal(&image);
	refused(&image, "section 4 begins at offset 606, before the end of section 3 at 626");
	image_free(&image);

	/* A section inside another: the ramdisk's header stands in the metadata's data. */
	image_begin(&image, 4, 0);
	image_add_text(&image, EIF_KERNEL, "K");
	image_add_text(&image, EIF_CMDLINE, "c");
	image_add(&image, EIF_METADATA, "\0\3\0\0\0\0\0\0\0\0\0\2xx", 14);
	image_put64(&image, image_at_offset(3), image.size - 14);
	image_put64(&image, image_at_size(3), 2);
	image.sections = 4;
	image_end(&image);
	refused(&image, "section 3 begins at offset");
	image_free(&image);
}

static void test_gaps(void)
{
	struct image image;

	/* Behind the header. */
	image_begin(&image, 4, 0);
	image.size += 5;
	image_add_text(&image, EIF_KERNEL, "K");
	image_add_text(&image, EIF_CMDLINE, "c");
	image_add_text(&image, EIF_METADATA, "{}");
	image_end(&image);
	accepted(&image, EIF_WARN_GAP);
	image_free(&image);

	/* In the middle. */
	image_begin(&image, 4, 0);
	image_add_text(&image, EIF_KERNEL, "K");
	image.size += 1;
	image_add_text(&image, EIF_CMDLINE, "c");
	image_add_text(&image, EIF_METADATA, "{}");
	image_end(&image);
	accepted(&image, EIF_WARN_GAP);
	image_free(&image);

	/* Behind the last section. */
	image_vector3(&image);
	image.bytes[image.size++] = 'x';
	refused(&image, "CRC-32");
	image_seal(&image);
	accepted(&image, EIF_WARN_GAP);
	image_free(&image);
}

static void test_open_ended(void)
{
	struct eif_source source;
	struct image image;
	struct eif eif;

	/* In memory, what is behind the last section is nobody's. */
	image_vector3(&image);
	memset(image.bytes + image.size, 0xee, 100);
	eif_source_memory(&source, image.bytes, image.size + 100);
	CU_ASSERT_EQUAL(eif_read(&source, &eif, NULL), -EINVAL);
	source.open_ended = true;
	CU_ASSERT_EQUAL(eif_read(&source, &eif, NULL), 0);
	CU_ASSERT_EQUAL(eif.size, 646);
	CU_ASSERT_EQUAL(eif.warnings, EIF_WARN_KERNEL);
	image_free(&image);
}

static void test_warnings(void)
{
	static const struct {
		size_t at;
		uint32_t warning;
	} cases[] = {
		{ 6, EIF_WARN_FLAGS },
		{ 24, EIF_WARN_RESERVED },
		{ 25, EIF_WARN_RESERVED },
		{ 540, EIF_WARN_RESERVED },
		{ 543, EIF_WARN_RESERVED },
		{ 28 + 8 * 5, EIF_WARN_RESERVED },   /* first unused offset */
		{ 284 + 8 * 31, EIF_WARN_RESERVED }, /* last unused size */
		{ 548 + 3, EIF_WARN_SECTION_FLAGS },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct image image;

		image_vector3(&image);
		image.bytes[cases[i].at] = 1;
		image_seal(&image);
		accepted(&image, cases[i].warning);
		image_free(&image);
	}
}

static void test_cmdline(void)
{
	static const struct {
		size_t size, at; /* a byte of its own at this place */
		char byte;
		uint32_t warnings;
	} cases[] = {
		{ 1, 0, 'a', 0 },
		{ EIF_CMDLINE_MAX, 0, 'a', 0 },
		{ EIF_CMDLINE_MAX + 1, 0, 'a', EIF_WARN_CMDLINE_LONG },
		{ 10, 9, '\0', EIF_WARN_CMDLINE_LINES },
		{ 10, 0, '\n', EIF_WARN_CMDLINE_LINES },
		{ EIF_CMDLINE_MAX, EIF_CMDLINE_MAX - 1, '\n', EIF_WARN_CMDLINE_LINES },
		{ EIF_CMDLINE_MAX + 1, EIF_CMDLINE_MAX, '\n', EIF_WARN_CMDLINE_LONG },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[EIF_CMDLINE_MAX + 1];
		struct image image;

		memset(text, 'x', sizeof(text));
		text[cases[i].at] = cases[i].byte;
		image_begin(&image, 4, 0);
		image_add_text(&image, EIF_KERNEL, "K");
		image_add(&image, EIF_CMDLINE, text, cases[i].size);
		image_add_text(&image, EIF_METADATA, "{}");
		image_end(&image);
		accepted(&image, cases[i].warnings);
		image_free(&image);
	}
}

static void test_crc(void)
{
	struct image image;

	image_vector3(&image);
	image_put32(&image, 544, 0x29b2827b);
	refused(&image, "its CRC-32 is 29b2827a, its header says 29b2827b");
	image_free(&image);
}

/* An image whose kernel has magic at offset. */
static void make_kernel(
	struct image *image, uint16_t flags, size_t offset, const char *magic, size_t size)
{
	uint8_t *kernel = calloc(1, size > 0 ? size : 1);

	if (offset + 4 <= size)
		memcpy(kernel + offset, magic, 4);
	image_begin(image, 4, flags);
	image_add(image, EIF_KERNEL, kernel, size);
	image_add_text(image, EIF_CMDLINE, "c");
	image_add_text(image, EIF_METADATA, "{}");
	image_end(image);
	free(kernel);
}

static void test_kernel_format(void)
{
	static const struct {
		uint16_t flags;
		size_t offset;
		const char *magic;
		size_t size;
		bool fits;
	} cases[] = {
		{ 0, 0x202, "HdrS", 0x206, true },
		{ 0, 0x202, "HdrS", 0x1000, true },
		{ 0, 0x202, "HdrS", 0x205, false }, /* cut inside the magic */
		{ 0, 0x202, "HdrT", 0x1000, false },
		{ 0, 0x38, "ARM\x64", 0x1000, false },
		{ 0, 0, "HdrS", 0, false },
		{ 1, 0x38, "ARM\x64", 0x3c, true },
		{ 1, 0x38, "ARM\x64", 0x3b, false },
		{ 1, 0x202, "HdrS", 0x1000, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct nefs_error err = { 0 };
		struct eif_source source;
		struct image image;
		struct eif eif;
		int result;

		make_kernel(&image, cases[i].flags, cases[i].offset, cases[i].magic, cases[i].size);
		eif_source_memory(&source, image.bytes, image.size);
		CU_ASSERT_EQUAL_FATAL(eif_read(&source, &eif, &err), 0);
		CU_ASSERT_STRING_EQUAL(err.text, "");
		CU_ASSERT_EQUAL(eif.warnings, cases[i].fits ? 0 : EIF_WARN_KERNEL);
		CU_ASSERT_EQUAL(eif.arch, cases[i].flags ? EIF_AARCH64 : EIF_X86_64);
		result = eif_check_kernel(&source, &eif, &err);
		CU_ASSERT(cases[i].fits ? result == 0 : image_refused(result, &err));
		image_free(&image);
	}
}

static int read_broken(const struct eif_source *source, void *buffer, size_t size, uint64_t offset)
{
	const struct image *image = source->context;

	if (offset >= 600)
		return -EIO;
	memcpy(buffer, image->bytes + offset, size);
	return 0;
}

static void test_read_error(void)
{
	struct eif_source source = { .read = read_broken, .size = 646, .fd = -1 };
	struct nefs_error err = { 0 };
	struct image image;
	struct eif eif;

	image_vector3(&image);
	source.context = &image;
	CU_ASSERT_EQUAL(eif_read(&source, &eif, &err), -EIO);
	CU_ASSERT_EQUAL(err.code, EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "offset 606"));
	image_free(&image);
}

static void test_file(void)
{
	struct nefs_error err = { 0 };
	struct eif_source source;
	struct image image;
	struct eif eif;
	int fd = memfd_create("image", MFD_CLOEXEC);
	int pipes[2];

	image_vector3(&image);
	CU_ASSERT_EQUAL(write(fd, image.bytes, image.size), (ssize_t)image.size);
	CU_ASSERT_EQUAL(eif_source_fd(&source, fd, &err), 0);
	CU_ASSERT_EQUAL(source.size, 646);
	CU_ASSERT_EQUAL(eif_read(&source, &eif, &err), 0);
	/* Somebody cuts the file while it is read. */
	CU_ASSERT_EQUAL(ftruncate(fd, 630), 0);
	CU_ASSERT_EQUAL(eif_read(&source, &eif, &err), -EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "cut short meanwhile"));
	close(fd);
	image_free(&image);

	CU_ASSERT_EQUAL(pipe(pipes), 0);
	CU_ASSERT_EQUAL(eif_source_fd(&source, pipes[0], &err), -EINVAL);
	close(pipes[0]);
	close(pipes[1]);
	CU_ASSERT_EQUAL(eif_source_fd(&source, -1, &err), -EIO);
}

/* A section of 1 TiB in a sparse file, with nothing behind its claim but zeros. */
static void test_sparse(void)
{
	struct nefs_error err = { 0 };
	struct eif_source source;
	struct image image;
	struct eif eif;
	int fd = memfd_create("sparse", MFD_CLOEXEC);

	image_vector3(&image);
	image_put64(&image, image_at_size(4), (1ULL << 40) + 1);
	image_put64(&image, 626 + 4, (1ULL << 40) + 1);
	CU_ASSERT_EQUAL(write(fd, image.bytes, image.size), (ssize_t)image.size);
	CU_ASSERT_EQUAL_FATAL(ftruncate(fd, 626 + 12 + (1LL << 40)), 0);
	CU_ASSERT_EQUAL(eif_source_fd(&source, fd, &err), 0);
	/* One byte short: refused at once, without reading any of it. */
	CU_ASSERT(image_refused(eif_read(&source, &eif, &err), &err));
	close(fd);
	image_free(&image);
}

/* A source that somebody gives up, at its reads'th piece. */
struct given_up {
	struct eif_source source; /* first */
	const struct image *image;
	struct nefs_pace pace;
	unsigned int reads, more; /* until then, and after it */
};

static int read_given_up(
	const struct eif_source *source, void *buffer, size_t size, uint64_t offset)
{
	struct given_up *own = source->context;

	memset(buffer, 0, size);
	if (offset < own->image->size)
		memcpy(buffer, own->image->bytes + offset,
			size < own->image->size - offset ? size
							 : own->image->size - (size_t)offset);
	if (own->pace.cancelled)
		own->more++;
	else if (--own->reads == 0)
		own->pace.cancelled = true;
	return 0;
}

/* Whenever the wish comes, a terabyte is read no further. */
static void test_cancelled(void)
{
	struct image image;

	image_vector3(&image);
	image_put64(&image, image_at_size(4), 1ULL << 40);
	image_put64(&image, 626 + 4, 1ULL << 40);
	for (unsigned int reads = 1; reads < 100; reads += reads < 20 ? 1 : 20) {
		for (unsigned int measured = 0; measured < 2; measured++) {
			struct given_up own = {
				.source = { .read = read_given_up,
					.size = 626 + 12 + (1ULL << 40),
					.pace = &own.pace,
					.context = &own },
				.image = &image,
				.reads = reads,
			};
			struct nefs_error err = { 0 };
			struct eif_pcrs pcrs;
			struct eif eif;

			CU_ASSERT_EQUAL(measured ? eif_read_measured(&own.source, &eif, &pcrs, &err)
						 : eif_read(&own.source, &eif, &err),
				-ECANCELED);
			CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "stopped"));
			/* What is left of the header and the table: no piece of a section. */
			CU_ASSERT(own.more < 8);
		}
	}
	image_free(&image);
}

/* What a header tells of the image's length, without the image. */
static void test_length(void)
{
	static const struct {
		size_t at; /* 8 bytes of the header that are another value */
		uint64_t value, length;
		const char *because; /* NULL: it is a length */
	} rows[] = {
		{ 8, 1, 646, NULL },
		{ 28 + 8 * 5, 5000, 646, NULL }, /* no entry: there are 5 */
		{ 28 + 8 * 4, 1, 626, NULL }, /* it begins inside the header: eif_read's affair */
		{ 284 + 8 * 4, 1000, 1638, NULL },
		{ 28 + 8 * 1, 90000, 90025, NULL },
		{ 284 + 8 * 4, 4096 - 638, 4096, NULL },
		{ 284 + 8 * 4, 4096 - 637, 0, "section 4" },
		{ 28 + 8 * 4, 4096 - 20, 4096, NULL },
		{ 28 + 8 * 4, 4096 - 19, 0, "section 4" },
		{ 28 + 8 * 4, 4096, 0, "at most 4096" },
		{ 28 + 8 * 2, UINT64_MAX, 0, "18446744073709551615" },
		{ 28 + 8 * 2, UINT64_MAX - 11, 0, "section 2" },
		{ 284 + 8 * 2, UINT64_MAX, 0, "section 2" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t max = rows[i].length > 4096 ? 1ULL << 40 : 4096;
		struct nefs_error err = { 0 };
		uint64_t length = 77;
		struct image image;

		image_vector3(&image);
		image_put64(&image, rows[i].at, rows[i].value);
		for (size_t size = 0; size < 548; size += 91) {
			CU_ASSERT_EQUAL(eif_length(image.bytes, size, max, &length, &err), 0);
			CU_ASSERT_EQUAL(length, 0);
		}
		CU_ASSERT_EQUAL(eif_length(image.bytes, 548, max, &length, &err),
			rows[i].because ? -EINVAL : 0);
		CU_ASSERT_EQUAL(length, rows[i].length);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, rows[i].because ? rows[i].because : ""));
		image_free(&image);
	}
	for (unsigned int count = 0; count < 40; count++) {
		struct image image;
		uint64_t length;

		image_vector3(&image);
		image_put16(&image, 26, (uint16_t)count);
		CU_ASSERT_EQUAL(eif_length(image.bytes, 548, 1ULL << 40, &length, NULL),
			count < 2 || count > 32 ? -EINVAL : 0);
		image_free(&image);
	}
}

static void test_names(void)
{
	CU_ASSERT_STRING_EQUAL(eif_section_name(EIF_KERNEL), "kernel");
	CU_ASSERT_STRING_EQUAL(eif_section_name(EIF_CMDLINE), "cmdline");
	CU_ASSERT_STRING_EQUAL(eif_section_name(EIF_RAMDISK), "ramdisk");
	CU_ASSERT_STRING_EQUAL(eif_section_name(EIF_SIGNATURE), "signature");
	CU_ASSERT_STRING_EQUAL(eif_section_name(EIF_METADATA), "metadata");
	CU_ASSERT_STRING_EQUAL(eif_section_name(77), "unknown");
	CU_ASSERT_STRING_EQUAL(eif_arch_name(EIF_X86_64), "x86_64");
	CU_ASSERT_STRING_EQUAL(eif_arch_name(EIF_AARCH64), "aarch64");
}

static const CU_TestInfo tests[] = {
	{ "truncated at every length", test_truncated },
	{ "truncated at every length, CRC made to fit", test_truncated_sealed },
	{ "every bit flipped", test_every_bit },
	{ "every header byte, CRC made to fit", test_every_header_byte },
	{ "magic", test_magic },
	{ "version", test_version },
	{ "count of sections", test_section_count },
	{ "32 sections", test_most_sections },
	{ "2 sections", test_fewest_sections },
	{ "lying offsets", test_offsets },
	{ "lying sizes", test_sizes },
	{ "unknown types", test_types },
	{ "counts and order", test_counts_and_order },
	{ "size of the signature", test_signature_size },
	{ "descending and overlapping sections", test_spans },
	{ "gaps are warnings", test_gaps },
	{ "memory behind the image", test_open_ended },
	{ "reserved fields are warnings", test_warnings },
	{ "command lines that no kernel reads to their end", test_cmdline },
	{ "CRC", test_crc },
	{ "kernel format", test_kernel_format },
	{ "a read error", test_read_error },
	{ "files", test_file },
	{ "a claim of 1 TiB", test_sparse },
	{ "given up at any piece", test_cancelled },
	{ "the length that a header tells", test_length },
	{ "names", test_names },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("eif_read", tests, NULL, NULL);
}
