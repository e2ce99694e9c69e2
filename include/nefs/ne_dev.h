/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lower seam: what stands for /dev/nitro_enclaves.
 *
 * The launch sequence (backend/launch/launch.c) speaks to Linux's driver and to the simulated one
 * through these operations and nothing else. Arguments of ioctl are the kernel's own structures from
 * <linux/nitro_enclaves.h>. The semantics, the order of checks and each errno are those of
 * docs/ioctl.md and docs/facts/driver.md §1; the conformance suite holds both implementations to the
 * same table.
 *
 * Every operation may be called from any thread, by several at the same time, and may block (a
 * device command waits up to 120 s for its reply), so the loop thread calls none of them except
 * those marked "quick".
 *
 * An enclave fd is a real file descriptor in both implementations: poll(2) and epoll report
 * POLLHUP on it, sticky, once the enclave has ended by itself. It must be closed with close()
 * below, never with close(2).
 */
#ifndef NEFS_NE_DEV_H
#define NEFS_NE_DEV_H

#include <linux/ioctl.h>
#include <linux/nitro_enclaves.h>
#include <nefs/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Page sizes that a device can offer; x86 and arm64 hugetlb know fewer. */
#define NE_DEV_PAGE_SIZES_MAX 16

/* The pages of one size that the CPU pool's NUMA node has. */
struct ne_dev_pages {
	uint64_t size; /* bytes, a power of two, at least 2 MiB */
	uint64_t total;
	uint64_t free;
};

struct ne_dev;

struct ne_dev_ops {
	const char *name; /* "kernel" or "sim": the content of the `backend` file */

	/*
	 * Enclaves report in on vsock port 9000 after their start. False for the simulated device
	 * outside the lab: there an enclave counts as running once its VM runs.
	 */
	bool heartbeat;

	/*
	 * Opens the device node for one NE_CREATE_VM. Returns an fd (O_CLOEXEC) or a negative
	 * errno: ENODEV if there is no device, EACCES, EMFILE.
	 */
	int (*open)(struct ne_dev *dev, struct nefs_error *err);

	/*
	 * ioctl(2) on the device fd or an enclave fd. Returns the non-negative result or a negative
	 * errno, NE_ERR_* (256..275) included and untranslated.
	 */
	int (*ioctl)(struct ne_dev *dev, int fd, unsigned long request, void *argument);

	/*
	 * Closes a device fd or an enclave fd. The last close of an enclave fd stops the enclave,
	 * frees its slot, its vCPUs and the device's hold on its memory; it blocks while it does.
	 */
	void (*close)(struct ne_dev *dev, int fd);

	/* NUMA node of the CPU pool; -1: unknown or not NUMA. Quick. */
	int (*node)(struct ne_dev *dev);

	/*
	 * Fills pages[] (at most max entries, largest size first) and returns the count: 0 if no
	 * huge pages are configured.
	 */
	size_t (*pages)(struct ne_dev *dev, struct ne_dev_pages *pages, size_t max);

	/*
	 * Maps size bytes (a multiple of page_size) of huge pages of page_size on the pool's node,
	 * faulted in and zeroed, at *address (aligned to page_size). ENOMEM if there are not
	 * enough: nothing is mapped then.
	 */
	int (*map)(struct ne_dev *dev, uint64_t size, uint64_t page_size, void **address,
		struct nefs_error *err);

	/*
	 * Undoes map (the whole of it). Pages given to an enclave stay with it until its fd is
	 * closed.
	 */
	void (*unmap)(struct ne_dev *dev, void *address, uint64_t size);

	/*
	 * A stream fd (O_NONBLOCK, O_CLOEXEC) from which the console of a debug-mode enclave can be
	 * read, EOF at its end. The connection may still be in progress. Own fd of the caller,
	 * closed by close(2). Negative errno if there is none (yet): EAGAIN asks to try again
	 * later. Quick.
	 */
	int (*console)(struct ne_dev *dev, int enclave_fd, uint64_t cid, struct nefs_error *err);

	/*
	 * A clause in plain words about the last failure of, or the unexpected end of, the enclave
	 * ("QEMU exited with status 1: ..."), into text, always terminated. Returns false if
	 * nothing is known beyond the errno. May be NULL. Quick.
	 */
	bool (*explain)(struct ne_dev *dev, int enclave_fd, char *text, size_t size);

	/*
	 * Says whose the enclave is, before its start: the process that a simulated one is runs as they.
	 * May be NULL. Quick.
	 */
	void (*own)(struct ne_dev *dev, int enclave_fd, uid_t uid, gid_t gid);

	/* Frees the object. All fds must have been closed. */
	void (*destroy)(struct ne_dev *dev);
};

/* Embedded as the first member by each implementation. */
struct ne_dev {
	const struct ne_dev_ops *ops;
};

#endif
