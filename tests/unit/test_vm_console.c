/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The console of an enclave in debug mode: readers that come late, that are slow, that go; more output
 * than is kept; the end. And the command line of the QEMU that prints it.
 */
#include "cunit_main.h"
#include "qemu_arguments.h"
#include "vm_console.h"
#include <errno.h>
#include <nefs/cleanup.h>
#include <sys/socket.h>
#include <unistd.h>

static sd_event *event;
static struct vm_console *console;
static int printer; /* the VM's end */

static void set_up(void)
{
	int ends[2];

	CU_ASSERT_FATAL(sd_event_new(&event) >= 0);
	CU_ASSERT_FATAL(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends));
	printer = ends[0];
	console = vm_console_new(event, ends[1]);
	CU_ASSERT_PTR_NOT_NULL_FATAL(console);
}

static void tear_down(void)
{
	vm_console_free(console);
	nefs_cleanup_close(&printer);
	sd_event_unref(event);
}

static void settle(void)
{
	while (sd_event_run(event, 0) > 0)
		;
}

/* What is printed as byte number i: 251 is a prime, so that no power of two looks like another. */
static char byte_at(size_t i)
{
	return (char)(i % 251);
}

/* Prints bytes number first to first + size, as fast as they are taken. */
static void print(size_t first, size_t size)
{
	char piece[4096];

	while (size > 0) {
		const size_t wanted = size < sizeof(piece) ? size : sizeof(piece);
		ssize_t sent;

		for (size_t i = 0; i < wanted; i++)
			piece[i] = byte_at(first + i);
		sent = send(printer, piece, wanted, MSG_NOSIGNAL);
		if (sent > 0) {
			first += (size_t)sent;
			size -= (size_t)sent;
		}
		settle();
	}
}

/* Reads what there is and checks that it is bytes number first and on. The count of them. */
static size_t read_from(int reader, size_t first)
{
	char piece[4096];
	size_t total = 0;
	ssize_t got;

	while ((got = read(reader, piece, sizeof(piece))) > 0) {
		for (size_t i = 0; i < (size_t)got; i++)
			CU_ASSERT_EQUAL_FATAL(piece[i], byte_at(first + total + i));
		total += (size_t)got;
		settle();
	}
	return total;
}

static bool at_end(int reader)
{
	char byte;

	return read(reader, &byte, 1) == 0;
}

static int attach(void)
{
	int reader = vm_console_attach(console);

	CU_ASSERT_FATAL(reader >= 0);
	settle();
	return reader;
}

static void test_late_reader(void)
{
	int reader;

	print(0, 30000);
	reader = attach();
	CU_ASSERT_EQUAL(read_from(reader, 0), 30000);
	print(30000, 5);
	CU_ASSERT_EQUAL(read_from(reader, 30000), 5);
	CU_ASSERT_FALSE(at_end(reader));
	close(reader);
}

/* The VM never waits: what nobody reads pushes out the oldest. */
static void test_keeps_the_last(void)
{
	const size_t total = 3 * VM_CONSOLE_MAX + 12345;
	int reader;

	print(0, total);
	reader = attach();
	CU_ASSERT_EQUAL(read_from(reader, total - VM_CONSOLE_MAX), VM_CONSOLE_MAX);
	close(reader);
}

/* One that is slow gets all that fits between, and then what follows. */
static void test_slow_reader(void)
{
	const size_t total = VM_CONSOLE_MAX;
	int reader = attach();

	print(0, total);
	CU_ASSERT_EQUAL(read_from(reader, 0), total);
	print(total, 100);
	CU_ASSERT_EQUAL(read_from(reader, total), 100);
	close(reader);
}

static void test_reader_goes(void)
{
	int reader = attach();

	print(0, 10);
	CU_ASSERT_EQUAL(read_from(reader, 0), 10);
	close(reader);
	print(10, 10);
	reader = attach();
	CU_ASSERT_EQUAL(read_from(reader, 10), 10);
	close(reader);
}

/* A second one ends the first; of two that come at once the last is served. */
static void test_second_reader(void)
{
	int first = attach(), second = vm_console_attach(console),
	    third = vm_console_attach(console);

	settle();
	CU_ASSERT(at_end(first));
	CU_ASSERT(at_end(second));
	print(0, 7);
	CU_ASSERT_EQUAL(read_from(third, 0), 7);
	close(first);
	close(second);
	close(third);
}

static void test_vm_ends(void)
{
	int reader = attach();

	print(0, 9);
	CU_ASSERT(send(printer, "\11\12", 2, MSG_NOSIGNAL) == 2);
	close(printer);
	printer = -1;
	vm_console_finish(console);
	CU_ASSERT_EQUAL(read_from(reader, 0), 11);
	CU_ASSERT(at_end(reader));
	close(reader);
	/* Who comes later finds nothing, and an end. */
	reader = attach();
	CU_ASSERT(at_end(reader));
	close(reader);
	vm_console_finish(console);
}

/* What a VM that is gone left behind waits for its reader, who may be slow. */
static void test_read_after_the_end(void)
{
	const size_t total = VM_CONSOLE_MAX / 2;
	int reader;

	print(0, total);
	close(printer);
	printer = -1;
	settle();
	reader = attach();
	CU_ASSERT_EQUAL(read_from(reader, 0), total);
	CU_ASSERT(at_end(reader));
	close(reader);
}

static void test_freed(void)
{
	int reader = attach();

	print(0, 20);
	vm_console_free(console);
	console = NULL;
	CU_ASSERT_EQUAL(read_from(reader, 0), 20);
	CU_ASSERT(at_end(reader));
	close(reader);
	vm_console_free(NULL);
}

/* ---- QEMU's command line ---- */

#ifdef __x86_64__
#define HOST_KVM true
#else
#define HOST_KVM false
#endif

/* Is there an argument, and this one after it? */
static bool has(const struct qemu_arguments *arguments, const char *option, const char *value)
{
	for (size_t i = 0; i + 1 < arguments->count; i++) {
		if (strcmp(arguments->argv[i], option) == 0 &&
			strcmp(arguments->argv[i + 1], value) == 0)
			return true;
	}
	return false;
}

static void test_arguments(void)
{
	const struct dma_view memory = { .size = 512ULL << 20 };
	struct vm_config config = { .cid = 16, .vcpus = 2, .memory = &memory };
	struct vm_image image = { .kernel = 5, .initrd = 6, .cmdline = (char *)"reboot=k" };
	struct qemu_arguments arguments;

	for (unsigned int arm = 0; arm < 2; arm++) {
		image.arch = arm ? EIF_AARCH64 : EIF_X86_64;
		config.vsock = NULL;
		CU_ASSERT_EQUAL_FATAL(qemu_arguments_make(&arguments, &config, &image, true, 7), 0);
		CU_ASSERT_STRING_EQUAL(
			arguments.argv[0], arm ? "qemu-system-aarch64" : "qemu-system-x86_64");
		CU_ASSERT_PTR_NULL(arguments.argv[arguments.count]);
		CU_ASSERT(has(&arguments, "-m", "512M"));
		CU_ASSERT(has(&arguments, "-smp", "2"));
		CU_ASSERT_EQUAL(has(&arguments, "-accel", "kvm"), arm ? false : HOST_KVM);
		CU_ASSERT(has(&arguments, "-sandbox",
			"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"));
		CU_ASSERT(has(&arguments, "-kernel", "/proc/self/fd/5"));
		CU_ASSERT(has(&arguments, "-initrd", "/proc/self/fd/6"));
		CU_ASSERT(has(&arguments, "-chardev", "socket,id=console,fd=7"));
		CU_ASSERT(has(&arguments, "-append", arm ? "reboot=k console=hvc0" : "reboot=k"));
		CU_ASSERT_FALSE(
			has(&arguments, "-device", "vhost-user-vsock-device,chardev=vsock"));
		qemu_arguments_release(&arguments);
		/* The vsock device's process reads the guest's memory: it is shared. */
		config.vsock = "/run/a,b,,c/16.sock";
		CU_ASSERT_EQUAL_FATAL(
			qemu_arguments_make(&arguments, &config, &image, false, -1), 0);
		CU_ASSERT(
			has(&arguments, "-chardev", "socket,id=vsock,path=/run/a,,b,,,,c/16.sock"));
		CU_ASSERT(has(&arguments, "-device", "vhost-user-vsock-device,chardev=vsock"));
		CU_ASSERT(has(
			&arguments, "-object", "memory-backend-memfd,id=ram,size=512M,share=on"));
		CU_ASSERT_FALSE(has(&arguments, "-chardev", "socket,id=console,fd=7"));
		qemu_arguments_release(&arguments);
	}
}

static void test_without_vm(void)
{
	const struct vm_config config = { .cid = 16, .debug = true };
	struct vm *vm = NULL;
	char text[64];

	CU_ASSERT_EQUAL_FATAL(vm_none.start(&config, &vm, NULL), 0);
	CU_ASSERT_PTR_NOT_NULL(vm);
	CU_ASSERT_EQUAL(vm_none.pidfd(vm), -1);
	CU_ASSERT_EQUAL(vm_none.console(vm), -ENOTCONN);
	CU_ASSERT_FALSE(vm_none.crash(vm));
	vm_none.describe_end(vm, text, sizeof(text));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "sim/crash"));
	vm_none.destroy(vm);
}

static const CU_TestInfo tests[] = {
	{ "a reader that comes late", test_late_reader },
	{ "more than is kept", test_keeps_the_last },
	{ "a reader that is slow", test_slow_reader },
	{ "a reader that goes", test_reader_goes },
	{ "a second reader", test_second_reader },
	{ "the VM ends", test_vm_ends },
	{ "read after the end", test_read_after_the_end },
	{ "freed with a reader", test_freed },
	{ "QEMU's command line", test_arguments },
	{ "an enclave without a VM", test_without_vm },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("vm_console", tests, set_up, tear_down);
}
