/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Validation. The checks stand in the order of docs/facts/eif.md §6: each relies on those before it,
 * and none adds two numbers of the image before it knows that the sum fits.
 */
#include "internal.h"
#include "signature.h"
#include <errno.h>
#include <string.h>

#define ULL(value) ((unsigned long long)(value))

/* What tells a kernel image's format. */
struct kernel_format {
	const char *name;
	uint64_t offset;
	uint8_t magic[4];
};

static const struct kernel_format kernel_formats[] = {
	[EIF_X86_64] = { "bzImage", 0x202, { 'H', 'd', 'r', 'S' } },
	[EIF_AARCH64] = { "Image", 0x38, { 'A', 'R', 'M', 0x64 } },
};

const char *eif_section_name(unsigned int type)
{
	switch (type) {
	case EIF_KERNEL:
		return "kernel";
	case EIF_CMDLINE:
		return "cmdline";
	case EIF_RAMDISK:
		return "ramdisk";
	case EIF_SIGNATURE:
		return "signature";
	case EIF_METADATA:
		return "metadata";
	default:
		return "unknown";
	}
}

const char *eif_arch_name(enum eif_arch arch)
{
	return arch == EIF_AARCH64 ? "aarch64" : "x86_64";
}

const struct eif_section *eif_find(const struct eif *eif, enum eif_section_type type)
{
	for (size_t i = 0; i < eif->section_count; i++) {
		if (eif->sections[i].type == type)
			return &eif->sections[i];
	}
	return NULL;
}

bool eif_plausible(const void *head, size_t size)
{
	size_t compared = size < strlen(EIF_MAGIC) ? size : strlen(EIF_MAGIC);

	return compared == 0 || memcmp(head, EIF_MAGIC, compared) == 0;
}

int eif_check_kernel_at(const struct eif_source *source, uint64_t offset, uint64_t size,
	enum eif_arch arch, struct nefs_error *err)
{
	const struct kernel_format *format = &kernel_formats[arch];
	uint8_t found[sizeof(format->magic)];
	int failed;

	if (size < format->offset + sizeof(found))
		return nefs_error_set(err, EINVAL,
			"the kernel is no %s: it has %llu bytes, %s needs a %s of at least %llu",
			format->name, ULL(size), eif_arch_name(arch), format->name,
			ULL(format->offset + sizeof(found)));
	failed = eif_source_get(source, found, sizeof(found), offset + format->offset, err);
	if (failed)
		return failed;
	if (memcmp(found, format->magic, sizeof(found)) != 0)
		return nefs_error_set(err, EINVAL,
			"the kernel is no %s, which %s needs: at offset 0x%llx it has %02x %02x "
			"%02x %02x instead of %02x %02x %02x %02x",
			format->name, eif_arch_name(arch), ULL(format->offset), found[0], found[1],
			found[2], found[3], format->magic[0], format->magic[1], format->magic[2],
			format->magic[3]);
	return 0;
}

int eif_check_kernel(const struct eif_source *source, const struct eif *eif, struct nefs_error *err)
{
	const struct eif_section *kernel = eif_find(eif, EIF_KERNEL);

	if (!kernel)
		return nefs_error_set(err, EINVAL, "the image has no kernel");
	return eif_check_kernel_at(source, kernel->offset, kernel->size, eif->arch, err);
}

static int check_section_count(size_t count, struct nefs_error *err)
{
	if (count >= EIF_SECTIONS_MIN && count <= EIF_SECTIONS_MAX)
		return 0;
	return nefs_error_set(err, EINVAL, "the image has %zu sections; there must be %d to %d",
		count, EIF_SECTIONS_MIN, EIF_SECTIONS_MAX);
}

int eif_length(
	const void *head, size_t size, uint64_t max, uint64_t *length, struct nefs_error *err)
{
	const uint8_t *header = head;
	uint64_t end = EIF_HEADER_SIZE;
	size_t count;
	int failed;

	*length = 0;
	if (size < EIF_HEADER_SIZE)
		return 0;
	count = eif_get16(header + EIF_AT_NUM_SECTIONS);
	failed = check_section_count(count, err);
	if (failed)
		return failed;
	for (size_t i = 0; i < count; i++) {
		uint64_t start = eif_get64(header + EIF_AT_OFFSETS + 8 * i);
		uint64_t data = eif_get64(header + EIF_AT_SIZES + 8 * i);

		if (start > max || max - start < EIF_SECTION_HEADER_SIZE ||
			data > max - start - EIF_SECTION_HEADER_SIZE)
			return nefs_error_set(err, EINVAL,
				"section %zu is said to begin at offset %llu and to have %llu "
				"bytes, but an image has at most %llu: its header is wrong",
				i, ULL(start), ULL(data), ULL(max));
		if (start + EIF_SECTION_HEADER_SIZE + data > end)
			end = start + EIF_SECTION_HEADER_SIZE + data;
	}
	*length = end;
	return 0;
}

/* The header's own fields, up to the number of sections. */
static int parse_header(const struct eif_source *source, const uint8_t *header, struct eif *eif,
	struct nefs_error *err)
{
	int failed;

	if (memcmp(header + EIF_AT_MAGIC, EIF_MAGIC, strlen(EIF_MAGIC)) != 0)
		return nefs_error_set(err, EINVAL,
			"not an EIF: it begins with %02x %02x %02x %02x instead of \"%s\"",
			header[0], header[1], header[2], header[3], EIF_MAGIC);

	eif->version = eif_get16(header + EIF_AT_VERSION);
	eif->flags = eif_get16(header + EIF_AT_FLAGS);
	eif->arch = eif->flags & EIF_FLAG_ARCH ? EIF_AARCH64 : EIF_X86_64;
	eif->default_mem = eif_get64(header + EIF_AT_DEFAULT_MEM);
	eif->default_cpus = eif_get64(header + EIF_AT_DEFAULT_CPUS);
	eif->crc = eif_get32(header + EIF_AT_CRC);
	eif->section_count = eif_get16(header + EIF_AT_NUM_SECTIONS);
	eif->size = source->size;

	if (eif->version < EIF_VERSION_MIN || eif->version > EIF_VERSION_MAX)
		return nefs_error_set(err, EINVAL,
			"the image has EIF version %u; versions %d to %d are known", eif->version,
			EIF_VERSION_MIN, EIF_VERSION_MAX);
	failed = check_section_count(eif->section_count, err);
	if (failed)
		return failed;

	if (eif->flags & ~EIF_FLAG_ARCH)
		eif->warnings |= EIF_WARN_FLAGS;
	if (eif_get16(header + EIF_AT_RESERVED) != 0 || eif_get32(header + EIF_AT_UNUSED) != 0)
		eif->warnings |= EIF_WARN_RESERVED;
	for (size_t i = eif->section_count; i < EIF_SECTIONS_MAX; i++) {
		if (eif_get64(header + EIF_AT_OFFSETS + 8 * i) != 0 ||
			eif_get64(header + EIF_AT_SIZES + 8 * i) != 0)
			eif->warnings |= EIF_WARN_RESERVED;
	}
	return 0;
}

/* One entry of the table and the section header that it points to. */
static int read_section(const struct eif_source *source, const uint8_t *header, size_t index,
	struct eif *eif, struct nefs_error *err)
{
	struct eif_section *section = &eif->sections[index];
	uint64_t start = eif_get64(header + EIF_AT_OFFSETS + 8 * index);
	uint64_t size = eif_get64(header + EIF_AT_SIZES + 8 * index);
	uint8_t own[EIF_SECTION_HEADER_SIZE];
	uint64_t own_size;
	int failed;

	if (start < EIF_HEADER_SIZE)
		return nefs_error_set(err, EINVAL,
			"section %zu is said to begin at offset %llu, inside the header of %d bytes",
			index, ULL(start), EIF_HEADER_SIZE);
	if (start > source->size || source->size - start < EIF_SECTION_HEADER_SIZE)
		return nefs_error_set(err, EINVAL,
			"section %zu is said to begin at offset %llu, but the image ends at %llu: "
			"it is cut short, or its header is wrong",
			index, ULL(start), ULL(source->size));
	failed = eif_source_get(source, own, sizeof(own), start, err);
	if (failed)
		return failed;
	own_size = eif_get64(own + 4);
	if (own_size != size)
		return nefs_error_set(err, EINVAL,
			"section %zu has %llu bytes by the image's header and %llu by its own",
			index, ULL(size), ULL(own_size));
	if (size > source->size - start - EIF_SECTION_HEADER_SIZE)
		return nefs_error_set(err, EINVAL,
			"section %zu at offset %llu is said to have %llu bytes, but the image ends "
			"at %llu: it is cut short, or its header is wrong",
			index, ULL(start), ULL(size), ULL(source->size));
	section->type = eif_get16(own);
	section->flags = eif_get16(own + 2);
	section->offset = start + EIF_SECTION_HEADER_SIZE;
	section->size = size;
	if (section->type < EIF_KERNEL || section->type > EIF_METADATA)
		return nefs_error_set(err, EINVAL,
			"section %zu has type %u; types %d to %d are known", index, section->type,
			EIF_KERNEL, EIF_METADATA);
	if (section->flags != 0)
		eif->warnings |= EIF_WARN_SECTION_FLAGS;
	return 0;
}

/* How many sections of each type there are. */
static int check_counts(const struct eif *eif, struct nefs_error *err)
{
	unsigned int count[EIF_METADATA + 1] = { 0 };

	for (size_t i = 0; i < eif->section_count; i++)
		count[eif->sections[i].type]++;
	for (unsigned int type = EIF_KERNEL; type <= EIF_CMDLINE; type++) {
		if (count[type] != 1)
			return nefs_error_set(err, EINVAL,
				"the image has %u %s sections; there must be exactly 1",
				count[type], eif_section_name(type));
	}
	for (unsigned int type = EIF_SIGNATURE; type <= EIF_METADATA; type++) {
		if (count[type] > 1)
			return nefs_error_set(err, EINVAL,
				"the image has %u %s sections; there may be at most 1", count[type],
				eif_section_name(type));
	}
	if (eif->version >= 4 && count[EIF_METADATA] == 0)
		return nefs_error_set(err, EINVAL,
			"the image has EIF version %u but 0 metadata sections; there must be 1",
			eif->version);
	return 0;
}

/* In which order the sections are, and where. */
static int check_layout(struct eif *eif, struct nefs_error *err)
{
	const struct eif_section *signature = eif_find(eif, EIF_SIGNATURE);
	uint64_t end = EIF_HEADER_SIZE;

	for (size_t i = 0; eif->sections[i].type != EIF_KERNEL; i++) {
		if (eif->sections[i].type == EIF_RAMDISK)
			return nefs_error_set(err, EINVAL,
				"section %zu is a ramdisk and comes before the kernel; ramdisks "
				"must come after it",
				i);
	}
	if (signature && signature->size > EIF_SIGNATURE_MAX)
		return nefs_error_set(err, EINVAL,
			"the signature has %llu bytes; it may have at most %d",
			ULL(signature->size), EIF_SIGNATURE_MAX);
	for (size_t i = 0; i < eif->section_count; i++) {
		uint64_t start = eif_section_start(&eif->sections[i]);

		if (start < end)
			return nefs_error_set(err, EINVAL,
				"section %zu begins at offset %llu, before the end of section %zu "
				"at %llu; sections must follow each other",
				i, ULL(start), i - 1, ULL(end));
		if (start > end)
			eif->warnings |= EIF_WARN_GAP;
		end = eif->sections[i].offset + eif->sections[i].size;
	}
	return 0;
}

/* Everything but the CRC and the kernel. */
static int read_table(const struct eif_source *source, struct eif *eif, struct nefs_error *err)
{
	uint8_t header[EIF_HEADER_SIZE];
	const struct eif_section *last;
	int failed;

	memset(eif, 0, sizeof(*eif));
	if (source->size < EIF_HEADER_SIZE)
		return nefs_error_set(err, EINVAL,
			"not an EIF: it has %llu bytes, the header alone takes %d",
			ULL(source->size), EIF_HEADER_SIZE);
	failed = eif_source_get(source, header, sizeof(header), 0, err);
	if (failed)
		return failed;
	failed = parse_header(source, header, eif, err);
	for (size_t i = 0; !failed && i < eif->section_count; i++)
		failed = read_section(source, header, i, eif, err);
	if (!failed)
		failed = check_counts(eif, err);
	if (!failed)
		failed = check_layout(eif, err);
	if (failed)
		return failed;

	last = &eif->sections[eif->section_count - 1];
	if (source->open_ended)
		eif->size = last->offset + last->size;
	else if (last->offset + last->size < eif->size)
		eif->warnings |= EIF_WARN_GAP;
	return 0;
}

static int check_crc(const struct eif *eif, uint32_t crc, struct nefs_error *err)
{
	if (crc == eif->crc)
		return 0;
	return nefs_error_set(err, EINVAL,
		"the image is damaged: its CRC-32 is %08x, its header says %08x; copy or build it "
		"again",
		crc, eif->crc);
}

/* A kernel of the wrong format is a warning here. */
static int look_at_kernel(const struct eif_source *source, struct eif *eif, struct nefs_error *err)
{
	struct nefs_error unfit = { 0 };
	int failed = eif_check_kernel(source, eif, &unfit);

	if (failed == -EINVAL) {
		eif->warnings |= EIF_WARN_KERNEL;
		return 0;
	}
	if (failed && err)
		*err = unfit;
	return failed;
}

/* So is a command line that no kernel reads to its end: only what one reads is looked at. */
static int look_at_cmdline(const struct eif_source *source, struct eif *eif, struct nefs_error *err)
{
	const struct eif_section *cmdline = eif_find(eif, EIF_CMDLINE);
	char text[EIF_CMDLINE_MAX];
	size_t size = sizeof(text);
	int failed;

	if (!cmdline)
		return 0;
	if (cmdline->size > size)
		eif->warnings |= EIF_WARN_CMDLINE_LONG;
	else
		size = (size_t)cmdline->size;
	failed = eif_source_get(source, text, size, cmdline->offset, err);
	if (failed)
		return failed;
	if (memchr(text, '\0', size) || memchr(text, '\n', size))
		eif->warnings |= EIF_WARN_CMDLINE_LINES;
	return 0;
}

/* What is odd, but decides nothing here. */
static int look_inside(const struct eif_source *source, struct eif *eif, struct nefs_error *err)
{
	int failed = look_at_kernel(source, eif, err);

	return failed ? failed : look_at_cmdline(source, eif, err);
}

int eif_read_table(const struct eif_source *source, struct eif *eif, struct nefs_error *err)
{
	int failed = read_table(source, eif, err);

	return failed ? failed : look_inside(source, eif, err);
}

int eif_read(const struct eif_source *source, struct eif *eif, struct nefs_error *err)
{
	uint32_t crc;
	int failed;

	failed = read_table(source, eif, err);
	if (!failed)
		failed = eif_crc(source, eif->size, &crc, err);
	if (!failed)
		failed = check_crc(eif, crc, err);
	return failed ? failed : look_inside(source, eif, err);
}

int eif_read_measured(const struct eif_source *source, struct eif *eif, struct eif_pcrs *pcrs,
	struct nefs_error *err)
{
	uint32_t crc;
	int failed;

	memset(pcrs, 0, sizeof(*pcrs));
	failed = read_table(source, eif, err);
	if (!failed)
		failed = eif_crc_and_pcrs(source, eif, &crc, pcrs, err);
	if (!failed)
		failed = check_crc(eif, crc, err);
	if (!failed)
		failed = look_inside(source, eif, err);
	if (failed)
		return failed;
	pcrs->pcr0_flags = (uint16_t)(eif->flags & ~EIF_FLAG_ARCH);
	if (!eif_find(eif, EIF_SIGNATURE))
		return 0;
	failed = eif_signature_pcr8(source, eif, pcrs->pcr8, err);
	pcrs->has_pcr8 = !failed;
	return failed;
}
