/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <linux/magic.h>
#include <nefs/io.h>
#include <nefs/paced_read.h>
#include <sys/uio.h>
#include <sys/vfs.h>

bool nefs_is_in_memory(int fd)
{
	struct statfs status;

	return !fstatfs(fd, &status) &&
	       (status.f_type == TMPFS_MAGIC || status.f_type == HUGETLBFS_MAGIC ||
		       status.f_type == RAMFS_MAGIC);
}

/* As much of it as is there without waiting: bytes. Some filesystems cannot tell, and give none. */
static size_t read_at_hand(int fd, void *data, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		struct iovec rest = { .iov_base = (char *)data + done, .iov_len = size - done };
		ssize_t got = preadv2(fd, &rest, 1, (off_t)(offset + done), RWF_NOWAIT);

		if (got <= 0)
			break;
		done += (size_t)got;
	}
	return done;
}

int nefs_paced_read(
	int fd, bool in_memory, void *data, size_t size, uint64_t offset, struct nefs_pace *pace)
{
	int failed = nefs_pace_begin(pace);
	size_t done = failed || in_memory ? 0 : read_at_hand(fd, data, size, offset);

	if (failed || done == size)
		return failed;
	if (!in_memory)
		nefs_pace_end(pace);
	failed = nefs_pread_all(fd, (char *)data + done, size - done, offset + done);
	if (in_memory && failed)
		nefs_pace_end(pace);
	return failed || in_memory ? failed : nefs_pace_begin(pace);
}
