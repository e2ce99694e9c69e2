/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cunit_main.h"
#include "heartbeat.h"
#include "test_launch_support.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* An enclave that boots. */
struct booting {
	struct heartbeat_wait wait; /* first */
	unsigned int opened;
	unsigned int beats;
	int failed;
	char why[NEFS_ERROR_TEXT_MAX];
};

static sd_event *event;
static struct heartbeat *heartbeat;

static void on_listening(struct heartbeat_wait *wait, const struct nefs_error *failed)
{
	struct booting *booting = (struct booting *)wait;

	if (failed) {
		booting->failed = failed->code;
		snprintf(booting->why, sizeof(booting->why), "%s", failed->text);
	} else {
		booting->opened++;
	}
}

static void on_beat(struct heartbeat_wait *wait)
{
	((struct booting *)wait)->beats++;
}

static void booting_init(struct booting *booting)
{
	memset(booting, 0, sizeof(*booting));
	booting->wait.listening = on_listening;
	booting->wait.beat = on_beat;
}

static void set_up(void)
{
	sd_event_new(&event);
	heartbeat_new(event, &local_endpoint, &heartbeat, NULL);
}

static void tear_down(void)
{
	CU_ASSERT_EQUAL(heartbeat_fds(heartbeat), 0);
	heartbeat_free(heartbeat);
	sd_event_unref(event);
}

static bool has_beat(void *context)
{
	return ((struct booting *)context)->beats > 0;
}

static bool is_odd(void *context)
{
	return ((struct booting *)context)->wait.anomaly[0] != '\0';
}

static bool is_decided(void *context)
{
	return ((struct booting *)context)->failed || ((struct booting *)context)->opened;
}

static bool has_fds(void *context)
{
	return heartbeat_fds(heartbeat) == *(unsigned int *)context;
}

static void say(int fd, unsigned char byte)
{
	CU_ASSERT_EQUAL(write(fd, &byte, 1), 1);
}

static void hears_echo(int fd)
{
	unsigned char byte = 0;

	CU_ASSERT_EQUAL(read(fd, &byte, 1), 1);
	CU_ASSERT_EQUAL(byte, 0xb7);
	CU_ASSERT_EQUAL(read(fd, &byte, 1), 0);
}

static void test_right_byte(void)
{
	struct booting booting;
	int peer;

	booting_init(&booting);
	CU_ASSERT_EQUAL(local_connect(16), -1); /* closed while nothing boots */
	heartbeat_hold(heartbeat, &booting.wait);
	CU_ASSERT_EQUAL(booting.opened, 1);
	CU_ASSERT_EQUAL(heartbeat_fds(heartbeat), 1);
	heartbeat_expect(heartbeat, &booting.wait, 16);
	peer = local_connect(16);
	CU_ASSERT_NOT_EQUAL(peer, -1);
	run_ready(event);
	CU_ASSERT_EQUAL(booting.beats, 0); /* connecting is not enough */
	say(peer, 0xb7);
	CU_ASSERT_TRUE(run_until(event, has_beat, &booting));
	hears_echo(peer);
	CU_ASSERT_EQUAL(booting.beats, 1);
	heartbeat_release(heartbeat, &booting.wait);
	CU_ASSERT_EQUAL(local_connect(16), -1);
	heartbeat_release(heartbeat, &booting.wait); /* twice is nothing */
	close(peer);
}

static void test_wrong_byte(void)
{
	struct booting booting;
	unsigned char byte;
	int peer;

	booting_init(&booting);
	heartbeat_hold(heartbeat, &booting.wait);
	heartbeat_expect(heartbeat, &booting.wait, 16);
	peer = local_connect(16);
	say(peer, 0x41);
	CU_ASSERT_TRUE(run_until(event, is_odd, &booting));
	CU_ASSERT_PTR_NOT_NULL(strstr(booting.wait.anomaly, "0x41"));
	CU_ASSERT_EQUAL(booting.beats, 0);
	CU_ASSERT_EQUAL(read(peer, &byte, 1), 0); /* no echo */
	close(peer);
	/* It may try again. */
	peer = local_connect(16);
	say(peer, 0xb7);
	CU_ASSERT_TRUE(run_until(event, has_beat, &booting));
	hears_echo(peer);
	close(peer);
	heartbeat_release(heartbeat, &booting.wait);
}

static void test_silent(void)
{
	struct booting booting;
	unsigned char byte;
	int peer;

	booting_init(&booting);
	heartbeat_hold(heartbeat, &booting.wait);
	heartbeat_expect(heartbeat, &booting.wait, 16);
	peer = local_connect(16);
	CU_ASSERT_TRUE(run_until(event, is_odd, &booting));
	CU_ASSERT_PTR_NOT_NULL(strstr(booting.wait.anomaly, "nothing"));
	CU_ASSERT_EQUAL(read(peer, &byte, 1), 0);
	CU_ASSERT_EQUAL(booting.beats, 0);
	CU_ASSERT_EQUAL(heartbeat_fds(heartbeat), 1);
	close(peer);
	heartbeat_release(heartbeat, &booting.wait);
}

static void test_eof(void)
{
	struct booting booting;
	int peer;

	booting_init(&booting);
	heartbeat_hold(heartbeat, &booting.wait);
	heartbeat_expect(heartbeat, &booting.wait, 16);
	peer = local_connect(16);
	close(peer);
	CU_ASSERT_TRUE(run_until(event, is_odd, &booting));
	CU_ASSERT_PTR_NOT_NULL(strstr(booting.wait.anomaly, "closed"));
	CU_ASSERT_EQUAL(booting.beats, 0);
	heartbeat_release(heartbeat, &booting.wait);
}

/* The enclave was faster than the worker that reports its CID. */
static void test_unknown_first(void)
{
	struct booting booting;
	unsigned int two = 2;
	int peer;

	booting_init(&booting);
	heartbeat_hold(heartbeat, &booting.wait);
	peer = local_connect(16);
	say(peer, 0xb7);
	CU_ASSERT_TRUE(run_until(event, has_fds, &two));
	run_ready(event);
	CU_ASSERT_EQUAL(booting.beats, 0);
	heartbeat_expect(heartbeat, &booting.wait, 16);
	CU_ASSERT_EQUAL(booting.beats, 0); /* never from inside the call */
	CU_ASSERT_TRUE(run_until(event, has_beat, &booting));
	hears_echo(peer);
	close(peer);
	heartbeat_release(heartbeat, &booting.wait);
}

static void test_stranger(void)
{
	struct booting booting;
	unsigned int two = 2;
	unsigned char byte;
	int peer;

	booting_init(&booting);
	heartbeat_hold(heartbeat, &booting.wait);
	heartbeat_expect(heartbeat, &booting.wait, 16);
	peer = local_connect(17);
	say(peer, 0xb7);
	CU_ASSERT_TRUE(run_until(event, has_fds, &two));
	run_ready(event);
	CU_ASSERT_EQUAL(booting.beats, 0);
	CU_ASSERT_EQUAL(recv(peer, &byte, 1, MSG_DONTWAIT), -1);
	heartbeat_release(heartbeat, &booting.wait);
	/* Nothing boots any more: the stranger is let go. */
	CU_ASSERT_EQUAL(heartbeat_fds(heartbeat), 0);
	CU_ASSERT_TRUE(recv(peer, &byte, 1, 0) <= 0);
	close(peer);
}

static void test_two(void)
{
	struct booting first, second;
	int one, two;

	booting_init(&first);
	booting_init(&second);
	heartbeat_hold(heartbeat, &first.wait);
	heartbeat_hold(heartbeat, &second.wait);
	heartbeat_expect(heartbeat, &first.wait, 16);
	heartbeat_expect(heartbeat, &second.wait, 16 + 256); /* the same bucket */
	one = local_connect(16);
	two = local_connect(16 + 256);
	say(two, 0xb7);
	CU_ASSERT_TRUE(run_until(event, has_beat, &second));
	CU_ASSERT_EQUAL(first.beats, 0);
	heartbeat_release(heartbeat, &second.wait);
	say(one, 0xb7);
	CU_ASSERT_TRUE(run_until(event, has_beat, &first));
	CU_ASSERT_EQUAL(second.beats, 1);
	hears_echo(one);
	hears_echo(two);
	heartbeat_release(heartbeat, &first.wait);
	close(one);
	close(two);
}

/* Someone who connects over and over keeps one connection; a crowd is bounded. */
static void test_bounded(void)
{
	struct booting booting;
	static int peers[HEARTBEAT_CONNECTIONS_MAX + 40];
	size_t count = sizeof(peers) / sizeof(peers[0]);
	unsigned int two = 2;
	int peer;

	booting_init(&booting);
	heartbeat_hold(heartbeat, &booting.wait);
	for (size_t i = 0; i < 100; i++)
		peers[i] = local_connect(99);
	CU_ASSERT_TRUE(run_until(event, has_fds, &two));
	run_ready(event);
	CU_ASSERT_EQUAL(heartbeat_fds(heartbeat), 2);
	for (size_t i = 0; i < 100; i++)
		close(peers[i]);
	for (size_t i = 0; i < count; i++) {
		peers[i] = local_connect(1000 + i);
		CU_ASSERT_NOT_EQUAL(peers[i], -1);
		run_ready(event);
	}
	CU_ASSERT_EQUAL(heartbeat_fds(heartbeat), HEARTBEAT_CONNECTIONS_MAX + 1);
	/* The one that counts still gets through. */
	heartbeat_expect(heartbeat, &booting.wait, 16);
	peer = local_connect(16);
	say(peer, 0xb7);
	CU_ASSERT_TRUE(run_until(event, has_beat, &booting));
	heartbeat_release(heartbeat, &booting.wait);
	for (size_t i = 0; i < count; i++)
		close(peers[i]);
	close(peer);
}

static void test_port_taken(void)
{
	struct booting first, second, third;
	int other = local_endpoint.listen(&local_endpoint);

	CU_ASSERT_TRUE(other >= 0);
	booting_init(&first);
	booting_init(&second);
	booting_init(&third);
	heartbeat_hold(heartbeat, &first.wait);
	heartbeat_hold(heartbeat, &second.wait);
	heartbeat_hold(heartbeat, &third.wait);
	CU_ASSERT_EQUAL(first.opened + first.failed, 0);
	heartbeat_release(heartbeat, &second.wait); /* stopped while it waits */
	CU_ASSERT_TRUE(run_until(event, is_decided, &first));
	CU_ASSERT_EQUAL(first.failed, EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(first.why, "9000"));
	CU_ASSERT_PTR_NOT_NULL(strstr(first.why, "another process"));
	CU_ASSERT_EQUAL(third.failed, EIO);
	CU_ASSERT_EQUAL(second.failed + second.opened, 0);
	/* A failure is not remembered. */
	close(other);
	booting_init(&first);
	heartbeat_hold(heartbeat, &first.wait);
	CU_ASSERT_EQUAL(first.opened, 1);
	heartbeat_release(heartbeat, &first.wait);
}

static void test_port_freed(void)
{
	struct booting booting;
	int other = local_endpoint.listen(&local_endpoint);

	booting_init(&booting);
	heartbeat_hold(heartbeat, &booting.wait);
	run_ready(event);
	CU_ASSERT_EQUAL(booting.opened, 0);
	close(other);
	CU_ASSERT_TRUE(run_until(event, is_decided, &booting));
	CU_ASSERT_EQUAL(booting.opened, 1);
	heartbeat_release(heartbeat, &booting.wait);
}

/* The real port, where this kernel has vsock at all. */
static void test_vsock(void)
{
	int probe = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int first = heartbeat_vsock.listen(&heartbeat_vsock);

	if (probe < 0) {
		CU_ASSERT_EQUAL(first, -EAFNOSUPPORT);
		return;
	}
	close(probe);
	/* Somebody else may have it. */
	CU_ASSERT_TRUE(first >= 0 || first == -EADDRINUSE);
	CU_ASSERT_EQUAL(heartbeat_vsock.listen(&heartbeat_vsock), -EADDRINUSE);
	if (first >= 0)
		close(first);
}

/* ---- an endpoint that fails ---- */

/* What it says instead, and how often. */
static int failure;
static unsigned int failures, accepts;

static int failing_listen(const struct heartbeat_endpoint *endpoint)
{
	return failure ? failure : local_endpoint.listen(endpoint);
}

static int failing_accept(const struct heartbeat_endpoint *endpoint, int listener, uint64_t *cid)
{
	accepts++;
	if (failures > 0) {
		failures--;
		return failure;
	}
	return local_endpoint.accept(endpoint, listener, cid);
}

static void test_out_of_fds(void)
{
	static const int errors[] = { -EMFILE, -ENFILE, -ENOMEM, -ENOBUFS };
	struct heartbeat_endpoint endpoint = local_endpoint;
	struct booting booting;
	struct heartbeat *usual = heartbeat;
	int peer;

	endpoint.accept = failing_accept;
	CU_ASSERT_EQUAL_FATAL(heartbeat_new(event, &endpoint, &heartbeat, NULL), 0);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		booting_init(&booting);
		heartbeat_hold(heartbeat, &booting.wait);
		heartbeat_expect(heartbeat, &booting.wait, 16);
		failure = errors[i];
		failures = 2;
		accepts = 0;
		peer = local_connect(16);
		say(peer, 0xb7);
		/* It looks away for a while: a listener that stays readable would keep it busy. */
		run_ready(event);
		CU_ASSERT(accepts <= 2);
		CU_ASSERT_TRUE(run_until(event, has_beat, &booting));
		hears_echo(peer);
		close(peer);
		heartbeat_release(heartbeat, &booting.wait);
	}
	/* Let go of meanwhile. */
	booting_init(&booting);
	heartbeat_hold(heartbeat, &booting.wait);
	failures = 1;
	peer = local_connect(16);
	run_ready(event);
	heartbeat_release(heartbeat, &booting.wait);
	CU_ASSERT_EQUAL(heartbeat_fds(heartbeat), 0);
	close(peer);
	heartbeat_free(heartbeat);
	heartbeat = usual;
	failure = 0;
}

/* A connection that was given up before it was accepted: the next is not kept waiting. */
static void test_aborted(void)
{
	struct heartbeat_endpoint endpoint = local_endpoint;
	struct booting booting;
	struct heartbeat *usual = heartbeat;
	int peer;

	endpoint.accept = failing_accept;
	CU_ASSERT_EQUAL_FATAL(heartbeat_new(event, &endpoint, &heartbeat, NULL), 0);
	booting_init(&booting);
	heartbeat_hold(heartbeat, &booting.wait);
	heartbeat_expect(heartbeat, &booting.wait, 16);
	failure = -ECONNABORTED;
	failures = 3;
	peer = local_connect(16);
	say(peer, 0xb7);
	run_ready(event);
	CU_ASSERT_EQUAL(booting.beats, 1);
	close(peer);
	heartbeat_release(heartbeat, &booting.wait);
	heartbeat_free(heartbeat);
	heartbeat = usual;
	failure = 0;
}

static void test_cannot_listen(void)
{
	static const struct {
		int error;
		const char *word;
	} cases[] = { { -EAFNOSUPPORT, "modprobe" }, { -EADDRNOTAVAIL, "modprobe" },
		{ -ENODEV, "modprobe" }, { -EACCES, "Permission denied" } };
	struct heartbeat_endpoint endpoint = local_endpoint;
	struct heartbeat *usual = heartbeat;

	endpoint.listen = failing_listen;
	CU_ASSERT_EQUAL_FATAL(heartbeat_new(event, &endpoint, &heartbeat, NULL), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct booting booting;

		booting_init(&booting);
		failure = cases[i].error;
		heartbeat_hold(heartbeat, &booting.wait);
		CU_ASSERT_TRUE(run_until(event, is_decided, &booting));
		CU_ASSERT_EQUAL(booting.failed, EIO);
		CU_ASSERT_PTR_NOT_NULL(strstr(booting.why, cases[i].word));
		CU_ASSERT_PTR_NOT_NULL(strstr(booting.why, "9000"));
		heartbeat_release(heartbeat, &booting.wait);
	}
	heartbeat_free(heartbeat);
	heartbeat = usual;
	failure = 0;
}

/* It has said it, and does not wait for the answer: that is no heartbeat, and it is told why. */
static void test_unanswered(void)
{
	struct booting booting;
	int peer;

	booting_init(&booting);
	heartbeat_hold(heartbeat, &booting.wait);
	heartbeat_expect(heartbeat, &booting.wait, 16);
	peer = local_connect(16);
	say(peer, 0xb7);
	close(peer);
	CU_ASSERT_TRUE(run_until(event, is_odd, &booting));
	CU_ASSERT_PTR_NOT_NULL(strstr(booting.wait.anomaly, "could not be answered"));
	CU_ASSERT_EQUAL(booting.beats, 0);
	heartbeat_release(heartbeat, &booting.wait);
}

static const CU_TestInfo tests[] = {
	{ "the right byte is answered and counts", test_right_byte },
	{ "a wrong byte does not count", test_wrong_byte },
	{ "a silent peer is dropped", test_silent },
	{ "a peer that closes is dropped", test_eof },
	{ "a heartbeat before its CID is known", test_unknown_first },
	{ "a stranger's heartbeat counts for nobody", test_stranger },
	{ "two at once are told apart", test_two },
	{ "connections are bounded", test_bounded },
	{ "a taken port is reported after a while", test_port_taken },
	{ "a port that is freed is taken", test_port_freed },
	{ "the vsock port is held by one", test_vsock },
	{ "no fd is left for a connection", test_out_of_fds },
	{ "connections that were given up", test_aborted },
	{ "a port that cannot be listened on", test_cannot_listen },
	{ "a heartbeat that cannot be answered", test_unanswered },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("heartbeat", tests, set_up, tear_down);
}
