/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kernel.h"

#include "hugepages.h"
#include "pci.h"
#include "pool.h"
#include <errno.h>
#include <fcntl.h>
#include <nefs/ne_limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define SYSFS "/sys"

struct kernel_dev {
	struct ne_dev dev;
	char path[]; /* of the device node */
};

static int kernel_open(struct ne_dev *dev, struct nefs_error *err)
{
	const struct kernel_dev *kernel = (const struct kernel_dev *)dev;
	int fd = open(kernel->path, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	/* The node goes with its module. */
	if (errno == ENOENT || errno == ENXIO || errno == ENODEV)
		return pci_explain_missing(NULL, kernel->path, err);
	return nefs_error_set(err, errno, "%s cannot be opened: %s", kernel->path, strerror(errno));
}

static int kernel_ioctl(struct ne_dev *dev, int fd, unsigned long request, void *argument)
{
	int result = ioctl(fd, request, argument);

	return result < 0 ? -errno : result;
}

static void kernel_close(struct ne_dev *dev, int fd)
{
	close(fd);
}

static int kernel_node(struct ne_dev *dev)
{
	/* Not kept: an administrator may move the pool while no enclave runs. */
	return pool_node(SYSFS, NULL);
}

static size_t kernel_pages(struct ne_dev *dev, struct ne_dev_pages *pages, size_t max)
{
	return hugepages_list(SYSFS, kernel_node(dev), pages, max);
}

static int kernel_map(struct ne_dev *dev, uint64_t size, uint64_t page_size, void **address,
	struct nefs_error *err)
{
	return hugepages_map(size, page_size, kernel_node(dev), address, err);
}

static void kernel_unmap(struct ne_dev *dev, void *address, uint64_t size)
{
	hugepages_unmap(address, size);
}

static int kernel_console(struct ne_dev *dev, int enclave_fd, uint64_t cid, struct nefs_error *err)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = NE_CONSOLE_CID };
	int fd, code;

	if (cid > UINT32_MAX - NE_CONSOLE_PORT)
		return nefs_error_set(err, EINVAL, "there is no console port for so high a CID");
	address.svm_port = NE_CONSOLE_PORT + (uint32_t)cid;
	fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return nefs_error_set(err, errno, "cannot make a vsock socket for the console: %s",
			strerror(errno));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 ||
		errno == EINPROGRESS)
		return fd;
	code = errno;
	close(fd);
	/* The hypervisor's end may not be there yet. */
	if (code == ECONNREFUSED || code == ECONNRESET || code == ETIMEDOUT)
		code = EAGAIN;
	return nefs_error_set(err, code, "cannot connect to the console: %s", strerror(code));
}

static void kernel_destroy(struct ne_dev *dev)
{
	free(dev);
}

static const struct ne_dev_ops kernel_ops = {
	.name = "kernel",
	.heartbeat = true,
	.open = kernel_open,
	.ioctl = kernel_ioctl,
	.close = kernel_close,
	.node = kernel_node,
	.pages = kernel_pages,
	.map = kernel_map,
	.unmap = kernel_unmap,
	.console = kernel_console,
	.explain = NULL,
	.destroy = kernel_destroy,
};

int kernel_dev_new(const char *path, struct ne_dev **dev, struct nefs_error *err)
{
	struct kernel_dev *kernel;
	struct stat status;
	size_t size;

	if (!path)
		path = KERNEL_DEV_PATH;
	if (stat(path, &status) < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return pci_explain_missing(NULL, path, err);
		return nefs_error_set(err, ENODEV, "cannot look at %s: %s", path, strerror(errno));
	}
	if (!S_ISCHR(status.st_mode))
		return nefs_error_set(err, ENODEV,
			"%s is not a device node: name the Nitro Enclaves device (device=%s)", path,
			KERNEL_DEV_PATH);
	size = strlen(path) + 1;
	kernel = calloc(1, sizeof(*kernel) + size);
	if (!kernel)
		return nefs_error_set(err, ENOMEM, "out of memory for the device");
	kernel->dev.ops = &kernel_ops;
	memcpy(kernel->path, path, size);
	*dev = &kernel->dev;
	return 0;
}
