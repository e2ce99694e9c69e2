/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "messages.h"
#include "dma.h"
#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* Fds that windows leave to the rest of the process: control clients, virtual machines. */
#define FDS_KEPT 256

/* A message under way. */
struct exchange {
	struct vfio_user *user;
	struct vfio_user_message *message;
	uint8_t *answer; /* the reply's payload; room for VFIO_USER_MESSAGE_MAX - header */
	size_t answer_size;
};

/* The fixed part of a request; false if the message is too short for it. */
static bool get(const struct exchange *exchange, void *request, size_t size)
{
	if (exchange->message->size < size)
		return false;
	memcpy(request, exchange->message->payload, size);
	return true;
}

static void put(struct exchange *exchange, const void *data, size_t size)
{
	memcpy(exchange->answer + exchange->answer_size, data, size);
	exchange->answer_size += size;
}

static int version(struct exchange *exchange)
{
	const struct vfio_user_message *message = exchange->message;
	struct vfio_user_version wanted, ours = { VFIO_USER_MAJOR, VFIO_USER_MINOR };
	char capabilities[128];
	int length;

	if (!get(exchange, &wanted, sizeof(wanted)))
		return EINVAL;
	/* Its capabilities are of no interest, but must end before the message does. */
	if (message->size > sizeof(wanted) && message->payload[message->size - 1] != '\0')
		return EINVAL;
	if (wanted.major != VFIO_USER_MAJOR)
		return ENOTSUP;
	if (wanted.minor < ours.minor)
		ours.minor = wanted.minor;
	length = snprintf(capabilities, sizeof(capabilities),
		"{\"capabilities\":{\"max_msg_fds\":%d,\"max_data_xfer_size\":%d,"
		"\"max_dma_maps\":%d}}",
		VFIO_USER_FDS_MAX, VFIO_USER_DATA_MAX, DMA_RANGES_MAX);
	put(exchange, &ours, sizeof(ours));
	put(exchange, capabilities, (size_t)length + 1);
	exchange->user->greeted = true;
	return 0;
}

/* Fds have the lowest numbers that are free: a high one says that there are many. */
static bool fds_run_out(int fd)
{
	struct rlimit limit;
	rlim_t kept;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == RLIM_INFINITY)
		return false;
	kept = limit.rlim_cur / 2 < FDS_KEPT ? limit.rlim_cur / 2 : FDS_KEPT;
	return (rlim_t)fd >= limit.rlim_cur - kept;
}

/* Is this memory? A pipe or a socket has no offsets, and reading it may wait. 0 or a positive errno. */
static int check_memory(int fd, uint64_t offset, uint64_t size)
{
	struct stat file;

	if (fds_run_out(fd))
		return EMFILE;
	if (fstat(fd, &file))
		return errno;
	if (!S_ISREG(file.st_mode) || offset > (uint64_t)file.st_size ||
		size > (uint64_t)file.st_size - offset)
		return EINVAL;
	return 0;
}

static int dma_map(struct exchange *exchange)
{
	struct vfio_user_message *message = exchange->message;
	struct device *device = exchange->user->device;
	struct vfio_user_dma_map request;
	int failed;

	if (!get(exchange, &request, sizeof(request)) || request.argsz < sizeof(request) ||
		message->fd_count > 1)
		return EINVAL;
	if (request.size == 0 || request.address > UINT64_MAX - request.size ||
		request.offset > INT64_MAX - request.size)
		return EINVAL;
	/* A window of the client's own, such as its firmware's ROM: nothing is reached through it. */
	if (message->fd_count == 0)
		return -device_dma_map_hidden(device, request.address, request.size);
	failed = check_memory(message->fds[0], request.offset, request.size);
	if (failed)
		return failed;
	return -device_dma_map(
		device, request.address, request.size, message->fds[0], request.offset);
}

static int dma_unmap(struct exchange *exchange)
{
	struct vfio_user_dma_unmap request;
	int result;

	if (!get(exchange, &request, sizeof(request)) || request.argsz < sizeof(request))
		return EINVAL;
	if (request.flags == VFIO_USER_UNMAP_ALL) {
		if (request.address || request.size)
			return EINVAL;
		result = device_dma_unmap(exchange->user->device, 0, UINT64_MAX);
		if (result == -ENOENT)
			result = 0; /* all of nothing */
	} else if (request.flags) {
		return ENOTSUP; /* dirty pages are not tracked */
	} else {
		result = device_dma_unmap(exchange->user->device, request.address, request.size);
	}
	if (result)
		return -result;
	put(exchange, &request, sizeof(request));
	return 0;
}

static int get_info(struct exchange *exchange)
{
	struct vfio_device_info info = {
		.argsz = sizeof(info),
		.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
		.num_regions = VFIO_PCI_NUM_REGIONS,
		.num_irqs = VFIO_PCI_NUM_IRQS,
	};
	uint32_t argsz;

	/* Older clients know fewer members than this kernel's header; these are what there was first. */
	if (!get(exchange, &argsz, sizeof(argsz)) ||
		argsz < offsetof(struct vfio_device_info, num_irqs) + sizeof(info.num_irqs))
		return EINVAL;
	info.argsz = offsetof(struct vfio_device_info, num_irqs) + sizeof(info.num_irqs);
	put(exchange, &info, info.argsz);
	return 0;
}

static uint64_t region_size(uint32_t region)
{
	switch (region) {
	case VFIO_PCI_BAR0_REGION_INDEX + PCI_BAR_MSIX:
		return PCI_BAR_MSIX_SIZE;
	case VFIO_PCI_BAR0_REGION_INDEX + NE_PCI_BAR_REGISTERS:
		return NE_PCI_REGISTERS_SIZE;
	case VFIO_PCI_CONFIG_REGION_INDEX:
		return PCI_CONFIG_SIZE;
	default:
		return 0;
	}
}

static int get_region_info(struct exchange *exchange)
{
	struct vfio_region_info info;

	if (!get(exchange, &info, sizeof(info)) || info.argsz < sizeof(info) ||
		info.index >= VFIO_PCI_NUM_REGIONS)
		return EINVAL;
	info = (struct vfio_region_info){
		.argsz = sizeof(info),
		.index = info.index,
		.size = region_size(info.index),
	};
	if (info.size)
		info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	put(exchange, &info, sizeof(info));
	return 0;
}

static int get_irq_info(struct exchange *exchange)
{
	struct vfio_irq_info info;

	if (!get(exchange, &info, sizeof(info)) || info.argsz < sizeof(info) ||
		info.index >= VFIO_PCI_NUM_IRQS)
		return EINVAL;
	info = (struct vfio_irq_info){ .argsz = sizeof(info), .index = info.index };
	if (info.index == VFIO_PCI_MSIX_IRQ_INDEX) {
		info.count = NE_PCI_VECTORS;
		info.flags = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE;
	}
	put(exchange, &info, sizeof(info));
	return 0;
}

/* One eventfd a vector, or none at all: the vectors lose theirs. */
static int assign_eventfds(struct exchange *exchange, const struct vfio_irq_set *set)
{
	struct vfio_user_message *message = exchange->message;
	int failed = 0;

	if (message->fd_count && message->fd_count != set->count)
		return EINVAL;
	for (uint32_t i = 0; i < set->count && !failed; i++) {
		failed = interrupts_assign(&exchange->user->interrupts, set->start + i,
			message->fd_count ? message->fds[i] : -1);
		if (!failed && message->fd_count)
			message->fds[i] = -1;
	}
	return -failed;
}

/* The client raises vectors itself, to try them. */
static int trigger(struct exchange *exchange, const struct vfio_irq_set *set, const uint8_t *chosen)
{
	for (uint32_t i = 0; i < set->count; i++)
		if (!chosen || chosen[i])
			interrupts_raise(&exchange->user->interrupts, set->start + i);
	return 0;
}

static int set_irqs(struct exchange *exchange)
{
	const struct vfio_user_message *message = exchange->message;
	struct vfio_irq_set set;
	uint32_t data;

	if (!get(exchange, &set, sizeof(set)) || set.argsz < sizeof(set) ||
		set.index >= VFIO_PCI_NUM_IRQS)
		return EINVAL;
	data = set.flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	if ((set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) != VFIO_IRQ_SET_ACTION_TRIGGER ||
		set.flags & ~(VFIO_IRQ_SET_DATA_TYPE_MASK | VFIO_IRQ_SET_ACTION_TYPE_MASK))
		return EINVAL;
	/* "None at all" of an interrupt that there is none of changes nothing. */
	if (set.index != VFIO_PCI_MSIX_IRQ_INDEX)
		return set.count == 0 ? 0 : EINVAL;
	if (set.start > NE_PCI_VECTORS || set.count > NE_PCI_VECTORS - set.start)
		return EINVAL;
	if (set.count == 0) {
		if (data != VFIO_IRQ_SET_DATA_NONE || set.start)
			return EINVAL;
		interrupts_clear(&exchange->user->interrupts);
		return 0;
	}
	switch (data) {
	case VFIO_IRQ_SET_DATA_EVENTFD:
		return assign_eventfds(exchange, &set);
	case VFIO_IRQ_SET_DATA_NONE:
		return trigger(exchange, &set, NULL);
	case VFIO_IRQ_SET_DATA_BOOL:
		if (message->size - sizeof(set) < set.count)
			return EINVAL;
		return trigger(exchange, &set, message->payload + sizeof(set));
	default:
		return EINVAL;
	}
}

/* The common part of both; data is what follows in the message. */
static int check_access(
	const struct exchange *exchange, struct vfio_user_region_access *access, size_t *data)
{
	uint64_t size;

	if (!get(exchange, access, sizeof(*access)))
		return EINVAL;
	*data = exchange->message->size - sizeof(*access);
	size = access->region < VFIO_PCI_NUM_REGIONS ? region_size(access->region) : 0;
	if (access->count == 0 || access->count > VFIO_USER_DATA_MAX || access->offset >= size ||
		access->count > size - access->offset)
		return EINVAL;
	return 0;
}

static int region_read(struct exchange *exchange)
{
	struct vfio_user *user = exchange->user;
	struct vfio_user_region_access access;
	uint8_t *to;
	size_t data;
	int failed = check_access(exchange, &access, &data);

	if (failed)
		return failed;
	put(exchange, &access, sizeof(access));
	to = exchange->answer + exchange->answer_size;
	exchange->answer_size += access.count;
	if (access.region == VFIO_PCI_CONFIG_REGION_INDEX)
		pci_config_read(&user->config, access.offset, to, access.count);
	else if (access.region == NE_PCI_BAR_REGISTERS)
		device_read(user->device, access.offset, to, access.count);
	else /* The client keeps the MSI-X table itself; a vector is never pending. */
		memset(to, 0, access.count);
	return 0;
}

static int region_write(struct exchange *exchange)
{
	struct vfio_user *user = exchange->user;
	struct vfio_user_region_access access;
	const uint8_t *from;
	size_t data;
	int failed = check_access(exchange, &access, &data);

	if (failed)
		return failed;
	if (data != access.count)
		return EINVAL;
	from = exchange->message->payload + sizeof(access);
	if (access.region == VFIO_PCI_CONFIG_REGION_INDEX)
		pci_config_write(&user->config, access.offset, from, access.count);
	else if (access.region == NE_PCI_BAR_REGISTERS)
		device_write(user->device, access.offset, from, access.count);
	put(exchange, &access, sizeof(access));
	return 0;
}

static void reset_device(struct vfio_user *user)
{
	const uint8_t off = 0;

	device_write(user->device, NE_REG_ENABLE, &off, sizeof(off));
	pci_config_init(&user->config);
}

/* The reset goes on in the device's thread; a driver waits for NE_REG_ENABLE to read 0. */
static int device_reset(struct exchange *exchange)
{
	reset_device(exchange->user);
	return 0;
}

static int dispatch(struct exchange *exchange)
{
	uint16_t command = exchange->message->header.command;

	if (!exchange->user->greeted && command != VFIO_USER_VERSION)
		return EINVAL;
	switch (command) {
	case VFIO_USER_VERSION:
		return exchange->user->greeted ? EINVAL : version(exchange);
	case VFIO_USER_DMA_MAP:
		return dma_map(exchange);
	case VFIO_USER_DMA_UNMAP:
		return dma_unmap(exchange);
	case VFIO_USER_DEVICE_GET_INFO:
		return get_info(exchange);
	case VFIO_USER_DEVICE_GET_REGION_INFO:
		return get_region_info(exchange);
	case VFIO_USER_DEVICE_GET_IRQ_INFO:
		return get_irq_info(exchange);
	case VFIO_USER_DEVICE_SET_IRQS:
		return set_irqs(exchange);
	case VFIO_USER_REGION_READ:
		return region_read(exchange);
	case VFIO_USER_REGION_WRITE:
		return region_write(exchange);
	case VFIO_USER_DEVICE_RESET:
		return device_reset(exchange);
	default:
		return ENOTSUP;
	}
}

size_t vfio_user_handle(struct vfio_user *user, struct vfio_user_message *message,
	uint8_t reply[VFIO_USER_MESSAGE_MAX])
{
	struct vfio_user_header header = message->header;
	struct exchange exchange = {
		.user = user,
		.message = message,
		.answer = reply + sizeof(header),
	};
	int failed = header.flags & VFIO_USER_TYPE ? EINVAL : dispatch(&exchange);

	if (header.flags & VFIO_USER_NO_REPLY)
		return 0;
	header.flags = VFIO_USER_REPLY | (failed ? VFIO_USER_ERROR : 0);
	header.error = (uint32_t)failed;
	header.size = (uint32_t)(sizeof(header) + (failed ? 0 : exchange.answer_size));
	memcpy(reply, &header, sizeof(header));
	return header.size;
}

void vfio_user_init(struct vfio_user *user)
{
	memset(user, 0, sizeof(*user));
	interrupts_init(&user->interrupts);
	pci_config_init(&user->config);
}

void vfio_user_forget_client(struct vfio_user *user)
{
	interrupts_clear(&user->interrupts);
	reset_device(user);
	device_dma_unmap(user->device, 0, UINT64_MAX);
	user->greeted = false;
}

void vfio_user_destroy(struct vfio_user *user)
{
	interrupts_destroy(&user->interrupts);
}
