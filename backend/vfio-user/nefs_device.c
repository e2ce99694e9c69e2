/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nefs-device(8): a Nitro Enclaves PCI device for virtual machines, over vfio-user. */
#include "console_port.h"
#include "control_socket.h"
#include "listener.h"
#include "server.h"
#include <errno.h>
#include <getopt.h>
#include <nefs/cleanup.h>
#include <nefs/ne_limits.h>
#include <nefs/number.h>
#include <nefs/process.h>
#include <nefs/shortage.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

struct options {
	const char *socket;
	const char *control;
	const struct vm_ops *vm;
	const char *vsock;
	uint64_t regions; /* 0: the device's own limit */
};

/* More than memory that anybody could give to a virtual machine has pages of 2 MiB. */
#define REGIONS_MAX 1048576

static const struct vm_ops *const vms[] = { &vm_qemu, &vm_none };

static void print_help(void)
{
	printf("Usage: nefs-device --socket PATH [OPTION...]\n"
	       "A Nitro Enclaves PCI device for a virtual machine, over vfio-user.\n\n"
	       "  --socket PATH    serve vfio-user on this Unix socket\n"
	       "  --control PATH   take requests (list, crash, fault, ...) on this one\n"
	       "  --vm qemu|none   what enclaves are: QEMU machines (default), or nothing at all\n"
	       "  --vsock DIR      enclaves have vsock: DIR/CID.sock is a vhost-user-vsock device's\n"
	       "  --regions N      memory regions of an enclave, at most (512)\n"
	       "  --help           this\n"
	       "  --version        the version\n");
}

static const struct vm_ops *find_vm(const char *name)
{
	for (size_t i = 0; i < sizeof(vms) / sizeof(vms[0]); i++)
		if (strcmp(vms[i]->name, name) == 0)
			return vms[i];
	return NULL;
}

/* 0: go on; 1: all is done; or a negative errno. */
static int parse(int argc, char **argv, struct options *options, struct nefs_error *err)
{
	static const struct option known[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "control", required_argument, NULL, 'c' },
		{ "vm", required_argument, NULL, 'v' },
		{ "vsock", required_argument, NULL, 'k' },
		{ "regions", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int option;

	options->vm = vms[0];
	while ((option = getopt_long(argc, argv, "hV", known, NULL)) >= 0) {
		switch (option) {
		case 's':
			options->socket = optarg;
			break;
		case 'c':
			options->control = optarg;
			break;
		case 'v':
			options->vm = find_vm(optarg);
			if (!options->vm)
				return nefs_error_set(
					err, EINVAL, "--vm is qemu or none, not \"%s\"", optarg);
			break;
		case 'k':
			options->vsock = optarg;
			/* QEMU's options are separated by it. */
			if (strchr(optarg, ','))
				return nefs_error_set(
					err, EINVAL, "--vsock %s: no comma, please", optarg);
			break;
		case 'r':
			if (nefs_number_parse(optarg, SIZE_MAX, NUMBER_DECIMAL, 1, REGIONS_MAX,
				    &options->regions))
				return nefs_error_set(err, EINVAL,
					"--regions is a number from 1 to %d, not \"%s\"",
					REGIONS_MAX, optarg);
			break;
		case 'h':
			print_help();
			return 1;
		case 'V':
			printf("nefs-device %s\n", NEFS_VERSION);
			return 1;
		default:
			return nefs_error_set(err, EINVAL, "nefs-device --help lists the options");
		}
	}
	if (optind < argc)
		return nefs_error_set(err, EINVAL, "\"%s\" is one argument too many", argv[optind]);
	if (!options->socket)
		return nefs_error_set(err, EINVAL, "--socket PATH is missing");
	return 0;
}

/* The end of vsock that consoles are read from. */
static int open_console_port(const char *vsock, sd_event *event, struct server *server,
	struct console_port **console_port, struct nefs_error *err)
{
	NEFS_AUTO_FREE char *path = NULL;

	if (asprintf(&path, "%s/%d.sock", vsock, NE_CONSOLE_CID) < 0)
		return nefs_error_set(err, ENOMEM, "out of memory");
	return console_port_new(event, path, server_device(server), console_port, err);
}

static int serve(const struct options *options, sd_event *event, struct nefs_error *err)
{
	struct nefs_shortage shortage = { 0 };
	struct server *server = NULL;
	struct control_socket *control = NULL;
	struct console_port *console_port = NULL;
	struct listener clients, controllers = LISTENER_NONE;
	int failed = listener_open(&clients, options->socket, err);

	if (failed)
		return failed;
	if (options->control) {
		failed = listener_open(&controllers, options->control, err);
		if (failed) {
			unlink(options->socket);
			listener_close(&clients);
			return failed;
		}
	}
	failed = server_new(event, &clients, options->vm, options->vsock, &server, err);
	if (!failed && options->regions)
		device_set_regions_max(server_device(server), options->regions);
	if (!failed && options->control)
		failed = control_socket_new(
			event, &controllers, server_device(server), &control, err);
	if (!failed && options->vsock)
		failed = open_console_port(options->vsock, event, server, &console_port, err);
	if (!failed) {
		sd_notify(0, "READY=1");
		failed = nefs_event_loop(event, &shortage);
		if (failed < 0)
			nefs_error_set(err, -failed, "the event loop: %s", strerror(-failed));
		sd_notify(0, "STOPPING=1");
	}
	/* The names first: what is no longer listened on may be replaced by the next server. */
	unlink(options->socket);
	if (options->control)
		unlink(options->control);
	console_port_free(console_port);
	control_socket_free(control);
	server_free(server);
	listener_close(&controllers);
	return failed;
}

int main(int argc, char **argv)
{
	static const int ending[] = { SIGTERM, SIGINT, SIGHUP };
	struct options options = { 0 };
	struct nefs_error err = { 0 };
	sd_event *event = NULL;
	int failed;

	failed = parse(argc, argv, &options, &err);
	if (failed > 0)
		return EXIT_SUCCESS;
	if (!failed) {
		/* A virtual machine's firmware maps memory in hundreds of pieces, an fd each. */
		nefs_raise_fd_limit(0);
		failed = sd_event_new(&event);
		if (failed >= 0)
			failed = nefs_watch_signals(
				event, ending, sizeof(ending) / sizeof(ending[0]), NULL, NULL);
		if (failed < 0)
			nefs_error_set(&err, -failed, "cannot set up the event loop: %s",
				strerror(-failed));
		else
			failed = serve(&options, event, &err);
		sd_event_unref(event);
	}
	if (failed)
		fprintf(stderr, "nefs-device: %s\n", err.text);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
