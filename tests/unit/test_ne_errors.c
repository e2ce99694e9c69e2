/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cunit_main.h"
#include "ne_errors.h"
#include <errno.h>
#include <linux/nitro_enclaves.h>

/* What the contract says of each value, written down a second time. */
static const struct {
	int ne;
	int code;
	const char *name;
} expected[] = {
	{ NE_ERR_VCPU_ALREADY_USED, EBUSY, "NE_ERR_VCPU_ALREADY_USED" },
	{ NE_ERR_VCPU_NOT_IN_CPU_POOL, EBUSY, "NE_ERR_VCPU_NOT_IN_CPU_POOL" },
	{ NE_ERR_VCPU_INVALID_CPU_CORE, EINVAL, "NE_ERR_VCPU_INVALID_CPU_CORE" },
	{ NE_ERR_INVALID_MEM_REGION_SIZE, EIO, "NE_ERR_INVALID_MEM_REGION_SIZE" },
	{ NE_ERR_INVALID_MEM_REGION_ADDR, EIO, "NE_ERR_INVALID_MEM_REGION_ADDR" },
	{ NE_ERR_UNALIGNED_MEM_REGION_ADDR, EIO, "NE_ERR_UNALIGNED_MEM_REGION_ADDR" },
	{ NE_ERR_MEM_REGION_ALREADY_USED, EIO, "NE_ERR_MEM_REGION_ALREADY_USED" },
	{ NE_ERR_MEM_NOT_HUGE_PAGE, EIO, "NE_ERR_MEM_NOT_HUGE_PAGE" },
	{ NE_ERR_MEM_DIFFERENT_NUMA_NODE, ENOMEM, "NE_ERR_MEM_DIFFERENT_NUMA_NODE" },
	{ NE_ERR_MEM_MAX_REGIONS, ENOSPC, "NE_ERR_MEM_MAX_REGIONS" },
	{ NE_ERR_NO_MEM_REGIONS_ADDED, EINVAL, "NE_ERR_NO_MEM_REGIONS_ADDED" },
	{ NE_ERR_NO_VCPUS_ADDED, EINVAL, "NE_ERR_NO_VCPUS_ADDED" },
	{ NE_ERR_ENCLAVE_MEM_MIN_SIZE, EINVAL, "NE_ERR_ENCLAVE_MEM_MIN_SIZE" },
	{ NE_ERR_FULL_CORES_NOT_USED, EINVAL, "NE_ERR_FULL_CORES_NOT_USED" },
	{ NE_ERR_NOT_IN_INIT_STATE, EIO, "NE_ERR_NOT_IN_INIT_STATE" },
	{ NE_ERR_INVALID_VCPU, EINVAL, "NE_ERR_INVALID_VCPU" },
	{ NE_ERR_NO_CPUS_AVAIL_IN_POOL, EBUSY, "NE_ERR_NO_CPUS_AVAIL_IN_POOL" },
	{ NE_ERR_INVALID_PAGE_SIZE, EIO, "NE_ERR_INVALID_PAGE_SIZE" },
	{ NE_ERR_INVALID_FLAG_VALUE, EIO, "NE_ERR_INVALID_FLAG_VALUE" },
	{ NE_ERR_INVALID_ENCLAVE_CID, EINVAL, "NE_ERR_INVALID_ENCLAVE_CID" },
};

static void test_complete(void)
{
	size_t count = sizeof(expected) / sizeof(expected[0]);

	CU_ASSERT_EQUAL(count, 20);
	for (size_t i = 0; i < count; i++) {
		const struct ne_error_row *row = ne_error_find(256 + (int)i);

		CU_ASSERT_EQUAL(expected[i].ne, 256 + (int)i);
		CU_ASSERT_PTR_NOT_NULL_FATAL(row);
		CU_ASSERT_EQUAL(row->ne, expected[i].ne);
		CU_ASSERT_EQUAL(row->code, expected[i].code);
		CU_ASSERT_STRING_EQUAL(row->name, expected[i].name);
		CU_ASSERT_TRUE(strlen(row->cause) > 10);
		CU_ASSERT_TRUE(strlen(row->advice) > 10);
	}
	CU_ASSERT_PTR_NULL(ne_error_find(255));
	CU_ASSERT_PTR_NULL(ne_error_find(276));
	CU_ASSERT_PTR_NULL(ne_error_find(0));
	CU_ASSERT_PTR_NULL(ne_error_find(-256));
}

static void test_sentence(void)
{
	struct nefs_error err = { 0 };

	CU_ASSERT_EQUAL(ne_error_report(&err, NE_STEP_ADD_VCPU, -NE_ERR_NO_CPUS_AVAIL_IN_POOL, NULL,
				"after %d of %d vCPUs", 2, 4),
		-EBUSY);
	CU_ASSERT_EQUAL(err.code, EBUSY);
	CU_ASSERT_EQUAL(err.ne, NE_ERR_NO_CPUS_AVAIL_IN_POOL);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(err.text, "the CPU pool has no free CPU left after 2 of 4 vCPUs"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "(NE_ERR_NO_CPUS_AVAIL_IN_POOL from NE_ADD_VCPU)"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "stop an enclave"));

	CU_ASSERT_EQUAL(ne_error_report(&err, NE_STEP_START, -EIO, "QEMU exited with status 1",
				"with CID %d", 16),
		-EIO);
	CU_ASSERT_EQUAL(err.ne, 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "QEMU exited with status 1"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "with CID 16"));
	/* Nobody needs the sentence. */
	CU_ASSERT_EQUAL(ne_error_report(NULL, NE_STEP_START, -EBUSY, NULL, "with CID 16"), -EBUSY);
}

static void test_plain(void)
{
	static const struct {
		enum ne_step step;
		int rc;
		int code;
		const char *names;
	} rows[] = {
		{ NE_STEP_CREATE_VM, -ENOSPC, ENOSPC, "slot" },
		{ NE_STEP_SET_MEMORY, -ENOSPC, ENOSPC, "regions" },
		{ NE_STEP_SET_MEMORY, -ENOMEM, ENOMEM, "memory" },
		{ NE_STEP_START, -EEXIST, EBUSY, "CID is taken" },
		{ NE_STEP_START, -EBUSY, EBUSY, "CID is taken" },
		{ NE_STEP_START, -EADDRINUSE, EBUSY, "CID is taken" },
		{ NE_STEP_ADD_VCPU, -EEXIST, EIO, "EEXIST" },
		{ NE_STEP_CREATE_VM, -ETIMEDOUT, ETIMEDOUT, "ETIMEDOUT" },
		{ NE_STEP_START, -ETIMEDOUT, ETIMEDOUT, "did not answer" },
		{ NE_STEP_OPEN, -ENODEV, ENODEV, "gone" },
		{ NE_STEP_ADD_VCPU, -ENXIO, ENODEV, "ENXIO" },
		{ NE_STEP_OPEN, -EACCES, EIO, "root" },
		{ NE_STEP_OPEN, -EMFILE, EIO, "descriptor" },
		{ NE_STEP_START, -EINVAL, EIO, "EINVAL" },
		{ NE_STEP_START, -EIO, EIO, "NE_START_ENCLAVE" },
		{ NE_STEP_START, -5000, EIO, "errno 5000" },
	};
	struct nefs_error err;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		nefs_error_clear(&err);
		CU_ASSERT_EQUAL(ne_error_report(&err, rows[i].step, rows[i].rc, NULL, "now"),
			-rows[i].code);
		CU_ASSERT_EQUAL(err.code, rows[i].code);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, rows[i].names));
	}
}

static const CU_TestInfo tests[] = {
	{ "every NE_ERR value has its row", test_complete },
	{ "the sentence has cause, figures, name and advice", test_sentence },
	{ "a device's errno by the step", test_plain },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("ne_errors", tests, NULL, NULL);
}
