/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How often an image is read: once to be described, and once to be loaded where it has been
 * described before. What a start is told to be checked is believed as to its CRC, and no further.
 */
#include "cunit_main.h"
#include "eif/build.h"
#include "eif/internal.h"
#include "eif_keys.h"
#include "launch/launch_sequence.h"
#include "test_launch_device.h"
#include "test_launch_image.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB	(1ULL << 20)
#define RAMDISK (20 * MIB)

/* Reads of an image that are not passes over it: headers, the kernel's magic, metadata. */
#define SLACK 65536

#if defined(__aarch64__)
#define HOST	EIF_AARCH64
#define FOREIGN EIF_X86_64
#else
#define HOST	EIF_X86_64
#define FOREIGN EIF_AARCH64
#endif

/* Bytes that this process has read so far; 0 where the kernel does not count them. */
static uint64_t bytes_read(void)
{
	unsigned long long count = 0;
	FILE *file = fopen("/proc/self/io", "re");

	if (!file)
		return 0;
	if (fscanf(file, "rchar: %llu", &count) != 1)
		count = 0;
	fclose(file);
	return count;
}

static uint64_t size_of(int fd)
{
	return (uint64_t)lseek(fd, 0, SEEK_END);
}

/* Is what was read so many passes over the image? before: the count at the beginning. */
static bool passes(int image, uint64_t count, uint64_t before, uint64_t all)
{
	uint64_t size = size_of(image);

	if (before == 0) {
		printf("no /proc/self/io: reads are not counted ... ");
		return true;
	}
	if (all < count * size || all > count * size + SLACK)
		printf("%llu bytes are not %llu times %llu ... ", (unsigned long long)all,
			(unsigned long long)count, (unsigned long long)size);
	return all >= count * size && all <= count * size + SLACK;
}

/* Prepares a start, and gives all back. The sequence's error is in *err. */
static int prepare(int image, bool checked, bool any_arch, struct nefs_error *err)
{
	struct backend_config config = {
		.name = "web",
		.memory = 64 * MIB,
		.vcpus = 2,
		.image_fd = image,
		.image_checked = checked,
	};
	struct test_device *device = test_device_new(64);
	struct launch_sequence sequence;
	struct eif_source source;
	struct eif_pcrs pcrs = { 0 };
	struct eif eif;
	int result;

	/* What its description has found. */
	if (checked && eif_source_fd(&source, image, NULL) == 0 &&
		eif_read_table(&source, &eif, NULL) == 0 && eif_find(&eif, EIF_SIGNATURE) &&
		eif_measure_sections(&source, eif.sections, eif.section_count, &pcrs, NULL) == 0)
		memcpy(config.image_pcr0, pcrs.pcr[0], sizeof(config.image_pcr0));
	nefs_error_clear(err);
	result = launch_sequence_init(&sequence, &device->dev, any_arch, config.name, &config, err);
	if (result) {
		device->ops.destroy(&device->dev);
		return result;
	}
	result = launch_sequence_prepare(&sequence);
	*err = sequence.error;
	CU_ASSERT_EQUAL(test_device_calls(device, TEST_OPEN), result ? 0 : 1);
	CU_ASSERT_TRUE(result || memcmp(device->image_magic, ".eif", 4) == 0);
	launch_sequence_undo(&sequence);
	launch_sequence_free(&sequence);
	CU_ASSERT_TRUE(test_device_idle(device));
	device->ops.destroy(&device->dev);
	return result;
}

static void test_described_once(void)
{
	struct backend_image_report report = { 0 };
	struct nefs_error err = { 0 };
	int image = test_image(HOST, RAMDISK);
	uint64_t before = bytes_read(), all;

	CU_ASSERT_EQUAL_FATAL(backend_image_describe(image, NULL, &report, &err), 0);
	all = bytes_read() - before;
	CU_ASSERT_TRUE(passes(image, 1, before, all));
	free(report.measurements);
	free(report.info);
	close(image);
}

static void test_loaded_once(void)
{
	struct nefs_error err;
	int image = test_image(HOST, RAMDISK);
	uint64_t before = bytes_read(), all;

	CU_ASSERT_EQUAL(prepare(image, true, false, &err), 0);
	all = bytes_read() - before;
	CU_ASSERT_TRUE(passes(image, 1, before, all));

	/* One that nobody has checked is read for its CRC before it is loaded. */
	before = bytes_read();
	CU_ASSERT_EQUAL(prepare(image, false, false, &err), 0);
	all = bytes_read() - before;
	CU_ASSERT_TRUE(passes(image, 2, before, all));
	close(image);
}

static void test_crc(void)
{
	struct nefs_error err;
	int image = test_image(HOST, 4096);

	CU_ASSERT_EQUAL(pwrite(image, "x", 1, (off_t)size_of(image) - 100), 1);
	CU_ASSERT_EQUAL(prepare(image, false, false, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "web: the image is damaged: its CRC-32 is"));
	/* The CRC is not looked at where it has been before. */
	CU_ASSERT_EQUAL(prepare(image, true, false, &err), 0);
	close(image);
}

/* What is in an image that was said to be checked. */
static void refused(int image, const char *because)
{
	struct nefs_error err;

	CU_ASSERT_EQUAL(prepare(image, true, false, &err), -EINVAL);
	if (!strstr(err.text, because))
		puts(err.text);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, because));
	close(image);
}

static void test_structure(void)
{
	int image = test_image(HOST, 4096);

	CU_ASSERT_EQUAL(ftruncate(image, 500), 0);
	refused(image, "the header alone takes 548");

	image = test_image(HOST, 4096);
	CU_ASSERT_EQUAL(ftruncate(image, (off_t)size_of(image) - 1), 0);
	refused(image, "it is cut short");

	/* The first section's size, then its offset, in the header's table. */
	image = test_image(HOST, 4096);
	CU_ASSERT_EQUAL(pwrite(image, "\x7f", 1, 284), 1);
	refused(image, "by the image's header and 4096 by its own");
	image = test_image(HOST, 4096);
	CU_ASSERT_EQUAL(pwrite(image, "\xff", 1, 28), 1);
	refused(image, "but the image ends at");

	/* The kernel's magic. */
	image = test_image(HOST, 4096);
	CU_ASSERT_EQUAL(pwrite(image, "\0\0\0\0", 4, 560 + 0x202), 4);
	CU_ASSERT_EQUAL(pwrite(image, "\0\0\0\0", 4, 560 + 0x38), 4);
	refused(image, "the kernel is no");

	refused(test_image(FOREIGN, 4096), "build it for this machine");
	refused(test_image(HOST, 57 * MIB), "64 MiB of memory cannot hold the image");
}

/* ---- what a device cannot serve, and what verify refuses ---- */

/* The image, signed with a certificate of these dates, in a memfd. */
static int sign(int image, time_t from, time_t until)
{
	int fd = memfd_create("signed", MFD_CLOEXEC);
	struct eif_signer *signer = NULL;
	struct nefs_error err = { 0 };
	struct eif_source source;
	struct eif_pcrs pcrs;
	struct eif eif, made;
	struct pair pair;

	pair_make(&pair, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP384R1),
		"CN=launch", from, until);
	CU_ASSERT_EQUAL_FATAL(eif_signer_load(pair.key.data, pair.key.size, pair.certificate.data,
				      pair.certificate.size, &signer, &err),
		0);
	CU_ASSERT_EQUAL_FATAL(eif_source_fd(&source, image, &err), 0);
	CU_ASSERT_EQUAL_FATAL(eif_read(&source, &eif, &err), 0);
	CU_ASSERT_EQUAL_FATAL(eif_sign(&source, &eif, signer, fd, &made, &pcrs, &err), 0);
	eif_signer_free(signer);
	pair_free(&pair);
	close(image);
	return fd;
}

/* Writes one byte, and a CRC that fits. */
static void patch(int fd, off_t at, uint8_t value)
{
	struct eif_source source;
	uint32_t crc;

	CU_ASSERT_EQUAL(pwrite(fd, &value, 1, at), 1);
	CU_ASSERT_EQUAL(eif_source_fd(&source, fd, NULL), 0);
	CU_ASSERT_EQUAL(eif_crc(&source, source.size, &crc, NULL), 0);
	crc = htobe32(crc);
	CU_ASSERT_EQUAL(pwrite(fd, &crc, sizeof(crc), 544), 4);
}

static uint8_t byte_at(int fd, off_t at)
{
	uint8_t value = 0;

	CU_ASSERT_EQUAL(pread(fd, &value, 1, at), 1);
	return value;
}

/* Whether it was described before or not, it is refused with the same words. */
static void refused_either_way(int image, const char *because)
{
	struct nefs_error err;

	CU_ASSERT_EQUAL(prepare(image, false, true, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, because));
	refused(image, because);
}

static void test_flags(void)
{
	static const uint8_t high[] = { 0x01, 0x02, 0x80, 0x00, 0x00 },
			     low[] = { 0x00, 0x00, 0x00, 0x40, 0x02 };

	for (size_t i = 0; i < sizeof(high); i++) {
		int image = test_image(HOST, 4096);
		char word[16];

		patch(image, 6, high[i]);
		patch(image, 7, byte_at(image, 7) | low[i]);
		snprintf(word, sizeof(word), "0x%02x%02x", high[i], byte_at(image, 7));
		refused_either_way(image, word);
	}
}

static void test_signature(void)
{
	const time_t now = time(NULL), day = 86400;
	struct nefs_error err;
	int image = sign(test_image(HOST, 4096), now - day, now + day);
	off_t last = (off_t)size_of(image) - 1;

	CU_ASSERT_EQUAL(prepare(image, false, false, &err), 0);
	CU_ASSERT_EQUAL(prepare(image, true, false, &err), 0);
	/* The signature's last bit, which stays well-formed. */
	patch(image, last, byte_at(image, last) ^ 1);
	refused_either_way(image, "was not made with its certificate's key");

	refused_either_way(
		sign(test_image(HOST, 4096), now - 9 * day, now - 2 * day), "CN=launch expired on");
	refused_either_way(sign(test_image(HOST, 4096), now + 2 * day, now + 9 * day),
		"CN=launch is not valid before");

	/* The kernel was changed after signing. */
	image = sign(test_image(HOST, 4096), now - day, now + day);
	patch(image, 2000, byte_at(image, 2000) ^ 1);
	refused_either_way(image, "the signature is not for this image");
}

/* It is refused by its size, whatever it is. */
static void test_larger_than_memory(void)
{
	int image = memfd_create("large", MFD_CLOEXEC);
	uint64_t before = bytes_read();

	CU_ASSERT_EQUAL(ftruncate(image, 1LL << 40), 0);
	refused(image, "64 MiB of memory cannot hold the image: it is 1048576 MiB");
	CU_ASSERT_TRUE(bytes_read() - before < SLACK);
}

static const CU_TestInfo tests[] = {
	{ "described in one pass", test_described_once },
	{ "checked before: loaded, and not read before that", test_loaded_once },
	{ "a wrong CRC", test_crc },
	{ "checked before: the structure is checked all the same", test_structure },
	{ "header flags that ask for more", test_flags },
	{ "a signature that verify refuses", test_signature },
	{ "larger than its memory", test_larger_than_memory },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("launch_checked", tests, NULL, NULL);
}
