/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The simulated driver: fds, the life of an enclave fd, and the ne_dev around it all. */
#include "driver.h"
#include "hang_up.h"
#include "user_copy.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <nefs/clock.h>
#include <nefs/container_of.h>
#include <nefs/ne_limits.h>
#include <nefs/thread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define REPLY_TIMEOUT_MS 120000
#define HANG_UP_RETRY_MS 100

static int compare_fds(const void *a, const void *b)
{
	int left = ((const struct enclave_fd *)a)->fd, right = ((const struct enclave_fd *)b)->fd;

	return (left > right) - (left < right);
}

/* The enclave of an fd with a reference, or NULL: then it is a device fd. */
static struct enclave_fd *get_enclave(struct sim *sim, int fd)
{
	struct enclave_fd key = { .fd = fd }, *enclave = NULL, **found;

	pthread_mutex_lock(&sim->lock);
	found = tfind(&key, &sim->by_fd, compare_fds);
	if (found) {
		enclave = *found;
		enclave->refs++;
	}
	pthread_mutex_unlock(&sim->lock);
	return enclave;
}

/* The last reference is gone: everything goes back, as at the last close on Linux. */
static void free_enclave(struct sim *sim, struct enclave_fd *enclave)
{
	struct ne_reply reply;
	int failed = 0;

	if (enclave->state == ENCLAVE_RUNNING)
		failed = request_slot_long(sim, NE_CMD_ENCLAVE_STOP, enclave->slot_uid, &reply);
	if (!failed)
		failed = request_slot(sim, NE_CMD_SLOT_FREE, enclave->slot_uid, &reply);
	/*
	 * What the device has not let go of must not be given to anybody else: as on Linux it is
	 * lost until the module is loaded again.
	 */
	if (!failed)
		cpu_claims_release(sim->cpus, &enclave->cpus);
	else
		free(enclave->cpus.cores);
	for (size_t i = 0; i < enclave->region_count; i++) {
		if (!failed)
			memory_unpin(sim->memory, enclave->regions[i].runs,
				enclave->regions[i].run_count);
		free(enclave->regions[i].runs);
	}
	free(enclave->regions);
	close(enclave->fd);
	pthread_mutex_destroy(&enclave->lock);
	free(enclave);
}

/* True: that was the last, and the enclave is to be freed. */
static bool drop_enclave(struct sim *sim, struct enclave_fd *enclave, unsigned int refs)
{
	bool last;

	pthread_mutex_lock(&sim->lock);
	enclave->refs -= refs;
	last = enclave->refs == 0;
	if (last)
		LIST_REMOVE(enclave, siblings);
	pthread_mutex_unlock(&sim->lock);
	return last;
}

static void put_enclave(struct sim *sim, struct enclave_fd *enclave)
{
	if (drop_enclave(sim, enclave, 1))
		free_enclave(sim, enclave);
}

/* Makes the fd known; false if out of memory. */
static bool publish(struct sim *sim, struct enclave_fd *enclave)
{
	bool done;

	pthread_mutex_lock(&sim->lock);
	done = tsearch(enclave, &sim->by_fd, compare_fds) != NULL;
	if (done)
		LIST_INSERT_HEAD(&sim->enclaves, enclave, siblings);
	pthread_mutex_unlock(&sim->lock);
	return done;
}

static int create_vm(struct sim *sim, uint64_t argument)
{
	const uint8_t unused = 0;
	struct enclave_fd *enclave;
	struct ne_reply reply;
	int result, fd;

	if (!cpu_pool_has_free(sim->cpus))
		return -NE_ERR_NO_CPUS_AVAIL_IN_POOL;
	enclave = calloc(1, sizeof(*enclave));
	if (!enclave)
		return -ENOMEM;
	enclave->fd = hang_up_new(sim->exact_fds);
	result = enclave->fd;
	if (result < 0)
		goto free_object;
	enclave->refs = 1;
	enclave->owner = getpid();
	pthread_mutex_init(&enclave->lock, NULL);
	result = request_send(sim, NE_CMD_SLOT_ALLOC, &unused, sizeof(unused), &reply);
	if (result)
		goto close_fd;
	enclave->slot_uid = reply.slot_uid;
	enclave->regions_max = reply.mem_regions;
	/* Once it is published it is anybody's to close, who guesses its number. */
	fd = enclave->fd;
	if (user_copy_out(argument, &reply.slot_uid, sizeof(reply.slot_uid)))
		result = -EFAULT;
	else if (!publish(sim, enclave))
		result = -ENOMEM;
	if (!result)
		return fd;
	free_enclave(sim, enclave);
	return result;
close_fd:
	pthread_mutex_destroy(&enclave->lock);
	close(enclave->fd);
free_object:
	free(enclave);
	return result;
}

/* ---- events ---- */

/*
 * Has this one changed by itself? As on Linux, each running enclave is asked. False if it has and
 * could not be hung up yet.
 */
static bool check_enclave(struct sim *sim, struct enclave_fd *enclave)
{
	struct ne_reply reply;
	bool told;

	/*
	 * Not for as long as a start takes: others would not hear of theirs. The ioctl that is under way has the event
	 * raised anew; in this order, so that it does.
	 */
	atomic_store(&enclave->passed_over, true);
	if (pthread_mutex_trylock(&enclave->lock))
		return true;
	atomic_store(&enclave->passed_over, false);
	/* An error has no state in it and counts as a change, as on Linux; only silence does not. */
	if (enclave->state == ENCLAVE_RUNNING &&
		request_slot(sim, NE_CMD_SLOT_INFO, enclave->slot_uid, &reply) != -ETIMEDOUT &&
		reply.state != NE_SLOT_RUNNING) {
		enclave->state = ENCLAVE_STOPPED;
		enclave->hang_up_owed = true;
	}
	if (enclave->hang_up_owed)
		enclave->hang_up_owed = hang_up(enclave->fd) < 0;
	told = !enclave->hang_up_owed;
	pthread_mutex_unlock(&enclave->lock);
	return told;
}

/* False if an enclave has still to be told. */
static bool check_all(struct sim *sim)
{
	struct enclave_fd *enclave, *next;
	bool told = true;

	pthread_mutex_lock(&sim->scan);
	pthread_mutex_lock(&sim->lock);
	enclave = LIST_FIRST(&sim->enclaves);
	if (enclave)
		enclave->refs++;
	while (enclave) {
		pthread_mutex_unlock(&sim->lock);
		told &= check_enclave(sim, enclave);
		pthread_mutex_lock(&sim->lock);
		/* Still on the list, whatever was closed meanwhile, thanks to the reference. */
		next = LIST_NEXT(enclave, siblings);
		if (next)
			next->refs++;
		pthread_mutex_unlock(&sim->lock);
		put_enclave(sim, enclave);
		pthread_mutex_lock(&sim->lock);
		enclave = next;
	}
	pthread_mutex_unlock(&sim->lock);
	pthread_mutex_unlock(&sim->scan);
	return told;
}

/* Waits for the event; if somebody has still to be told, for a moment at most. */
static void wait_for_event(struct sim *sim, bool told)
{
	struct timespec until;

	if (told) {
		pthread_cond_wait(&sim->event, &sim->irq);
		return;
	}
	until = nefs_deadline_ms(HANG_UP_RETRY_MS);
	if (pthread_cond_timedwait(&sim->event, &sim->irq, &until) == ETIMEDOUT)
		sim->event_raised = true;
}

static void *event_main(void *argument)
{
	struct sim *sim = argument;
	bool told = true;

	pthread_mutex_lock(&sim->irq);
	while (!sim->closing) {
		if (!sim->event_raised) {
			wait_for_event(sim, told);
			continue;
		}
		sim->event_raised = false;
		pthread_mutex_unlock(&sim->irq);
		told = check_all(sim);
		pthread_mutex_lock(&sim->irq);
	}
	pthread_mutex_unlock(&sim->irq);
	return NULL;
}

/* ---- ne_dev ---- */

static struct sim *sim_of(struct ne_dev *dev)
{
	return container_of(dev, struct sim, dev);
}

static int sim_open(struct ne_dev *dev, struct nefs_error *err)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	if (fd < 0)
		return nefs_error_set(
			err, errno, "cannot open the simulated device: %s", strerror(errno));
	return fd;
}

static int sim_ioctl(struct ne_dev *dev, int fd, unsigned long request, void *argument)
{
	struct sim *sim = sim_of(dev);
	struct enclave_fd *enclave = get_enclave(sim, fd);
	int result;

	if (!enclave && fcntl(fd, F_GETFD) < 0)
		return -EBADF;
	if (!enclave)
		return request == NE_CREATE_VM ? create_vm(sim, (uintptr_t)argument) : -ENOTTY;
	result = enclave_ioctl(sim, enclave, request, (uintptr_t)argument);
	put_enclave(sim, enclave);
	return result;
}

static void sim_close(struct ne_dev *dev, int fd)
{
	struct sim *sim = sim_of(dev);
	struct enclave_fd *enclave = get_enclave(sim, fd);
	bool last;

	if (!enclave) {
		close(fd);
		return;
	}
	pthread_mutex_lock(&sim->scan);
	pthread_mutex_lock(&sim->lock);
	tdelete(enclave, &sim->by_fd, compare_fds);
	pthread_mutex_unlock(&sim->lock);
	/* get_enclave's and NE_CREATE_VM's */
	last = drop_enclave(sim, enclave, 2);
	pthread_mutex_unlock(&sim->scan);
	/* Its VM may take its time to end, and is nobody else's to wait for. */
	if (last)
		free_enclave(sim, enclave);
}

static int sim_node(struct ne_dev *dev)
{
	return -1;
}

static size_t sim_pages(struct ne_dev *dev, struct ne_dev_pages *pages, size_t max)
{
	uint64_t total, available;

	if (!max)
		return 0;
	memory_count(sim_of(dev)->memory, &total, &available);
	*pages = (struct ne_dev_pages){ MEMORY_PAGE_SIZE, total, available };
	return 1;
}

static int sim_map(struct ne_dev *dev, uint64_t size, uint64_t page_size, void **address,
	struct nefs_error *err)
{
	if (page_size != MEMORY_PAGE_SIZE || !size || size % MEMORY_PAGE_SIZE)
		return nefs_error_set(err, ENOMEM,
			"the simulated machine has pages of 2 MiB only, not of %" PRIu64 " bytes",
			page_size);
	return memory_map(sim_of(dev)->memory, size, address, err);
}

static void sim_unmap(struct ne_dev *dev, void *address, uint64_t size)
{
	memory_unmap(sim_of(dev)->memory, address);
}

static int sim_console(struct ne_dev *dev, int enclave_fd, uint64_t cid, struct nefs_error *err)
{
	struct sim *sim = sim_of(dev);
	struct enclave_fd *enclave = get_enclave(sim, enclave_fd);
	int fd = enclave ? device_console(sim->device, enclave->slot_uid) : -EBADF;

	if (enclave)
		put_enclave(sim, enclave);
	if (fd < 0)
		nefs_error_set(err, -fd, "the simulated enclave has no console: %s", strerror(-fd));
	return fd;
}

static bool sim_explain(struct ne_dev *dev, int enclave_fd, char *text, size_t size)
{
	struct sim *sim = sim_of(dev);
	struct enclave_fd *enclave = get_enclave(sim, enclave_fd);
	bool known = enclave && device_explain(sim->device, enclave->slot_uid, text, size);

	if (enclave)
		put_enclave(sim, enclave);
	return known;
}

static void sim_own(struct ne_dev *dev, int enclave_fd, uid_t uid, gid_t gid)
{
	struct sim *sim = sim_of(dev);
	struct enclave_fd *enclave = get_enclave(sim, enclave_fd);

	if (!enclave)
		return;
	device_own(sim->device, enclave->slot_uid, uid, gid);
	put_enclave(sim, enclave);
}

static void sim_destroy(struct ne_dev *dev)
{
	struct sim *sim = sim_of(dev);

	pthread_mutex_lock(&sim->irq);
	sim->closing = true;
	pthread_cond_signal(&sim->event);
	pthread_mutex_unlock(&sim->irq);
	pthread_join(sim->event_thread, NULL);
	device_free(sim->device);
	cpu_pool_free(sim->cpus);
	memory_free(sim->memory);
	pthread_mutex_destroy(&sim->scan);
	pthread_mutex_destroy(&sim->lock);
	pthread_mutex_destroy(&sim->irq);
	pthread_mutex_destroy(&sim->request);
	pthread_cond_destroy(&sim->reply);
	pthread_cond_destroy(&sim->event);
	pthread_cond_destroy(&sim->result);
	free(sim);
}

static const struct ne_dev_ops sim_ops = {
	.name = "sim",
	.heartbeat = false,
	.open = sim_open,
	.ioctl = sim_ioctl,
	.close = sim_close,
	.node = sim_node,
	.pages = sim_pages,
	.map = sim_map,
	.unmap = sim_unmap,
	.console = sim_console,
	.explain = sim_explain,
	.own = sim_own,
	.destroy = sim_destroy,
};

/* As Linux's driver does at probe. */
static void probe(struct sim *sim)
{
	const uint16_t version = NE_VERSION_MAX;
	const uint8_t enable = 1;

	/* Disabling it first, as Linux does, is left out: this one was made a moment ago. */
	device_write(sim->device, NE_REG_VERSION, &version, sizeof(version));
	device_write(sim->device, NE_REG_ENABLE, &enable, sizeof(enable));
}

static int check_options(const struct sim_options *options, struct nefs_error *err)
{
	if (options->cpus < NE_SIM_CPUS_MIN || options->cpus % 2 || options->cpus > NE_SIM_CPUS_MAX)
		return nefs_error_set(err, EINVAL,
			"sim_cpus=%u: a simulated machine has an even number of CPU threads, %d to %d",
			options->cpus, NE_SIM_CPUS_MIN, NE_SIM_CPUS_MAX);
	if (!options->memory || options->memory % MEMORY_PAGE_SIZE ||
		options->memory > NE_SIM_MEMORY_MAX)
		return nefs_error_set(err, EINVAL,
			"sim_memory=%" PRIu64 ": it is a multiple of 2 MiB, up to %llu GiB",
			options->memory, NE_SIM_MEMORY_MAX >> 30);
	return 0;
}

static void init_locks(struct sim *sim)
{
	pthread_condattr_t monotonic;

	pthread_mutex_init(&sim->request, NULL);
	pthread_mutex_init(&sim->irq, NULL);
	pthread_mutex_init(&sim->scan, NULL);
	pthread_mutex_init(&sim->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&sim->reply, &monotonic);
	pthread_cond_init(&sim->event, &monotonic);
	pthread_cond_init(&sim->result, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

int sim_dev_new(const struct sim_options *options, struct ne_dev **dev, struct nefs_error *err)
{
	struct sim *sim;
	int failed = check_options(options, err);

	if (failed)
		return failed;
	sim = calloc(1, sizeof(*sim));
	if (!sim)
		return nefs_error_set(err, ENOMEM, "out of memory for the simulated machine");
	sim->dev.ops = &sim_ops;
	sim->owner = getpid();
	sim->exact_fds = hang_up_is_exact();
	sim->reply_timeout_ms =
		options->reply_timeout_ms ? options->reply_timeout_ms : REPLY_TIMEOUT_MS;
	LIST_INIT(&sim->enclaves);
	init_locks(sim);
	failed = memory_new(options->memory, &sim->memory, err);
	if (failed)
		goto free_sim;
	sim->cpus = cpu_pool_new(options->cpus);
	failed = sim->cpus ? 0 : nefs_error_set(err, ENOMEM, "out of memory for the CPU pool");
	if (failed)
		goto free_memory;
	failed = device_new(
		options->vm_none ? &vm_none : &vm_qemu, request_interrupt, sim, &sim->device, err);
	if (failed)
		goto free_cpus;
	device_set_patient(sim->device);
	failed = device_dma_map(
		sim->device, MEMORY_BASE, memory_span(sim->memory), memory_fd(sim->memory), 0);
	if (!failed)
		failed = nefs_thread_start(&sim->event_thread, event_main, sim);
	if (failed) {
		nefs_error_set(
			err, -failed, "cannot set up the simulated machine: %s", strerror(-failed));
		goto free_device;
	}
	probe(sim);
	*dev = &sim->dev;
	return 0;
free_device:
	device_free(sim->device);
free_cpus:
	cpu_pool_free(sim->cpus);
free_memory:
	memory_free(sim->memory);
free_sim:
	free(sim);
	return failed;
}

int sim_dev_crash(struct ne_dev *dev, uint64_t slot_uid, struct nefs_error *err)
{
	return device_crash(sim_of(dev)->device, slot_uid, err);
}

int sim_dev_set_faults(struct ne_dev *dev, const char *text, size_t size, struct nefs_error *err)
{
	return device_set_faults(sim_of(dev)->device, text, size, err);
}

int sim_dev_map_other_node(struct ne_dev *dev, void **address, struct nefs_error *err)
{
	return memory_map_other_node(sim_of(dev)->memory, address, err);
}

char *sim_dev_slots(struct ne_dev *dev)
{
	return device_slots(sim_of(dev)->device);
}
