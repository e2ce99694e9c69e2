/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build.h"
#include "internal.h"
#include <errno.h>
#include <nefs/io.h>
#include <string.h>

/* What AWS's builder writes; the platform uses neither (docs/facts/eif.md §1). */
#define DEFAULT_MEM  (1ULL << 30)
#define DEFAULT_CPUS 2

#define NEW_VERSION	  4
#define SIGNABLE_VERSION  3 /* the first that may have a signature */
#define RAMDISK_ALIGNMENT 4

/* A section to be written: size bytes from offset of source, then padding zero bytes. */
struct part {
	uint16_t type;
	uint16_t flags;
	const struct eif_source *source;
	uint64_t offset;
	uint64_t size;
	unsigned int padding;
};

/* Everything but the signature. */
struct recipe {
	uint16_t version;
	uint16_t flags;
	uint64_t default_mem;
	uint64_t default_cpus;
	struct part parts[EIF_SECTIONS_MAX];
	size_t part_count;
	const struct eif_signer *signer;
};

/* The image as far as it is written. */
struct output {
	int fd;
	uint64_t end;
	struct eif_section sections[EIF_SECTIONS_MAX];
	size_t section_count;
};

static int put(struct output *output, const uint8_t *data, size_t size, uint64_t offset,
	struct nefs_error *err)
{
	int failed = nefs_pwrite_all(output->fd, data, size, offset);

	if (!failed)
		return 0;
	return nefs_error_set(err, -failed, "cannot write the image, %zu bytes at offset %llu: %s",
		size, (unsigned long long)offset, strerror(-failed));
}

static int sink_append(void *context, const uint8_t *data, size_t size, struct nefs_error *err)
{
	struct output *output = context;
	int failed = put(output, data, size, output->end, err);

	output->end += size;
	return failed;
}

static int append_part(struct output *output, const struct part *part, struct nefs_error *err)
{
	static const uint8_t zeros[RAMDISK_ALIGNMENT];
	struct eif_section *section = &output->sections[output->section_count];
	uint8_t header[EIF_SECTION_HEADER_SIZE];
	int failed;

	section->type = part->type;
	section->flags = part->flags;
	section->size = part->size + part->padding;
	eif_put16(header, section->type);
	eif_put16(header + 2, section->flags);
	eif_put64(header + 4, section->size);
	failed = sink_append(output, header, sizeof(header), err);
	section->offset = output->end;
	output->section_count++;
	if (!failed)
		failed = eif_source_stream(
			part->source, part->offset, part->size, sink_append, output, err);
	if (!failed && part->padding > 0)
		failed = sink_append(output, zeros, part->padding, err);
	return failed;
}

/* Signs what has been written. */
static int append_signature(
	struct output *output, const struct eif_signer *signer, struct nefs_error *err)
{
	NEFS_AUTO_FREE uint8_t *bytes = NULL;
	struct part part = { .type = EIF_SIGNATURE };
	struct eif_source written, source;
	struct eif_pcrs pcrs;
	size_t size;
	int failed;

	failed = eif_source_fd(&written, output->fd, err);
	if (!failed)
		failed = eif_measure_sections(
			&written, output->sections, output->section_count, &pcrs, err);
	if (!failed)
		failed = eif_signer_sign(signer, pcrs.pcr[0], &bytes, &size, err);
	if (failed)
		return failed;
	eif_source_memory(&source, bytes, size);
	part.source = &source;
	part.size = size;
	return append_part(output, &part, err);
}

/* The header comes last: it holds the table and the CRC over everything. */
static int write_header(struct output *output, const struct recipe *recipe, struct nefs_error *err)
{
	uint8_t header[EIF_HEADER_SIZE] = { 0 };
	struct eif_source written;
	uint32_t crc;
	int failed;

	memcpy(header + EIF_AT_MAGIC, EIF_MAGIC, strlen(EIF_MAGIC));
	eif_put16(header + EIF_AT_VERSION, recipe->version);
	eif_put16(header + EIF_AT_FLAGS, recipe->flags);
	eif_put64(header + EIF_AT_DEFAULT_MEM, recipe->default_mem);
	eif_put64(header + EIF_AT_DEFAULT_CPUS, recipe->default_cpus);
	eif_put16(header + EIF_AT_NUM_SECTIONS, (uint16_t)output->section_count);
	for (size_t i = 0; i < output->section_count; i++) {
		eif_put64(header + EIF_AT_OFFSETS + 8 * i, eif_section_start(&output->sections[i]));
		eif_put64(header + EIF_AT_SIZES + 8 * i, output->sections[i].size);
	}
	failed = put(output, header, sizeof(header), 0, err);
	if (!failed)
		failed = eif_source_fd(&written, output->fd, err);
	if (!failed)
		failed = eif_crc(&written, written.size, &crc, err);
	if (failed)
		return failed;
	eif_put32(header + EIF_AT_CRC, crc);
	return put(output, header + EIF_AT_CRC, 4, EIF_AT_CRC, err);
}

/* Reads back what was written: nothing leaves here that nefs itself would refuse. */
static int check_written(const struct output *output, const struct recipe *recipe, struct eif *eif,
	struct eif_pcrs *pcrs, struct nefs_error *err)
{
	struct eif_source written;
	int failed;

	failed = eif_source_fd(&written, output->fd, err);
	if (!failed)
		failed = eif_read_measured(&written, eif, pcrs, err);
	if (failed || !recipe->signer)
		return failed;

	/* The dates are the caller's business: an image may be signed ahead of time. */
	NEFS_AUTO_FREE struct eif_signature *signature = NULL;
	const struct eif_algorithm *algorithm;
	gnutls_x509_crt_t certificate;

	failed = eif_signature_load(&written, eif, &signature, &certificate, &algorithm, err);
	if (failed)
		return failed;
	failed = eif_signature_verify(signature, certificate, algorithm, pcrs->pcr[0],
		gnutls_x509_crt_get_activation_time(certificate), err);
	gnutls_x509_crt_deinit(certificate);
	return failed;
}

static int assemble(const struct recipe *recipe, int fd, struct eif *eif, struct eif_pcrs *pcrs,
	struct nefs_error *err)
{
	struct output output = { .fd = fd, .end = EIF_HEADER_SIZE };
	int failed = 0;

	if (recipe->part_count + (recipe->signer ? 1 : 0) > EIF_SECTIONS_MAX)
		return nefs_error_set(err, EINVAL,
			"the image has %zu sections, with its signature more than the %d that fit",
			recipe->part_count, EIF_SECTIONS_MAX);
	for (size_t i = 0; !failed && i < recipe->part_count; i++)
		failed = append_part(&output, &recipe->parts[i], err);
	if (!failed && recipe->signer)
		failed = append_signature(&output, recipe->signer, err);
	if (!failed)
		failed = write_header(&output, recipe, err);
	if (!failed)
		failed = check_written(&output, recipe, eif, pcrs, err);
	return failed;
}

/* An uncompressed cpio archive, newc without or with checksums. 1, 0 or a negative errno. */
static int is_raw_cpio(const struct eif_source *ramdisk, struct nefs_error *err)
{
	char magic[6];
	int failed;

	if (ramdisk->size < sizeof(magic))
		return 0;
	failed = eif_source_get(ramdisk, magic, sizeof(magic), 0, err);
	if (failed)
		return failed;
	return memcmp(magic, "070701", sizeof(magic)) == 0 ||
	       memcmp(magic, "070702", sizeof(magic)) == 0;
}

/*
 * Ramdisks are joined as they are, and the kernel only finds a raw cpio at a multiple of 4
 * (docs/facts/eif.md §8). So each raw one is padded, and so is anything that stands before a raw one.
 */
static int pad_ramdisks(struct part *parts, size_t count, struct nefs_error *err)
{
	bool pad = false;

	for (size_t i = count; i-- > 0;) {
		int raw = is_raw_cpio(parts[i].source, err);

		if (raw < 0)
			return raw;
		pad = pad || raw;
		if (pad)
			parts[i].padding = (unsigned int)(-parts[i].size % RAMDISK_ALIGNMENT);
	}
	return 0;
}

static int check_parts(const struct eif_build *build, struct nefs_error *err)
{
	const char *bad;

	if (build->kernel->size == 0)
		return nefs_error_set(err, EINVAL, "the kernel is empty");
	if (!build->any_kernel) {
		int failed = eif_check_kernel_at(
			build->kernel, 0, build->kernel->size, build->arch, err);

		if (failed)
			return failed;
	}
	for (size_t i = 0; i < build->cmdline_size; i++) {
		bad = build->cmdline + i;
		if (*bad == '\0' || *bad == '\n')
			return nefs_error_set(err, EINVAL,
				"the command line has a %s at byte %zu of %zu; it must be one line "
				"of text",
				*bad ? "newline" : "NUL", i, build->cmdline_size);
	}
	if (build->ramdisk_count > EIF_RAMDISKS_MAX)
		return nefs_error_set(err, EINVAL,
			"there are %zu ramdisks; at most %d fit; join some of them with cat",
			build->ramdisk_count, EIF_RAMDISKS_MAX);
	return 0;
}

static void add_part(struct recipe *recipe, uint16_t type, const struct eif_source *source)
{
	recipe->parts[recipe->part_count++] =
		(struct part){ .type = type, .source = source, .size = source->size };
}

int eif_build(const struct eif_build *build, int fd, struct eif *eif, struct eif_pcrs *pcrs,
	struct nefs_error *err)
{
	struct eif_source cmdline, metadata;
	struct recipe recipe = {
		.version = NEW_VERSION,
		.flags = build->arch == EIF_AARCH64 ? EIF_FLAG_ARCH : 0,
		.default_mem = DEFAULT_MEM,
		.default_cpus = DEFAULT_CPUS,
		.signer = build->signer,
	};
	size_t first_ramdisk;
	int failed;

	failed = check_parts(build, err);
	if (failed)
		return failed;
	eif_source_memory(&cmdline, build->cmdline, build->cmdline_size);
	eif_source_memory(&metadata, build->metadata, build->metadata_size);
	add_part(&recipe, EIF_KERNEL, build->kernel);
	add_part(&recipe, EIF_CMDLINE, &cmdline);
	add_part(&recipe, EIF_METADATA, &metadata);
	first_ramdisk = recipe.part_count;
	for (size_t i = 0; i < build->ramdisk_count; i++)
		add_part(&recipe, EIF_RAMDISK, &build->ramdisks[i]);
	failed = pad_ramdisks(&recipe.parts[first_ramdisk], build->ramdisk_count, err);
	if (failed)
		return failed;
	return assemble(&recipe, fd, eif, pcrs, err);
}

int eif_sign(const struct eif_source *source, const struct eif *from,
	const struct eif_signer *signer, int fd, struct eif *eif, struct eif_pcrs *pcrs,
	struct nefs_error *err)
{
	struct recipe recipe = {
		.version = from->version < SIGNABLE_VERSION ? SIGNABLE_VERSION : from->version,
		.flags = from->flags,
		.default_mem = from->default_mem,
		.default_cpus = from->default_cpus,
		.signer = signer,
	};

	for (size_t i = 0; i < from->section_count; i++) {
		const struct eif_section *section = &from->sections[i];

		if (section->type == EIF_SIGNATURE)
			continue;
		recipe.parts[recipe.part_count++] = (struct part){
			.type = section->type,
			.flags = section->flags,
			.source = source,
			.offset = section->offset,
			.size = section->size,
		};
	}
	return assemble(&recipe, fd, eif, pcrs, err);
}
