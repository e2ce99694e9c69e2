/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "launch_sequence.h"

#include "ne_errors.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <nefs/cleanup.h>
#include <nefs/eif.h>
#include <nefs/text_stream.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#if defined(__aarch64__)
#define HOST_ARCH EIF_AARCH64
#else
#define HOST_ARCH EIF_X86_64
#endif

/* Mebibytes, rounded up: a figure that would be enough. */
static uint64_t mib(uint64_t bytes)
{
	return (bytes >> 20) + ((bytes & ((1ULL << 20) - 1)) != 0);
}

static int cancelled(struct launch_sequence *sequence)
{
	if (!nefs_pace_cancelled(sequence->pace))
		return 0;
	return nefs_error_set(&sequence->error, ECANCELED, "stopped while it was being started");
}

/* The device's own words about the last failure, or NULL. */
static const char *known(struct launch_sequence *sequence, char *text, size_t size)
{
	const struct ne_dev_ops *ops = sequence->dev->ops;

	if (!ops->explain || sequence->enclave_fd < 0 ||
		!ops->explain(sequence->dev, sequence->enclave_fd, text, size) || !text[0])
		return NULL;
	return text;
}

/* Refuses what cannot work: the image must fit behind its offset. */
static int check_fit(struct launch_sequence *sequence, uint64_t offset)
{
	/* image_size is a file's, so far below 2^63; offset is the driver's word. */
	if (offset <= sequence->memory && sequence->image_size <= sequence->memory - offset)
		return 0;
	return nefs_error_set(&sequence->error, EINVAL,
		"%" PRIu64 " MiB of memory cannot hold the image: it is %" PRIu64
		" MiB and is placed at %" PRIu64 " MiB, so at least %" PRIu64
		" MiB are needed, and its kernel needs more to run (nitro-cli asks for 4 times the "
		"image): raise `memory`",
		sequence->memory >> 20, mib(sequence->image_size), mib(offset),
		mib(offset) + mib(sequence->image_size));
}

/* What the header asks for beside its architecture: devices that no enclave here has. */
static int check_flags(struct launch_sequence *sequence, const struct eif *eif)
{
	if (!(eif->warnings & EIF_WARN_FLAGS))
		return 0;
	return nefs_error_set(&sequence->error, EINVAL,
		"the image asks by its header flags (0x%04x) for more than an enclave has here: 0x0001 is "
		"its architecture, the others are known of images that boot from PCIe devices; build "
		"it without them",
		eif->flags);
}

static bool is_signed(const struct eif *eif)
{
	for (size_t i = 0; i < eif->section_count; i++)
		if (eif->sections[i].type == EIF_SIGNATURE)
			return true;
	return false;
}

/*
 * Its table first, which may refuse it already; then all of it, unless it has been read or could not be loaded
 * anyway. Only of a signed one the measurements count: *pcrs has PCR0 then.
 */
static int read_image(struct launch_sequence *sequence, const struct eif_source *source,
	struct eif *eif, struct eif_pcrs *pcrs)
{
	int failed = eif_read_table(source, eif, &sequence->error);

	if (failed < 0 || sequence->image_checked) {
		memcpy(pcrs->pcr[0], sequence->image_pcr0, sizeof(pcrs->pcr[0]));
		return failed;
	}
	failed = enclave_memory_check(sequence->dev, sequence->memory, &sequence->error);
	if (failed < 0)
		return failed;
	return is_signed(eif) ? eif_read_measured(source, eif, pcrs, &sequence->error)
			      : eif_read(source, eif, &sequence->error);
}

/* As `nefs-eif verify`, now: dates pass. */
static int check_signature(struct launch_sequence *sequence, const struct eif_source *source,
	const struct eif *eif, const struct eif_pcrs *pcrs)
{
	return is_signed(eif) ? eif_verify(source, eif, pcrs, &sequence->error) : 0;
}

static int check_image(struct launch_sequence *sequence)
{
	NEFS_AUTO_FREE struct eif *eif = malloc(sizeof(*eif));
	struct eif_pcrs pcrs = { 0 };
	struct eif_source source;
	int failed;

	if (!eif)
		return nefs_error_set(
			&sequence->error, ENOMEM, "out of memory for the image's table");
	failed = eif_source_fd(&source, sequence->image_fd, &sequence->error);
	if (failed < 0)
		return failed;
	source.pace = sequence->pace;
	failed = read_image(sequence, &source, eif, &pcrs);
	if (failed < 0)
		return failed;
	if (!sequence->any_arch && eif->arch != HOST_ARCH)
		return nefs_error_set(&sequence->error, EINVAL,
			"the image is for %s, this machine is %s: build it for this machine",
			eif_arch_name(eif->arch), eif_arch_name(HOST_ARCH));
	failed = check_flags(sequence, eif);
	if (failed < 0)
		return failed;
	failed = eif_check_kernel(&source, eif, &sequence->error);
	if (failed < 0)
		return failed;
	return check_signature(sequence, &source, eif, &pcrs);
}

static int create_vm(struct launch_sequence *sequence)
{
	const struct ne_dev_ops *ops = sequence->dev->ops;
	__u64 slot_uid = 0;
	int fd, rc;

	fd = ops->open(sequence->dev, &sequence->error);
	if (fd < 0) {
		/* The device's own sentence knows its path. */
		struct nefs_error own = sequence->error;

		return ne_error_report(&sequence->error, NE_STEP_OPEN, fd,
			own.code ? own.text : NULL, "for a new enclave");
	}
	rc = ops->ioctl(sequence->dev, fd, NE_CREATE_VM, &slot_uid);
	ops->close(sequence->dev, fd);
	if (rc < 0)
		return ne_error_report(&sequence->error, NE_STEP_CREATE_VM, rc, NULL,
			"for a new enclave of %" PRIu32 " vCPUs and %" PRIu64 " MiB",
			sequence->vcpus, sequence->memory >> 20);
	sequence->enclave_fd = rc;
	sequence->slot_uid = slot_uid;
	if (ops->own)
		ops->own(sequence->dev, rc, sequence->uid, sequence->gid);
	return 0;
}

static int find_offset(struct launch_sequence *sequence)
{
	struct ne_image_load_info info = { .flags = NE_EIF_IMAGE };
	char words[256];
	int rc = sequence->dev->ops->ioctl(
		sequence->dev, sequence->enclave_fd, NE_GET_IMAGE_LOAD_INFO, &info);

	if (rc < 0)
		return ne_error_report(&sequence->error, NE_STEP_LOAD_INFO, rc,
			known(sequence, words, sizeof(words)), "when asked where the image goes");
	sequence->load_offset = info.memory_offset;
	return check_fit(sequence, sequence->load_offset);
}

static int map_memory(struct launch_sequence *sequence)
{
	return enclave_memory_map(
		sequence->dev, &sequence->mapped, sequence->memory, &sequence->error);
}

static int load_image(struct launch_sequence *sequence)
{
	return enclave_memory_load(&sequence->mapped, sequence->image_fd, sequence->image_size,
		sequence->load_offset, sequence->pace, &sequence->error);
}

/* One call a mapping: the driver merges neighbouring pages only within a call. */
static int give_memory(struct launch_sequence *sequence)
{
	uint64_t given = 0;
	char words[256];

	for (size_t i = 0; i < sequence->mapped.count; i++) {
		const struct memory_mapping *mapping = &sequence->mapped.mappings[i];
		struct ne_user_memory_region region = {
			.flags = NE_DEFAULT_MEMORY_REGION,
			.memory_size = mapping->size,
			.userspace_addr = (uintptr_t)mapping->address,
		};
		int rc = sequence->dev->ops->ioctl(
			sequence->dev, sequence->enclave_fd, NE_SET_USER_MEMORY_REGION, &region);

		if (rc < 0)
			return ne_error_report(&sequence->error, NE_STEP_SET_MEMORY, rc,
				known(sequence, words, sizeof(words)),
				"after %" PRIu64 " of %" PRIu64 " MiB", given >> 20,
				sequence->memory >> 20);
		given += mapping->size;
		rc = cancelled(sequence);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Room for one more CPU id; the count asked for is only believed as the device grants it. */
static int reserve_cpu(struct launch_sequence *sequence)
{
	uint32_t count = sequence->got_cpu_count;
	uint32_t *larger;

	if (count & (count - 1) || count == 1)
		return 0;
	larger = reallocarray(sequence->got_cpus, count ? 2 * (size_t)count : 2, sizeof(*larger));
	if (!larger)
		return nefs_error_set(
			&sequence->error, ENOMEM, "out of memory for the list of CPUs");
	sequence->got_cpus = larger;
	return 0;
}

static int add_vcpus(struct launch_sequence *sequence)
{
	char words[256];

	while (sequence->got_cpu_count < sequence->vcpus) {
		__u32 id = sequence->cpus ? sequence->cpus[sequence->got_cpu_count] : 0;
		char which[32] = "";
		int rc = reserve_cpu(sequence);

		if (rc < 0)
			return rc;
		if (sequence->cpus)
			snprintf(which, sizeof(which), "at CPU %" PRIu32 ", ", id);
		rc = sequence->dev->ops->ioctl(
			sequence->dev, sequence->enclave_fd, NE_ADD_VCPU, &id);
		if (rc < 0)
			return ne_error_report(&sequence->error, NE_STEP_ADD_VCPU, rc,
				known(sequence, words, sizeof(words)),
				"%safter %" PRIu32 " of %" PRIu32 " vCPUs", which,
				sequence->got_cpu_count, sequence->vcpus);
		sequence->got_cpus[sequence->got_cpu_count++] = id;
		rc = cancelled(sequence);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int compare_cpus(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

	return (a > b) - (a < b);
}

/* "2-3,6": ascending, without spaces. Before the start: whoever is started has all it takes. */
static int list_cpus(struct launch_sequence *sequence)
{
	const uint32_t count = sequence->got_cpu_count;
	uint32_t *cpus = sequence->got_cpus;
	struct text_stream list = { 0 };
	bool open = text_stream_open(&list) == 0;

	if (count > 0)
		qsort(cpus, count, sizeof(*cpus), compare_cpus);
	for (uint32_t first = 0, last; open && first < count; first = last + 1) {
		for (last = first; last + 1 < count && cpus[last + 1] == cpus[last] + 1;)
			last++;
		fprintf(list.out, "%s%" PRIu32, first ? "," : "", cpus[first]);
		if (last > first)
			fprintf(list.out, "-%" PRIu32, cpus[last]);
	}
	if (open)
		sequence->cpu_list = text_stream_take(&list);
	if (!sequence->cpu_list)
		return nefs_error_set(
			&sequence->error, ENOMEM, "out of memory for the list of CPUs");
	return 0;
}

static int start_enclave(struct launch_sequence *sequence)
{
	struct ne_enclave_start_info info = {
		.flags = sequence->debug ? NE_ENCLAVE_DEBUG_MODE : NE_ENCLAVE_PRODUCTION_MODE,
		.enclave_cid = sequence->wanted_cid,
	};
	char words[256], cid[64];
	int rc = sequence->dev->ops->ioctl(
		sequence->dev, sequence->enclave_fd, NE_START_ENCLAVE, &info);

	if (rc < 0) {
		if (sequence->wanted_cid)
			snprintf(cid, sizeof(cid), "CID %" PRIu64, sequence->wanted_cid);
		else
			snprintf(cid, sizeof(cid), "a CID of the device's choice");
		return ne_error_report(&sequence->error, NE_STEP_START, rc,
			known(sequence, words, sizeof(words)),
			"with %s, %" PRIu32 " vCPUs and %" PRIu64 " MiB", cid,
			sequence->got_cpu_count, sequence->memory >> 20);
	}
	sequence->cid = info.enclave_cid;
	return 0;
}

static void close_image(struct launch_sequence *sequence)
{
	if (sequence->image_fd >= 0)
		close(sequence->image_fd);
	sequence->image_fd = -1;
}

static int drop_mappings(struct launch_sequence *sequence)
{
	/* Here, as its disk may take its time. */
	close_image(sequence);
	enclave_memory_unmap(sequence->dev, &sequence->mapped);
	return 0;
}

/* Takes the steps in their order, looking for a cancellation before each. */
static int take_steps(struct launch_sequence *sequence,
	int (*const steps[])(struct launch_sequence *), size_t count)
{
	int failed = 0;

	nefs_error_clear(&sequence->error);
	for (size_t i = 0; i < count && failed >= 0; i++) {
		failed = cancelled(sequence);
		if (failed >= 0)
			failed = steps[i](sequence);
	}
	if (failed < 0) {
		nefs_error_prefix(&sequence->error, "%s", sequence->name);
		return failed;
	}
	return 0;
}

int launch_sequence_prepare(struct launch_sequence *sequence)
{
	static int (*const steps[])(struct launch_sequence *) = {
		check_image,
		create_vm,
		find_offset,
		map_memory,
		load_image,
		give_memory,
		add_vcpus,
		list_cpus,
	};

	return take_steps(sequence, steps, sizeof(steps) / sizeof(steps[0]));
}

int launch_sequence_start(struct launch_sequence *sequence)
{
	static int (*const steps[])(struct launch_sequence *) = {
		start_enclave,
		drop_mappings,
	};

	return take_steps(sequence, steps, sizeof(steps) / sizeof(steps[0]));
}

void launch_sequence_undo(struct launch_sequence *sequence)
{
	enclave_memory_unmap(sequence->dev, &sequence->mapped);
	/* The enclave's end: vCPUs, the device's hold on the pages, the slot. */
	if (sequence->enclave_fd >= 0)
		sequence->dev->ops->close(sequence->dev, sequence->enclave_fd);
	sequence->enclave_fd = -1;
	close_image(sequence);
}

struct backend_grant launch_sequence_grant(const struct launch_sequence *sequence)
{
	return (struct backend_grant){
		.slot_uid = sequence->slot_uid,
		.cid = sequence->cid,
		.memory = sequence->memory,
		.cpus = sequence->cpu_list,
	};
}

/* What can be seen without reading it, and so at once. */
static int check_size(struct launch_sequence *sequence, uint64_t known, struct nefs_error *err)
{
	struct eif_source source = { .size = known };
	int failed = known ? 0 : eif_source_fd(&source, sequence->image_fd, &sequence->error);

	if (!failed) {
		sequence->image_size = source.size;
		failed = check_fit(sequence, EIF_LOAD_OFFSET);
	}
	if (!failed)
		return 0;
	nefs_error_prefix(&sequence->error, "%s", sequence->name);
	if (err)
		*err = sequence->error;
	launch_sequence_free(sequence);
	return failed;
}

int launch_sequence_init(struct launch_sequence *sequence, struct ne_dev *dev, bool any_arch,
	const char *name, const struct backend_config *config, struct nefs_error *err)
{
	memset(sequence, 0, sizeof(*sequence));
	sequence->dev = dev;
	sequence->any_arch = any_arch;
	sequence->name = name;
	sequence->memory = config->memory;
	sequence->vcpus = config->vcpus;
	sequence->wanted_cid = config->cid;
	sequence->image_checked = config->image_checked;
	memcpy(sequence->image_pcr0, config->image_pcr0, sizeof(sequence->image_pcr0));
	sequence->debug = config->debug;
	sequence->uid = config->uid;
	sequence->gid = config->gid;
	sequence->enclave_fd = -1;
	sequence->image_fd = -1;
	if (config->cpus && config->cpu_count > 0) {
		sequence->cpus = reallocarray(NULL, config->cpu_count, sizeof(*sequence->cpus));
		if (!sequence->cpus)
			return nefs_error_set(err, ENOMEM, "%s: out of memory for its CPUs", name);
		memcpy(sequence->cpus, config->cpus, config->cpu_count * sizeof(*sequence->cpus));
		sequence->vcpus = (uint32_t)config->cpu_count;
	}
	sequence->image_fd = fcntl(config->image_fd, F_DUPFD_CLOEXEC, 3);
	if (sequence->image_fd < 0) {
		int code = errno;

		launch_sequence_free(sequence);
		return nefs_error_set(err, code, "%s: cannot hold on to its image: %s%s", name,
			strerror(code),
			code == EMFILE ? ": raise the limit of open files (LimitNOFILE=)" : "");
	}
	return check_size(sequence, config->image_size, err);
}

void launch_sequence_free(struct launch_sequence *sequence)
{
	close_image(sequence);
	free(sequence->cpus);
	sequence->cpus = NULL;
	free(sequence->got_cpus);
	sequence->got_cpus = NULL;
	free(sequence->cpu_list);
	sequence->cpu_list = NULL;
}
