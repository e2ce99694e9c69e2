/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test_vm_guest.h"
#include "cunit_main.h"
#include <build.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE_MS 60000
#define PAGE	    (2ULL << 20)

static void require(bool fine, const char *what)
{
	if (fine)
		return;
	fprintf(stderr, "the test needs %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

const char *guest_download(const char *variable)
{
	const char *path = getenv(variable);

	if (!path || access(path, R_OK) != 0) {
		fprintf(stderr, "%s must be a path (scripts/fetch gets it)\n", variable);
		CU_FAIL_FATAL("an environment variable is missing");
	}
	return path;
}

/* ---- a ramdisk: cpio, format newc ---- */

static void pad(FILE *cpio)
{
	while (ftell(cpio) % 4)
		fputc(0, cpio);
}

static void add_entry(FILE *cpio, const char *name, unsigned int mode, const void *content,
	size_t size, unsigned int major, unsigned int minor)
{
	static unsigned int inode;

	fprintf(cpio, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", ++inode, mode,
		0U, 0U, 1U, 0U, (unsigned int)size, 0U, 0U, major, minor,
		(unsigned int)strlen(name) + 1, 0U);
	fwrite(name, 1, strlen(name) + 1, cpio);
	pad(cpio);
	fwrite(content, 1, size, cpio);
	pad(cpio);
}

static void *read_file(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat attributes;
	char *content;

	require(fd >= 0 && fstat(fd, &attributes) == 0, path);
	content = malloc((size_t)attributes.st_size);
	require(content && read(fd, content, (size_t)attributes.st_size) == attributes.st_size,
		path);
	close(fd);
	*size = (size_t)attributes.st_size;
	return content;
}

static char *make_ramdisk(const char *init, size_t *size)
{
	char *ramdisk = NULL, *busybox;
	size_t busybox_size;
	FILE *cpio = open_memstream(&ramdisk, size);

	busybox = read_file(guest_download("NEFS_BUSYBOX"), &busybox_size);
	require(cpio, "memory");
	add_entry(cpio, "dev", S_IFDIR | 0755, "", 0, 0, 0);
	add_entry(cpio, "dev/console", S_IFCHR | 0600, "", 0, 5, 1);
	add_entry(cpio, "proc", S_IFDIR | 0755, "", 0, 0, 0);
	add_entry(cpio, "bin", S_IFDIR | 0755, "", 0, 0, 0);
	add_entry(cpio, "bin/busybox", S_IFREG | 0755, busybox, busybox_size, 0, 0);
	add_entry(cpio, "init", S_IFREG | 0755, init, strlen(init), 0, 0);
	add_entry(cpio, "TRAILER!!!", 0, "", 0, 0, 0);
	fclose(cpio);
	free(busybox);
	return ramdisk;
}

int guest_image(const char *kernel_path, const char *cmdline, const char *init)
{
	size_t kernel_size, ramdisk_size;
	void *kernel = read_file(kernel_path, &kernel_size);
	char *ramdisk = make_ramdisk(init, &ramdisk_size);
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct eif_source kernel_source, ramdisk_source;
	struct nefs_error err = { 0 };
	struct eif_pcrs pcrs;
	struct eif eif;

	eif_source_memory(&kernel_source, kernel, kernel_size);
	eif_source_memory(&ramdisk_source, ramdisk, ramdisk_size);

	const struct eif_build build = {
		.arch = EIF_X86_64,
		.kernel = &kernel_source,
		.cmdline = cmdline,
		.cmdline_size = strlen(cmdline),
		.ramdisks = &ramdisk_source,
		.ramdisk_count = 1,
		.metadata = "{}",
		.metadata_size = 2,
	};

	require(fd >= 0 && eif_build(&build, fd, &eif, &pcrs, &err) == 0, err.text);
	free(kernel);
	free(ramdisk);
	return fd;
}

/* ---- enclaves ---- */

static void put_image(char *memory, uint64_t size, int image_fd)
{
	struct stat attributes;
	off_t done = 0;

	require(fstat(image_fd, &attributes) == 0 &&
			EIF_LOAD_OFFSET + (uint64_t)attributes.st_size <= size,
		"an image that fits");
	while (done < attributes.st_size) {
		ssize_t got = pread(image_fd, memory + EIF_LOAD_OFFSET + done,
			(size_t)(attributes.st_size - done), done);

		require(got > 0, "the image");
		done += got;
	}
}

int guest_start(struct guest *guest, struct ne_dev *dev, uint64_t memory, int image_fd, bool debug)
{
	struct ne_user_memory_region region = { .memory_size = memory };
	struct ne_enclave_start_info info = { .flags = debug };
	int node = dev->ops->open(dev, NULL), result;
	void *address = NULL;

	memset(guest, 0, sizeof(*guest));
	guest->dev = dev;
	guest->console = -1;
	require(node >= 0, "the device");
	guest->fd = dev->ops->ioctl(dev, node, NE_CREATE_VM, &guest->uid);
	dev->ops->close(dev, node);
	require(guest->fd >= 0, "an enclave");
	for (int i = 0; i < 2; i++) {
		uint32_t id = 0;

		require(dev->ops->ioctl(dev, guest->fd, NE_ADD_VCPU, &id) == 0, "a vCPU");
	}
	require(dev->ops->map(dev, memory, PAGE, &address, NULL) == 0, "memory");
	if (image_fd >= 0)
		put_image(address, memory, image_fd);
	region.userspace_addr = (uintptr_t)address;
	require(dev->ops->ioctl(dev, guest->fd, NE_SET_USER_MEMORY_REGION, &region) == 0,
		"to give the memory");
	result = dev->ops->ioctl(dev, guest->fd, NE_START_ENCLAVE, &info);
	dev->ops->unmap(dev, address, memory);
	guest->cid = info.enclave_cid;
	if (result == 0 && debug)
		guest->console = dev->ops->console(dev, guest->fd, guest->cid, NULL);
	return result;
}

void guest_end(struct guest *guest)
{
	if (guest->console >= 0)
		close(guest->console);
	guest->dev->ops->close(guest->dev, guest->fd);
}

/* Forgets what was said up to here. */
static void forget(struct guest *guest, size_t size)
{
	guest->said_size -= size;
	memmove(guest->said, guest->said + size, guest->said_size + 1);
}

bool guest_says(struct guest *guest, const char *text)
{
	struct pollfd watched = { .fd = guest->console, .events = POLLIN };

	for (;;) {
		char *found = strstr(guest->said, text);
		ssize_t got;

		if (found) {
			forget(guest, (size_t)(found - guest->said) + strlen(text));
			return true;
		}
		/* What is looked for may lie across the cut. */
		if (guest->said_size > sizeof(guest->said) / 2)
			forget(guest, guest->said_size - 4096);
		if (poll(&watched, 1, PATIENCE_MS) != 1)
			break;
		got = read(guest->console, guest->said + guest->said_size,
			sizeof(guest->said) - 1 - guest->said_size);
		if (got <= 0)
			break;
		/* A NUL would end the text for strstr. */
		for (ssize_t i = 0; i < got; i++)
			if (!guest->said[guest->said_size + (size_t)i])
				guest->said[guest->said_size + (size_t)i] = '?';
		guest->said_size += (size_t)got;
		guest->said[guest->said_size] = '\0';
	}
	fprintf(stderr, "the console does not say \"%s\" but:\n%s\n", text, guest->said);
	return false;
}

bool guest_hung_up(struct guest *guest)
{
	struct pollfd watched = { .fd = guest->fd };

	return poll(&watched, 1, PATIENCE_MS) == 1 && watched.revents == POLLHUP;
}

/* The parent of a process, if its name is this; 0 if not. */
static pid_t parent_of(pid_t pid, const char *name)
{
	char path[64], line[512], *paren;
	int parent = 0;
	FILE *stat_file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	stat_file = fopen(path, "re");
	if (!stat_file)
		return 0;
	if (fgets(line, sizeof(line), stat_file) && (paren = strrchr(line, ')'))) {
		const char *open_paren = strchr(line, '(');

		*paren = '\0';
		/* The kernel keeps 15 characters of a name. */
		if (open_paren && strncmp(open_paren + 1, name, 15) == 0 &&
			sscanf(paren + 1, " %*c %d", &parent) != 1)
			parent = 0;
	}
	fclose(stat_file);
	return parent;
}

pid_t guest_process(const char *name)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	pid_t found = -1;

	require(proc, "/proc");
	while ((entry = readdir(proc))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (pid > 0 && parent_of(pid, name) == getpid())
			found = pid;
	}
	closedir(proc);
	return found;
}

const char *guest_explanation(const struct guest *guest)
{
	static char text[512];

	if (!guest->dev->ops->explain(guest->dev, guest->fd, text, sizeof(text)))
		strcpy(text, "(nothing)");
	return text;
}

bool contains(const char *text, const char *part)
{
	bool does = strstr(text, part) != NULL;

	if (!does)
		fprintf(stderr, "no \"%s\" in: %s\n", part, text);
	return does;
}
