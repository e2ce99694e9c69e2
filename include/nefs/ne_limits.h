/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the interface of Nitro Enclaves allows, each figure once: for what is asked for, for what is handed
 * to the device, and for the simulated one. Sources: docs/facts/driver.md §1 (memory, CIDs), docs/facts/eif.md
 * §7 (ports).
 */
#ifndef NEFS_NE_LIMITS_H
#define NEFS_NE_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes: what all memory of an enclave is a multiple of, and the least that one has. */
#define NE_MEMORY_UNIT (2ULL << 20)
#define NE_MEMORY_MIN  (64ULL << 20)

/* Numbers of CPUs are below this; Linux's NR_CPUS is 8192 at most. */
#define NE_CPUS_MAX 65536

/* CIDs of enclaves. Those below are reserved, the one above stands for any. */
#define NE_CID_FIRST 4ULL
#define NE_CID_LAST  0xfffffffeULL

static inline bool ne_cid_is_valid(uint64_t cid)
{
	return cid >= NE_CID_FIRST && cid <= NE_CID_LAST;
}

/* The parent is this CID for its enclaves; they report in on this port of its. */
#define NE_PARENT_CID	  3
#define NE_HEARTBEAT_PORT 9000

/* The hypervisor's CID, and its port for the console of the enclave with CID 0: that of CID n is n above. */
#define NE_CONSOLE_CID	0
#define NE_CONSOLE_PORT 10000

/* The simulated machine: its CPU threads, an even number, and bytes of huge pages. */
#define NE_SIM_CPUS_MIN	  4
#define NE_SIM_CPUS_MAX	  NE_CPUS_MAX
#define NE_SIM_MEMORY_MAX (4ULL << 40)

#endif
