/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One pass over an image: the CRC and every PCR, whatever the order and the sizes of its sections,
 * with each byte read once and none hashed more often than the PCRs need.
 */
#include "eif_image.h"
#include "eif_keys.h"
#include "internal.h"
#include "signature.h"
#include <dlfcn.h>

/* GnuTLS's own functions, watched: this program's definitions come before the library's. */
static uint64_t hashed;
static unsigned int copies, copies_allowed;
static unsigned int failing_digest; /* the one, counted from here, that fails; 0: none */

int gnutls_hash(gnutls_hash_hd_t handle, const void *text, size_t size)
{
	int (*own)(gnutls_hash_hd_t, const void *, size_t) =
		(int (*)(gnutls_hash_hd_t, const void *, size_t))dlsym(RTLD_NEXT, "gnutls_hash");

	hashed += size;
	return own(handle, text, size);
}

gnutls_hash_hd_t gnutls_hash_copy(gnutls_hash_hd_t handle)
{
	gnutls_hash_hd_t (*own)(gnutls_hash_hd_t) =
		(gnutls_hash_hd_t(*)(gnutls_hash_hd_t))dlsym(RTLD_NEXT, "gnutls_hash_copy");

	return copies++ < copies_allowed ? own(handle) : NULL;
}

int gnutls_hash_fast(
	gnutls_digest_algorithm_t algorithm, const void *text, size_t size, void *digest)
{
	int (*own)(gnutls_digest_algorithm_t, const void *, size_t, void *) =
		(int (*)(gnutls_digest_algorithm_t, const void *, size_t, void *))dlsym(
			RTLD_NEXT, "gnutls_hash_fast");

	if (failing_digest > 0 && --failing_digest == 0)
		return GNUTLS_E_MEMORY_ERROR;
	return own(algorithm, text, size, digest);
}

/* A source over an image that counts how often each byte is read. */
struct counted {
	const struct image *image;
	uint8_t *times; /* by offset */
	uint64_t bytes; /* all together */
	uint64_t largest;
};

static int read_counted(const struct eif_source *source, void *buffer, size_t size, uint64_t offset)
{
	struct counted *counted = source->context;

	memcpy(buffer, counted->image->bytes + offset, size);
	for (size_t i = 0; i < size; i++)
		counted->times[offset + i]++;
	counted->bytes += size;
	if (size > counted->largest)
		counted->largest = size;
	return 0;
}

/* What an image is made of, in its order, and what must come out. */
struct layout {
	const char *order; /* K, C, M, R, S; and - for a gap in front of the next section */
	size_t sizes[8];   /* of the sections but S */
};

#define BLOCK ((size_t)EIF_BUFFER_SIZE)

static const struct layout layouts[] = {
	/* As builders make them. */
	{ "KCMR", { 100, 13, 2, 1000 } },
	{ "KCMRR", { 100, 13, 2, 1000, 2000 } },
	{ "KCMRRR", { 3000, 84, 300, 1000, 2000, 77 } },
	/* No ramdisk, none with anything in it, no metadata. */
	{ "KC", { 10, 10 } },
	{ "KCRR", { 10, 0, 0, 0 } },
	{ "KCR", { 1, 1, 1 } },
	/* The command line first, between ramdisks, and last: after PCR0 and PCR1 have parted. */
	{ "CKMRR", { 20, 100, 2, 300, 400 } },
	{ "KRCRR", { 100, 300, 20, 400, 500 } },
	{ "KRC", { 100, 300, 20 } },
	{ "KRRC", { 100, 300, 400, 20 } },
	{ "KRRRRCM", { 100, 300, 400, 500, 600, 20, 2 } },
	{ "MCKRRR", { 2, 20, 100, 300, 400, 500 } },
	/* Metadata and a signature anywhere. */
	{ "MKRRC", { 2, 100, 300, 400, 20 } },
	{ "KRMRSC", { 100, 300, 2, 400, 20 } },
	{ "SKCMRR", { 100, 20, 2, 300, 400 } },
	{ "KCMRRS", { 100, 20, 2, 300, 400 } },
	/* Gaps. */
	{ "-K-C-R-R-M", { 100, 20, 300, 400, 2 } },
	{ "K-R-R-C-S", { 100, 300, 400, 20 } },
	/* Sizes around those of a block. */
	{ "KCMRR", { BLOCK, 1, 2, BLOCK - 1, BLOCK + 1 } },
	{ "KCMRR", { BLOCK + 1, 4095, 2, 2 * BLOCK, 3 * BLOCK - 1 } },
	{ "KRRC", { BLOCK - 1, BLOCK, 2 * BLOCK + 7, BLOCK + 3 } },
	{ "KMCR", { 1, BLOCK + 1, 4097, 2 * BLOCK - 12 } },
	{ "KRRRC-M", { BLOCK - 548 - 12, BLOCK - 12, BLOCK - 11, BLOCK - 13, 1, BLOCK } },
};

#define LAYOUTS (sizeof(layouts) / sizeof(layouts[0]))

static uint8_t signature[EIF_SIGNATURE_MAX];
static size_t signature_size;
static uint8_t signature_pcr8[EIF_PCR_SIZE];

/* A signature section (of another image: measuring does not care), and its PCR8. */
static void make_signature(void)
{
	const uint8_t pcr0[EIF_PCR_SIZE] = { 1 };
	uint8_t input[2 * EIF_PCR_SIZE] = { 0 };
	struct eif_signer *signer = NULL;
	uint8_t *section = NULL;
	struct pair pair;

	pair_make_ec(&pair, GNUTLS_ECC_CURVE_SECP384R1);
	CU_ASSERT_EQUAL_FATAL(eif_signer_load(pair.key.data, pair.key.size, pair.certificate.data,
				      pair.certificate.size, &signer, NULL),
		0);
	CU_ASSERT_EQUAL_FATAL(eif_signer_sign(signer, pcr0, &section, &signature_size, NULL), 0);
	memcpy(signature, section, signature_size);
	gnutls_hash_fast(GNUTLS_DIG_SHA384, pair.der.data, pair.der.size, input + EIF_PCR_SIZE);
	gnutls_hash_fast(GNUTLS_DIG_SHA384, input, sizeof(input), signature_pcr8);
	free(section);
	eif_signer_free(signer);
	pair_free(&pair);
}

/* The bytes that a PCR is made of, put together here in the plainest way. */
struct expected {
	uint8_t *bytes[3];
	size_t sizes[3];
	uint64_t hashed; /* what must be hashed for them */
	bool is_signed;
};

static void expect(struct expected *expected, unsigned int pcr, const uint8_t *data, size_t size)
{
	memcpy(expected->bytes[pcr] + expected->sizes[pcr], data, size);
	expected->sizes[pcr] += size;
}

static void make(const struct layout *layout, struct image *image, struct expected *expected)
{
	static const char letters[] = "?KCRSM"; /* by type */
	uint8_t *data = malloc(IMAGE_ROOM);
	unsigned int ramdisks = 0;
	const size_t *size = layout->sizes;

	memset(expected, 0, sizeof(*expected));
	for (size_t i = 0; i < 3; i++)
		expected->bytes[i] = malloc(IMAGE_ROOM);
	image_begin(image, 4, 0);
	if (!strchr(layout->order, 'M'))
		image_put16(image, 4, 3);
	for (const char *c = layout->order; *c; c++) {
		uint16_t type = (uint16_t)(strchr(letters, *c) ? strchr(letters, *c) - letters : 0);

		if (*c == '-') {
			memset(image->bytes + image->size, 0xa5, 37);
			image->size += 37;
			continue;
		}
		if (type == EIF_SIGNATURE) {
			image_add(image, type, signature, signature_size);
			expected->is_signed = true;
			continue;
		}
		for (size_t i = 0; i < *size; i++)
			data[i] = (uint8_t)(i * 7 + i / 251 + (size_t)(c - layout->order));
		image_add(image, type, data, *size);
		ramdisks += type == EIF_RAMDISK;
		if (type != EIF_METADATA) {
			expect(expected, 0, data, *size);
			expected->hashed += *size;
		}
		if (type == EIF_KERNEL || type == EIF_CMDLINE ||
			(type == EIF_RAMDISK && ramdisks == 1))
			expect(expected, 1, data, *size);
		if (type == EIF_RAMDISK && ramdisks > 1) {
			expect(expected, 2, data, *size);
			expected->hashed += *size;
		}
		/* Once PCR0 and PCR1 have parted, what goes into both is hashed for both. */
		if (type == EIF_CMDLINE && ramdisks > 1)
			expected->hashed += *size;
		size++;
	}
	image_end(image);
	free(data);
}

static void check_pcrs(const struct eif_pcrs *pcrs, const struct expected *expected)
{
	for (size_t i = 0; i < 3; i++) {
		uint8_t input[2 * EIF_PCR_SIZE] = { 0 }, pcr[EIF_PCR_SIZE];

		gnutls_hash_fast(GNUTLS_DIG_SHA384, expected->bytes[i], expected->sizes[i],
			input + EIF_PCR_SIZE);
		gnutls_hash_fast(GNUTLS_DIG_SHA384, input, sizeof(input), pcr);
		CU_ASSERT_EQUAL(memcmp(pcrs->pcr[i], pcr, sizeof(pcr)), 0);
	}
	CU_ASSERT_EQUAL(pcrs->has_pcr8, expected->is_signed);
	if (expected->is_signed)
		CU_ASSERT_EQUAL(memcmp(pcrs->pcr8, signature_pcr8, EIF_PCR_SIZE), 0);
}

static void expected_free(struct expected *expected)
{
	for (size_t i = 0; i < 3; i++)
		free(expected->bytes[i]);
}

/* Reads and measures; the image must be good. */
static void measure(const struct image *image, struct counted *counted, struct eif_pcrs *pcrs)
{
	struct eif_source source = {
		.read = read_counted, .size = image->size, .fd = -1, .context = counted
	};
	struct nefs_error err = { 0 };
	struct eif eif;

	memset(counted, 0, sizeof(*counted));
	counted->image = image;
	counted->times = calloc(1, image->size);
	hashed = 0;
	copies = 0;
	memset(pcrs, 0xff, sizeof(*pcrs));
	CU_ASSERT_EQUAL_FATAL(eif_read_measured(&source, &eif, pcrs, &err), 0);
	CU_ASSERT_STRING_EQUAL(err.text, "");
	CU_ASSERT_EQUAL(eif.size, image->size);
}

static void test_layouts(void)
{
	make_signature();
	for (size_t i = 0; i < LAYOUTS; i++) {
		struct expected expected;
		struct counted counted;
		struct eif_pcrs pcrs;
		struct image image;

		make(&layouts[i], &image, &expected);
		/* The state copied, and where GnuTLS cannot copy one. */
		copies_allowed = UINT32_MAX;
		measure(&image, &counted, &pcrs);
		check_pcrs(&pcrs, &expected);
		free(counted.times);
		copies_allowed = 0;
		measure(&image, &counted, &pcrs);
		check_pcrs(&pcrs, &expected);
		free(counted.times);
		expected_free(&expected);
		image_free(&image);
	}
}

static void test_reads(void)
{
	make_signature();
	copies_allowed = UINT32_MAX;
	for (size_t i = 0; i < LAYOUTS; i++) {
		struct expected expected;
		struct counted counted;
		struct eif_pcrs pcrs;
		struct image image;
		size_t at = 548;

		make(&layouts[i], &image, &expected);
		measure(&image, &counted, &pcrs);
		/* The header and those of the sections are looked at first. */
		CU_ASSERT(counted.bytes <= image.size + 548 + 12 * 32 + 4 + EIF_CMDLINE_MAX +
						   (expected.is_signed ? signature_size : 0));
		CU_ASSERT(counted.largest <= EIF_BUFFER_SIZE);
		for (unsigned int section = 0; section < image.sections; section++) {
			size_t start = image_get64(&image, image_at_offset(section)) + 12;
			size_t end = start + image_get64(&image, image_at_size(section));
			uint16_t type = image.bytes[start - 11];
			/* What is looked at again: a signature is decoded, a kernel's magic compared. */
			uint64_t once_more = type == EIF_SIGNATURE ? end - start : 0;
			uint64_t times = 0, wrong = 0;

			if (type == EIF_KERNEL && end - start >= 0x202 + 4)
				once_more = 4;
			/* As is what a kernel reads of its command line. */
			if (type == EIF_CMDLINE)
				once_more = end - start < EIF_CMDLINE_MAX ? end - start
									  : EIF_CMDLINE_MAX;

			for (; at < start - 12; at++)
				wrong += counted.times[at] != 1;
			CU_ASSERT_EQUAL(wrong, 0);
			for (at = start; at < end; at++) {
				times += counted.times[at];
				wrong += counted.times[at] == 0;
			}
			CU_ASSERT_EQUAL(wrong, 0);
			CU_ASSERT_EQUAL(times, end - start + once_more);
		}
		CU_ASSERT_EQUAL(hashed, expected.hashed);
		free(counted.times);
		expected_free(&expected);
		image_free(&image);
	}
}

/* A copy that fails when it is needed. */
static void test_no_copy(void)
{
	struct nefs_error err = { 0 };
	struct eif_source source;
	struct eif_pcrs pcrs;
	struct image image;
	struct eif eif;

	image_vector3(&image);
	eif_source_memory(&source, image.bytes, image.size);
	copies = 0;
	copies_allowed = 1;
	CU_ASSERT_EQUAL(eif_read_measured(&source, &eif, &pcrs, &err), -ENOMEM);
	CU_ASSERT_EQUAL(err.code, ENOMEM);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "SHA-384"));
	image_free(&image);
}

/* GnuTLS is out of memory at each of its digests in turn, PCR8's among them. */
static void test_no_memory(void)
{
	struct nefs_error err = { 0 };
	struct eif_source source;
	unsigned int failures = 0;
	struct eif_pcrs pcrs;
	struct image image;
	struct eif eif;
	int result;

	make_signature();
	copies_allowed = UINT32_MAX;
	image_vector3(&image);
	image_add(&image, EIF_SIGNATURE, signature, signature_size);
	image_end(&image);
	eif_source_memory(&source, image.bytes, image.size);
	do {
		nefs_error_clear(&err);
		failing_digest = failures + 1;
		result = eif_read_measured(&source, &eif, &pcrs, &err);
		CU_ASSERT_TRUE(result == 0 || result == -ENOMEM);
		CU_ASSERT_EQUAL(err.code, -result);
		failures += result != 0;
	} while (result != 0 && failures < 100);
	/* PCR0, PCR1, PCR2, the certificate and PCR8. */
	CU_ASSERT_EQUAL(failures, 5);
	failing_digest = 0;
	image_free(&image);
}

/* An image in memory that is larger: what is behind it is not its own. */
static void test_open_ended(void)
{
	struct expected expected;
	struct counted counted;
	struct eif_pcrs pcrs;
	struct image image;
	struct eif_source source;
	struct nefs_error err = { 0 };
	struct eif eif;

	copies_allowed = UINT32_MAX;
	make(&layouts[1], &image, &expected);
	memset(image.bytes + image.size, 0x5a, 100);
	counted = (struct counted){ .image = &image, .times = calloc(1, image.size + 100) };
	source = (struct eif_source){
		.read = read_counted, .size = image.size + 100, .fd = -1, .context = &counted
	};
	CU_ASSERT_EQUAL(eif_read_measured(&source, &eif, &pcrs, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "CRC"));
	memset(counted.times, 0, image.size + 100);
	source.open_ended = true;
	CU_ASSERT_EQUAL(eif_read_measured(&source, &eif, &pcrs, &err), 0);
	CU_ASSERT_EQUAL(eif.size, image.size);
	check_pcrs(&pcrs, &expected);
	for (size_t i = 0; i < 100; i++)
		CU_ASSERT_EQUAL(counted.times[image.size + i], 0);
	free(counted.times);
	expected_free(&expected);
	image_free(&image);
}

static int read_cut(const struct eif_source *source, void *buffer, size_t size, uint64_t offset)
{
	const struct image *image = source->context;

	/* What the table says can be read, what the pass needs cannot. */
	if (size > 548 && offset + size > 3 * BLOCK)
		return -EIO;
	memcpy(buffer, image->bytes + offset, size);
	return 0;
}

static void test_read_error(void)
{
	struct eif_source source = { .read = read_cut, .fd = -1 };
	struct nefs_error err = { 0 };
	struct expected expected;
	struct eif_pcrs pcrs;
	struct image image;
	struct eif eif;

	make(&layouts[LAYOUTS - 1], &image, &expected);
	source.context = &image;
	source.size = image.size;
	CU_ASSERT_EQUAL(eif_read_measured(&source, &eif, &pcrs, &err), -EIO);
	CU_ASSERT_EQUAL(err.code, EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "cannot read"));
	expected_free(&expected);
	image_free(&image);
}

static const CU_TestInfo tests[] = {
	{ "every order and size: the PCRs", test_layouts },
	{ "every order and size: each byte is read once", test_reads },
	{ "a hash that cannot be copied", test_no_copy },
	{ "no memory for a digest", test_no_memory },
	{ "memory behind the image", test_open_ended },
	{ "a read error amid the pass", test_read_error },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("eif_measure", tests, NULL, NULL);
}
