/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile client of nefs-device: messages of any content, in any order, with any fds, in pieces;
 * registers and commands; control requests. The input is a list of actions, each of them a byte that
 * says which, then its operands; whatever is missing at the end reads as 0.
 */
#include "connection.h"
#include "control_socket.h"
#include "fuzz.h"
#include "messages.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACTIONS_MAX 64
#define MEMORY	    (256ULL << 20)
#define REPLY_SPINS 2000 /* a delayed reply, or a dropped one, is not waited for */

/* Made once: a thread for each input would be most of the work. */
static struct fixture {
	struct vfio_user user;
	struct device *device;
	int memory;
	uint8_t reply[VFIO_USER_MESSAGE_MAX];
} fixture = { .memory = -1 };

static void raise_vector(void *context, unsigned int vector)
{
	interrupts_raise(context, vector);
}

static int some_fd(uint64_t kind)
{
	switch (kind % 4) {
	case 0:
		return fcntl(fixture.memory, F_DUPFD_CLOEXEC, 3);
	case 1:
		return eventfd(0, EFD_CLOEXEC);
	case 2:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	default:
		return memfd_create("empty", MFD_CLOEXEC);
	}
}

/* Has a message handled, and what must hold of every reply checked. */
static void handle(uint16_t command, uint32_t flags, const void *payload, size_t size, uint64_t fds)
{
	struct vfio_user_message message = {
		.header = { .id = 1,
			.command = command,
			.flags = flags,
			.size = (uint32_t)(sizeof(message.header) + size) },
		.payload = payload,
		.size = size,
	};
	struct vfio_user_header answer;
	size_t answered;

	for (size_t count = fds % (VFIO_USER_FDS_MAX + 1); message.fd_count < count; fds >>= 2)
		message.fds[message.fd_count++] = some_fd(fds >> 4);
	answered = vfio_user_handle(&fixture.user, &message, fixture.reply);
	for (size_t i = 0; i < message.fd_count; i++)
		if (message.fds[i] >= 0)
			close(message.fds[i]);
	if (flags & VFIO_USER_NO_REPLY) {
		must(answered == 0);
		return;
	}
	must(answered >= sizeof(answer) && answered <= sizeof(fixture.reply));
	memcpy(&answer, fixture.reply, sizeof(answer));
	must(answer.size == answered && (answer.flags & VFIO_USER_TYPE) == VFIO_USER_REPLY);
	must(!(answer.flags & VFIO_USER_ERROR) == !answer.error);
}

static void greet(void)
{
	handle(VFIO_USER_VERSION, 0, "\0\0\1\0", 4, 0);
}

static void any_message(struct input *input)
{
	uint16_t command = (uint16_t)number(input, 2);
	uint32_t flags = (uint32_t)number(input, 1);
	uint64_t fds = number(input, 2);
	const uint8_t *payload;
	size_t size = bytes(input, &payload, number(input, 1));

	/* Most commands are small numbers. */
	handle(command & 0x8000 ? command : command % 17, flags, payload, size, fds);
}

static void access_register(struct input *input, bool write)
{
	struct vfio_user_region_access access = {
		.offset = number(input, 2) % 0x2100,
		.region = (uint32_t)number(input, 1) % 10,
	};
	uint8_t message[sizeof(access) + 256];
	const uint8_t *data;
	size_t size = bytes(input, &data, number(input, 1));

	access.count = (uint32_t)size;
	memcpy(message, &access, sizeof(access));
	memcpy(message + sizeof(access), data, size);
	handle(write ? VFIO_USER_REGION_WRITE : VFIO_USER_REGION_READ, 0, message,
		sizeof(access) + (write ? size : 0), 0);
}

static uint16_t replies(void)
{
	uint16_t count;

	device_read(fixture.device, NE_REG_EVTCNT, &count, sizeof(count));
	return count;
}

/* A command of the device, waited for so that the next finds what it left. */
static void command(struct input *input)
{
	uint32_t code = (uint32_t)number(input, 1);
	uint64_t payload[3];
	uint16_t before = replies();

	for (size_t i = 0; i < 3; i++) {
		uint8_t shape = (uint8_t)number(input, 1);

		/* Small numbers, such as slot uids are, or sizes, or anything. */
		payload[i] = shape < 64	   ? shape
			     : shape < 128 ? (uint64_t)(shape - 63) << 21
					   : number(input, 8);
	}
	device_write(fixture.device, NE_REG_SEND_DATA, payload, sizeof(payload));
	device_write(fixture.device, NE_REG_COMMAND, &code, sizeof(code));
	for (unsigned int i = 0; i < REPLY_SPINS && replies() == before; i++)
		sched_yield();
}

static void map_memory(struct input *input)
{
	struct vfio_user_dma_map map = {
		.argsz = sizeof(map),
		.flags = 3,
		.address = number(input, 1) << 21,
		.offset = number(input, 1) << 20,
		.size = number(input, 1) << 20,
	};

	handle(VFIO_USER_DMA_MAP, 0, &map, sizeof(map), 1);
}

static void set_vectors(struct input *input)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_MSIX_IRQ_INDEX,
		.start = (uint32_t)number(input, 1) % 3,
		.count = (uint32_t)number(input, 1) % 4,
	};

	handle(VFIO_USER_DEVICE_SET_IRQS, 0, &set, sizeof(set), set.count | 0x1550);
}

static void control_request(struct input *input)
{
	const uint8_t *line;
	size_t size = bytes(input, &line, number(input, 1));
	char *answer = control_socket_answer(fixture.device, (const char *)line, size);

	must(answer && answer[0] && answer[strlen(answer) - 1] == '\n');
	free(answer);
}

/* Bytes on a socket, all that is left: messages that may be whole or not. */
static void stream(struct input *input)
{
	struct connection *connection = malloc(sizeof(*connection));
	struct nefs_error err = { 0 };
	const uint8_t *data;
	size_t size = bytes(input, &data, 65536);
	int ends[2], result;

	must(connection &&
		!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends));
	connection_init(connection, ends[0]);
	must(size == 0 || send(ends[1], data, size, MSG_NOSIGNAL) > 0);
	close(ends[1]);
	do {
		result = connection_work(connection, &fixture.user, &err);
	} while (!result);
	must(result < 0 && (result == -EAGAIN || err.text[0]));
	connection_close(connection);
	free(connection);
}

static void set_up(void)
{
	struct nefs_error err = { 0 };

	if (fixture.device)
		return;
	vfio_user_init(&fixture.user);
	fixture.memory = memfd_create("memory", MFD_CLOEXEC);
	must(fixture.memory >= 0 && ftruncate(fixture.memory, MEMORY) == 0);
	must(device_new(&vm_none, raise_vector, &fixture.user.interrupts, &fixture.device, &err) ==
		0);
	fixture.user.device = fixture.device;
}

/* As it was before: nothing that one input did may be seen by the next. */
static void tear_down(void)
{
	struct nefs_error err = { 0 };
	uint8_t enabled = 1;
	char *slots;

	must(device_set_faults(fixture.device, "", 0, &err) == 0);
	device_write(fixture.device, NE_REG_ENABLE, &enabled, 1);
	vfio_user_forget_client(&fixture.user);
	while (enabled) {
		sched_yield();
		device_read(fixture.device, NE_REG_ENABLE, &enabled, 1);
	}
	slots = device_slots(fixture.device);
	must(slots && !slots[0]);
	free(slots);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };

	set_up();
	if (number(&input, 1) & 1)
		greet();
	for (unsigned int i = 0; i < ACTIONS_MAX && input.size; i++) {
		switch (number(&input, 1) % 8) {
		case 0:
			any_message(&input);
			break;
		case 1:
			access_register(&input, true);
			break;
		case 2:
			access_register(&input, false);
			break;
		case 3:
			command(&input);
			break;
		case 4:
			map_memory(&input);
			break;
		case 5:
			set_vectors(&input);
			break;
		case 6:
			control_request(&input);
			break;
		default:
			stream(&input);
		}
	}
	tear_down();
	return 0;
}
