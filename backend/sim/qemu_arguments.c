/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu_arguments.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <nefs/cleanup.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Adds one; remembers a failure by a count that fits nothing. */
__attribute__((format(printf, 2, 3))) static void add(
	struct qemu_arguments *arguments, const char *format, ...)
{
	char *text = NULL;
	va_list args;

	if (arguments->count >= QEMU_ARGUMENTS_MAX) {
		arguments->count = QEMU_ARGUMENTS_MAX + 1;
		return;
	}
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	arguments->argv[arguments->count] = text;
	arguments->count = text ? arguments->count + 1 : QEMU_ARGUMENTS_MAX + 1;
}

/* A path as an option's value: in those a comma stands for the next option, and two for one. */
static char *double_commas(const char *path)
{
	char *doubled = malloc(2 * strlen(path) + 1), *to = doubled;

	for (; doubled && *path; path++) {
		if (*path == ',')
			*to++ = ',';
		*to++ = *path;
	}
	if (doubled)
		*to = '\0';
	return doubled;
}

/*
 * The vsock device is another process's, which has to see the machine's memory. A virtio 1 device,
 * whatever the board's default is.
 */
static void add_vsock(struct qemu_arguments *arguments, const struct vm_config *config)
{
	NEFS_AUTO_FREE char *path = double_commas(config->vsock);

	if (!path) {
		arguments->count = QEMU_ARGUMENTS_MAX + 1;
		return;
	}
	add(arguments, "-object");
	add(arguments, "memory-backend-memfd,id=ram,size=%" PRIu64 "M,share=on",
		config->memory->size >> 20);
	add(arguments, "-machine");
	add(arguments, "memory-backend=ram");
	add(arguments, "-global");
	add(arguments, "virtio-mmio.force-legacy=false");
	add(arguments, "-chardev");
	add(arguments, "socket,id=vsock,path=%s", path);
	add(arguments, "-device");
	add(arguments, "vhost-user-vsock-device,chardev=vsock");
}

static void add_x86_64(struct qemu_arguments *arguments, bool kvm, int console_fd)
{
	arguments->package = "qemu-system-x86";
	add(arguments, "qemu-system-x86_64");
	add(arguments, "-M");
	/* The clock chip, or init's first date is 1970. */
	add(arguments, "microvm,acpi=off,rtc=on");
	/* What reboot=k asks to reset it; without one the kernel tries for seconds, or minutes. */
	add(arguments, "-device");
	add(arguments, "i8042");
	add(arguments, "-accel");
#ifndef __x86_64__
	kvm = false;
#endif
	add(arguments, kvm ? "kvm" : "tcg");
	add(arguments, "-cpu");
	add(arguments, kvm ? "host" : "max");
	add(arguments, "-serial");
	add(arguments, console_fd < 0 ? "null" : "chardev:console");
}

static void add_aarch64(struct qemu_arguments *arguments, int console_fd)
{
	arguments->package = "qemu-system-arm";
	add(arguments, "qemu-system-aarch64");
	add(arguments, "-M");
	add(arguments, "virt,gic-version=3");
	add(arguments, "-accel");
	add(arguments, "tcg");
	/* An older model makes AWS's init die by SIGILL, a newer one leaves its kernel mute. */
	add(arguments, "-cpu");
	add(arguments, "neoverse-n1");
	add(arguments, "-global");
	add(arguments, "virtio-mmio.force-legacy=false");
	add(arguments, "-serial");
	add(arguments, "null");
	/*
	 * No 8250 on this board: the kernel's console is a virtio one. There has to be one even if
	 * nobody can read it, as AWS's init dies without /dev/console.
	 */
	add(arguments, "-device");
	add(arguments, "virtio-serial-device");
	if (console_fd < 0) {
		add(arguments, "-chardev");
		add(arguments, "null,id=console");
	}
	add(arguments, "-device");
	add(arguments, "virtconsole,chardev=console");
}

int qemu_arguments_make(struct qemu_arguments *arguments, const struct vm_config *config,
	const struct vm_image *image, bool kvm, int console_fd)
{
	bool arm = image->arch == EIF_AARCH64;

	memset(arguments, 0, sizeof(*arguments));
	if (arm)
		add_aarch64(arguments, console_fd);
	else
		add_x86_64(arguments, kvm, console_fd);
	add(arguments, "-nodefaults");
	add(arguments, "-no-user-config");
	/* It has no business with other programs, other users, or its own rank. */
	add(arguments, "-sandbox");
	add(arguments, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	add(arguments, "-display");
	add(arguments, "none");
	add(arguments, "-monitor");
	add(arguments, "none");
	/* A panic reboots (panic=30 in AWS's command lines): that is the enclave's end. */
	add(arguments, "-no-reboot");
	add(arguments, "-m");
	add(arguments, "%" PRIu64 "M", config->memory->size >> 20);
	add(arguments, "-smp");
	add(arguments, "%u", config->vcpus);
	if (config->vsock)
		add_vsock(arguments, config);
	if (console_fd >= 0) {
		add(arguments, "-chardev");
		add(arguments, "socket,id=console,fd=%d", console_fd);
	}
	add(arguments, "-kernel");
	add(arguments, "/proc/self/fd/%d", image->kernel);
	add(arguments, "-initrd");
	add(arguments, "/proc/self/fd/%d", image->initrd);
	add(arguments, "-append");
	add(arguments, "%s%s", image->cmdline ? image->cmdline : "", arm ? " console=hvc0" : "");
	if (arguments->count <= QEMU_ARGUMENTS_MAX)
		return 0;
	qemu_arguments_release(arguments);
	return -ENOMEM;
}

void qemu_arguments_release(struct qemu_arguments *arguments)
{
	for (size_t i = 0; i < QEMU_ARGUMENTS_MAX; i++) {
		free(arguments->argv[i]);
		arguments->argv[i] = NULL;
	}
}
