/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ne_errors.h"

#include <errno.h>
#include <linux/nitro_enclaves.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ROW(value, errno_, cause_, advice_)                                                        \
	{                                                                                          \
		.ne = value, .code = errno_, .name = #value, .cause = cause_, .advice = advice_    \
	}

#define OUR_MISTAKE "this is a mistake of nefs, please report it with this sentence"

/* In the order of the values, without a hole: ne_error_find counts on it. */
static const struct ne_error_row rows[] = {
	ROW(NE_ERR_VCPU_ALREADY_USED, EBUSY, "this enclave has the CPU already",
		"list each CPU once in `cpus`"),
	ROW(NE_ERR_VCPU_NOT_IN_CPU_POOL, EBUSY,
		"another enclave has the CPU, or it is not in the CPU pool",
		"choose others, stop the enclave that has it, or add it to the pool (ne_cpus)"),
	ROW(NE_ERR_VCPU_INVALID_CPU_CORE, EINVAL, "the CPU belongs to no core of the CPU pool",
		"choose CPUs of the pool"),
	ROW(NE_ERR_INVALID_MEM_REGION_SIZE, EIO,
		"the memory region is not a multiple of 2 MiB or overflows", OUR_MISTAKE),
	ROW(NE_ERR_INVALID_MEM_REGION_ADDR, EIO, "the memory region is not nefs's to give",
		OUR_MISTAKE),
	ROW(NE_ERR_UNALIGNED_MEM_REGION_ADDR, EIO, "the memory region is not aligned", OUR_MISTAKE),
	ROW(NE_ERR_MEM_REGION_ALREADY_USED, EIO, "the enclave has this memory region already",
		OUR_MISTAKE),
	ROW(NE_ERR_MEM_NOT_HUGE_PAGE, EIO, "the memory region is not made of huge pages",
		OUR_MISTAKE),
	ROW(NE_ERR_MEM_DIFFERENT_NUMA_NODE, ENOMEM,
		"the huge pages are on another NUMA node than the CPU pool",
		"reserve huge pages on the pool's node (/sys/devices/system/node/nodeN/hugepages)"),
	ROW(NE_ERR_MEM_MAX_REGIONS, ENOSPC,
		"the memory is in more physically contiguous pieces than the device takes",
		"reserve larger pages (1 GiB), or reserve them right after boot"),
	ROW(NE_ERR_NO_MEM_REGIONS_ADDED, EINVAL, "the enclave has no memory", "set `memory`"),
	ROW(NE_ERR_NO_VCPUS_ADDED, EINVAL, "the enclave has no vCPU", "set `vcpus`"),
	ROW(NE_ERR_ENCLAVE_MEM_MIN_SIZE, EINVAL, "the enclave has less memory than the least, 64M",
		"raise `memory`"),
	ROW(NE_ERR_FULL_CORES_NOT_USED, EINVAL, "the vCPUs are not whole CPU cores",
		"ask for a multiple of the threads of a core, and for all siblings of each core"),
	ROW(NE_ERR_NOT_IN_INIT_STATE, EIO, "the enclave ended while it was being set up",
		"start it again; if it happens again, look at the kernel log (dmesg)"),
	ROW(NE_ERR_INVALID_VCPU, EINVAL, "the machine has no such CPU",
		"choose CPUs of the pool (ne_cpus)"),
	ROW(NE_ERR_NO_CPUS_AVAIL_IN_POOL, EBUSY, "the CPU pool has no free CPU left",
		"stop an enclave or enlarge the pool "
		"(/sys/module/nitro_enclaves/parameters/ne_cpus)"),
	ROW(NE_ERR_INVALID_PAGE_SIZE, EIO, "the device does not take pages of this size",
		"reserve pages of 2 MiB or 1 GiB"),
	ROW(NE_ERR_INVALID_FLAG_VALUE, EIO, "the driver does not know the flags", OUR_MISTAKE),
	ROW(NE_ERR_INVALID_ENCLAVE_CID, EINVAL, "the CID cannot be an enclave's",
		"write 0 to `cid` to let the device choose, or a number from 4 to 4294967294"),
};

const struct ne_error_row *ne_error_find(int ne)
{
	if (ne < rows[0].ne || ne >= rows[0].ne + (int)(sizeof(rows) / sizeof(rows[0])))
		return NULL;
	return &rows[ne - rows[0].ne];
}

/* How each step is called in a sentence. */
static const char *const step_names[] = {
	[NE_STEP_OPEN] = "opening the device",
	[NE_STEP_CREATE_VM] = "NE_CREATE_VM",
	[NE_STEP_LOAD_INFO] = "NE_GET_IMAGE_LOAD_INFO",
	[NE_STEP_SET_MEMORY] = "NE_SET_USER_MEMORY_REGION",
	[NE_STEP_ADD_VCPU] = "NE_ADD_VCPU",
	[NE_STEP_START] = "NE_START_ENCLAVE",
};

/* A plain errno of the device: what it means, and what to do about it. */
struct plain {
	int code;
	const char *cause;
	const char *advice;
};

static struct plain plain_error(enum ne_step step, int code)
{
	switch (code) {
	case ENODEV:
	case ENXIO:
		return (struct plain){ ENODEV, "the Nitro Enclaves device is gone",
			"see whether its driver is still loaded (lsmod, dmesg)" };
	case ETIMEDOUT:
		return (struct plain){ ETIMEDOUT, "the device did not answer in time",
			"start it again; if it happens again, look at the kernel log (dmesg)" };
	case ENOSPC:
		if (step == NE_STEP_SET_MEMORY)
			return (struct plain){ ENOSPC, "the device takes no more memory regions",
				"reserve larger pages (1 GiB)" };
		return (struct plain){ ENOSPC, "the device has no free slot left",
			"stop an enclave" };
	case ENOMEM:
		if (step == NE_STEP_SET_MEMORY)
			return (struct plain){ ENOMEM, "there is no memory for the enclave",
				"stop an enclave or reserve more huge pages" };
		return (struct plain){ ENOMEM, "the device or its driver is out of memory",
			"free memory or stop an enclave" };
	case EEXIST:
	case EADDRINUSE:
	case EBUSY:
		if (step == NE_STEP_START)
			return (struct plain){ EBUSY, "the CID is taken",
				"choose another, or write 0 to `cid` to let the device choose" };
		if (code == EBUSY)
			return (struct plain){ EBUSY, "the device is busy with another enclave",
				"stop an enclave, or start this one again later" };
		break;
	case EACCES:
	case EPERM:
		return (struct plain){ EIO, "nefs is not allowed to use the device",
			"run nefs as root, or as a member of the device node's group (ne)" };
	case EMFILE:
	case ENFILE:
		return (struct plain){ EIO, "nefs has no file descriptor left",
			"raise the limit of open files (LimitNOFILE=, ulimit -n)" };
	default:
		break;
	}
	return (struct plain){ EIO, "the device refused it", "look at the kernel log (dmesg)" };
}

int ne_error_report(struct nefs_error *err, enum ne_step step, int rc, const char *known,
	const char *format, ...)
{
	const struct ne_error_row *row = ne_error_find(-rc);
	const char *name = strerrorname_np(-rc);
	char figures[256];
	struct plain plain;
	char number[24];
	va_list args;

	va_start(args, format);
	vsnprintf(figures, sizeof(figures), format, args);
	va_end(args);

	if (row)
		return nefs_error_set_ne(err, row->code, (uint32_t)row->ne,
			"%s %s (%s from %s%s%s): %s", row->cause, figures, row->name,
			step_names[step], known ? ", " : "", known ? known : "", row->advice);

	plain = plain_error(step, -rc);
	if (!name) {
		snprintf(number, sizeof(number), "errno %d", -rc);
		name = number;
	}
	return nefs_error_set(err, plain.code, "%s %s (%s from %s%s%s): %s", plain.cause, figures,
		name, step_names[step], known ? ", " : "", known ? known : "", plain.advice);
}
