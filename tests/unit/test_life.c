/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of an enclave (nefs/life.c, states.c) over a fake backend: every situation that it can be
 * in, with everything that can happen there.
 */
#include "control.h"
#include "cunit_main.h"
#include "directory.h"
#include "fake_backend.h"
#include "life.h"
#include "spool_job.h"
#include "temporary.h"
#include <errno.h>

/* ---- what libfuse would do ---- */

/* The requests of this test are the addresses of these: what they were answered, or UNANSWERED. */
#define UNANSWERED 9999

int fuse_reply_err(fuse_req_t req, int error)
{
	*(int *)(void *)req = -error;
	return 0;
}

int fuse_req_interrupted(fuse_req_t req)
{
	return 0;
}

void fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t function, void *data)
{
}

/* ---- a filesystem with one enclave ---- */

static struct fs *fs;
static struct enclave *web;
static char spool[TEMPORARY_MAX];

static void set(const char *file, const char *text)
{
	CU_ASSERT_EQUAL_FATAL(
		control_store(directory_row(&web->directory, file), text, strlen(text)), 0);
}

static void make_enclave(void)
{
	struct nefs_error err = { 0 };
	struct node *node;

	fs = calloc(1, sizeof(*fs));
	CU_ASSERT_PTR_NOT_NULL_FATAL(fs);
	CU_ASSERT_EQUAL_FATAL(sd_event_new(&fs->event), 0);
	CU_ASSERT_EQUAL_FATAL(workers_new(fs->event, 1, &fs->workers, &err), 0);
	CU_ASSERT_EQUAL_FATAL(backend_open(fs->event, fs->workers, NULL, &fs->backend, &err), 0);
	CU_ASSERT_EQUAL_FATAL(spool_open(&fs->spool, spool, fs->workers, &err), 0);
	CU_ASSERT_EQUAL_FATAL(fs_init(fs, (gid_t)-1, &err), 0);
	CU_ASSERT_EQUAL_FATAL(enclave_mkdir(fs->tree.root, "web", 0755, 0, 0, &node, &err), 0);
	web = enclave_of(node->directory);
	directory_ref(&web->directory);
	set("memory", "64M\n");
	set("vcpus", "2\n");
	CU_ASSERT_EQUAL_FATAL(spool_file_new(&fs->spool, 0, &web->image.file, &err), 0);
	CU_ASSERT_EQUAL_FATAL(spool_fill(web->image.file, ".eif", 4, &err), 0);
}

static void drop_enclave(void)
{
	while (fs->backend->launch) {
		if (web->state != STATE_STOPPED && web->state != STATE_FAILED &&
			web->state != STATE_CRASHED && web->state != STATE_QUEUED)
			fake_ended(fs->backend, BACKEND_STOPPED, 0);
		enclave_stop(web);
		fake_released(fs->backend);
	}
	directory_unref(&web->directory);
	tree_drop_requests(&fs->tree);
	fs_release(fs);
	backend_close(fs->backend);
	workers_free(fs->workers);
	spool_close(&fs->spool);
	sd_event_unref(fs->event);
	free(fs);
}

static int start(void)
{
	struct nefs_error err = { 0 };

	return enclave_start(web, &err);
}

/* ---- every situation ---- */

/* A state, and whether the device still gives back what had it. */
enum situation {
	INIT,
	QUEUED,
	STARTING,
	BOOTING,
	RUNNING,
	STOPPING_UNSTARTED, /* stopped before the device had started it */
	STOPPING,
	RECYCLING,
	STOPPED_HELD,
	STOPPED,
	FAILED_HELD,
	FAILED,
	CRASHED_HELD,
	CRASHED,
	SITUATIONS,
};

static const enum enclave_state state_of[SITUATIONS] = {
	[INIT] = STATE_INIT,
	[QUEUED] = STATE_QUEUED,
	[STARTING] = STATE_STARTING,
	[BOOTING] = STATE_BOOTING,
	[RUNNING] = STATE_RUNNING,
	[STOPPING_UNSTARTED] = STATE_STOPPING,
	[STOPPING] = STATE_STOPPING,
	[RECYCLING] = STATE_RECYCLING,
	[STOPPED_HELD] = STATE_STOPPED,
	[STOPPED] = STATE_STOPPED,
	[FAILED_HELD] = STATE_FAILED,
	[FAILED] = STATE_FAILED,
	[CRASHED_HELD] = STATE_CRASHED,
	[CRASHED] = STATE_CRASHED,
};

static void reach(enum situation situation)
{
	switch (situation) {
	case INIT:
		return;
	case STARTING:
		start();
		return;
	case BOOTING:
		reach(STARTING);
		fake_started(fs->backend);
		return;
	case RUNNING:
		reach(BOOTING);
		fake_running(fs->backend);
		return;
	case STOPPING_UNSTARTED:
		reach(STARTING);
		enclave_stop(web);
		return;
	case STOPPING:
		reach(RUNNING);
		enclave_stop(web);
		return;
	case RECYCLING:
		reach(STOPPING);
		start();
		return;
	case QUEUED:
		reach(CRASHED_HELD);
		start();
		return;
	case STOPPED_HELD:
		reach(STOPPING);
		fake_ended(fs->backend, BACKEND_STOPPED, 0);
		return;
	case FAILED_HELD:
		reach(STARTING);
		fake_ended(fs->backend, BACKEND_FAILED, ENOMEM);
		return;
	case CRASHED_HELD:
		reach(RUNNING);
		fake_ended(fs->backend, BACKEND_CRASHED, EIO);
		return;
	default:
		reach(situation - 1); /* the same, held */
		fake_released(fs->backend);
	}
}

/* ---- everything that can happen ---- */

enum happening {
	START,
	START_UNSET, /* with something unset */
	CHANGE,	     /* a setting and the image are written, for the next start */
	STOP,
	DEVICE_STARTED,
	DEVICE_RUNNING,
	DEVICE_FAILED,
	DEVICE_STOPPED,
	DEVICE_CRASHED,
	RELEASED,
	RMDIR,
	HAPPENINGS,
};

/* Another value, another spelling of the same one, and another image. */
static int change(void)
{
	struct nefs_error err = { 0 };
	struct spool_file *file;
	int failed = control_store(directory_row(&web->directory, "memory"), "128M\n", 5);

	if (!failed)
		failed = control_store(directory_row(&web->directory, "vcpus"), "0x2", 3);
	if (!failed)
		failed = spool_file_new(&fs->spool, 0, &file, &err);
	if (!failed) {
		image_replace(&web->image, file);
		image_forget(&web->image);
		enclave_compare(web);
	}
	return failed;
}

static int cause(enum happening happening)
{
	struct nefs_error err = { 0 };

	switch (happening) {
	case START:
		return start();
	case START_UNSET:
		directory_row(&web->directory, "memory")
			->control->reset(directory_row(&web->directory, "memory"));
		return start();
	case CHANGE:
		return change();
	case STOP:
		return enclave_stop(web);
	case DEVICE_STARTED:
		fake_started(fs->backend);
		return 0;
	case DEVICE_RUNNING:
		fake_running(fs->backend);
		return 0;
	case DEVICE_FAILED:
		fake_ended(fs->backend, BACKEND_FAILED, ENOMEM);
		return 0;
	case DEVICE_STOPPED:
		fake_ended(fs->backend, BACKEND_STOPPED, 0);
		return 0;
	case DEVICE_CRASHED:
		fake_ended(fs->backend, BACKEND_CRASHED, EIO);
		return 0;
	case RELEASED:
		fake_released(fs->backend);
		return 0;
	default:
		return web->directory.ops->rmdir(&web->directory, &err);
	}
}

/* What comes of it: the state, what the caller is told, and the journal's words. */
struct outcome {
	bool possible;
	enum enclave_state state;
	int result;
	const char *words;
};

#define TO(state, result, words)                                                                   \
	{                                                                                          \
		true, STATE_##state, (result), (words)                                             \
	}

/* What is not here cannot happen: the backend reports about a launch that is there, and in order. */
static const struct outcome table[SITUATIONS][HAPPENINGS] = {
	[INIT] = { [CHANGE] = TO(INIT, 0, ""),
		[START] = TO(STARTING, STORE_PARKED, "starting"),
		[START_UNSET] = TO(FAILED, -EINVAL, "failed"),
		[STOP] = TO(INIT, 0, ""),
		[RMDIR] = TO(INIT, 0, "removed") },
	[QUEUED] = { [CHANGE] = TO(QUEUED, 0, ""),
		[START] = TO(QUEUED, STORE_PARKED, ""),
		[START_UNSET] = TO(QUEUED, STORE_PARKED, ""),
		[STOP] = TO(STOPPED, 0, "stopped"),
		[RELEASED] = TO(STARTING, 0, "starting"),
		[RMDIR] = TO(QUEUED, -EBUSY, "") },
	[STARTING] = { [CHANGE] = TO(STARTING, 0, ""),
		[START] = TO(STARTING, STORE_PARKED, ""),
		[START_UNSET] = TO(STARTING, STORE_PARKED, ""),
		[STOP] = TO(STOPPING, STORE_PARKED, "stopping"),
		[DEVICE_STARTED] = TO(BOOTING, 0, ""),
		[DEVICE_FAILED] = TO(FAILED, 0, "failed"),
		[RMDIR] = TO(STARTING, -EBUSY, "") },
	[BOOTING] = { [CHANGE] = TO(BOOTING, 0, ""),
		[START] = TO(BOOTING, 0, ""),
		[START_UNSET] = TO(BOOTING, 0, ""),
		[STOP] = TO(STOPPING, STORE_PARKED, "stopping"),
		[DEVICE_RUNNING] = TO(RUNNING, 0, "running"),
		[DEVICE_FAILED] = TO(FAILED, 0, "failed"),
		[RMDIR] = TO(BOOTING, -EBUSY, "") },
	[RUNNING] = { [CHANGE] = TO(RUNNING, 0, ""),
		[START] = TO(RUNNING, 0, ""),
		[START_UNSET] = TO(RUNNING, 0, ""),
		[STOP] = TO(STOPPING, STORE_PARKED, "stopping"),
		[DEVICE_CRASHED] = TO(CRASHED, 0, "crashed"),
		[RMDIR] = TO(RUNNING, -EBUSY, "") },
	[STOPPING_UNSTARTED] = { [CHANGE] = TO(STOPPING, 0, ""),
		[START] = TO(RECYCLING, STORE_PARKED, ""),
		[START_UNSET] = TO(STOPPING, -EINVAL, "refused"),
		[STOP] = TO(STOPPING, STORE_PARKED, ""),
		[DEVICE_STARTED] = TO(STOPPING, 0, ""),
		[DEVICE_FAILED] = TO(FAILED, 0, "failed"),
		[DEVICE_STOPPED] = TO(STOPPED, 0, "stopped"),
		[RMDIR] = TO(STOPPING, -EBUSY, "") },
	[STOPPING] = { [CHANGE] = TO(STOPPING, 0, ""),
		[START] = TO(RECYCLING, STORE_PARKED, ""),
		[START_UNSET] = TO(STOPPING, -EINVAL, "refused"),
		[STOP] = TO(STOPPING, STORE_PARKED, ""),
		[DEVICE_STOPPED] = TO(STOPPED, 0, "stopped"),
		/* Whoever asked for the end gets what was asked for. */
		[DEVICE_CRASHED] = TO(STOPPED, 0, "stopped"),
		[RMDIR] = TO(STOPPING, -EBUSY, "") },
	[RECYCLING] = { [CHANGE] = TO(RECYCLING, 0, ""),
		[START] = TO(RECYCLING, STORE_PARKED, ""),
		[START_UNSET] = TO(RECYCLING, STORE_PARKED, ""),
		[DEVICE_STARTED] = TO(RECYCLING, 0, ""),
		[STOP] = TO(STOPPING, STORE_PARKED, ""),
		[DEVICE_FAILED] = TO(QUEUED, 0, "failed"),
		[DEVICE_STOPPED] = TO(QUEUED, 0, "stopped"),
		[DEVICE_CRASHED] = TO(QUEUED, 0, "stopped"),
		[RMDIR] = TO(RECYCLING, -EBUSY, "") },
	[STOPPED_HELD] = { [CHANGE] = TO(STOPPED, 0, ""),
		[START] = TO(QUEUED, STORE_PARKED, ""),
		[START_UNSET] = TO(FAILED, -EINVAL, "failed"),
		[STOP] = TO(STOPPED, 0, ""),
		[RELEASED] = TO(STOPPED, 0, ""),
		[RMDIR] = TO(STOPPED, 0, "removed") },
	[STOPPED] = { [CHANGE] = TO(STOPPED, 0, ""),
		[START] = TO(STARTING, STORE_PARKED, "starting"),
		[START_UNSET] = TO(FAILED, -EINVAL, "failed"),
		[STOP] = TO(STOPPED, 0, ""),
		[RMDIR] = TO(STOPPED, 0, "removed") },
	[FAILED_HELD] = { [CHANGE] = TO(FAILED, 0, ""),
		[START] = TO(QUEUED, STORE_PARKED, ""),
		[START_UNSET] = TO(FAILED, -EINVAL, "failed"),
		[STOP] = TO(FAILED, 0, ""),
		[RELEASED] = TO(FAILED, 0, ""),
		[RMDIR] = TO(FAILED, 0, "removed") },
	[FAILED] = { [CHANGE] = TO(FAILED, 0, ""),
		[START] = TO(STARTING, STORE_PARKED, "starting"),
		[START_UNSET] = TO(FAILED, -EINVAL, "failed"),
		[STOP] = TO(FAILED, 0, ""),
		[RMDIR] = TO(FAILED, 0, "removed") },
	[CRASHED_HELD] = { [CHANGE] = TO(CRASHED, 0, ""),
		[START] = TO(QUEUED, STORE_PARKED, ""),
		[START_UNSET] = TO(FAILED, -EINVAL, "failed"),
		[STOP] = TO(CRASHED, 0, ""),
		[RELEASED] = TO(CRASHED, 0, ""),
		[RMDIR] = TO(CRASHED, 0, "removed") },
	[CRASHED] = { [CHANGE] = TO(CRASHED, 0, ""),
		[START] = TO(STARTING, STORE_PARKED, "starting"),
		[START_UNSET] = TO(FAILED, -EINVAL, "failed"),
		[STOP] = TO(CRASHED, 0, ""),
		[RMDIR] = TO(CRASHED, 0, "removed") },
};

/* The journal's words from a position on, with a space between them. */
static void words_since(uint64_t position, char *words, size_t size)
{
	static const char key[] = "\"event\":\"";
	size_t used = 0;
	const char *lines;
	size_t left;

	*words = '\0';
	/* It is as long as peek says, and no string. */
	while ((left = text_log_peek(&fs->root.journal, position, &lines))) {
		const char *end = (const char *)memchr(lines, '\n', left) + 1;
		const char *word =
			(const char *)memmem(lines, (size_t)(end - lines), key, strlen(key)) +
			strlen(key);

		used += (size_t)snprintf(words + used, size - used, "%s%.*s", used ? " " : "",
			(int)((const char *)memchr(word, '"', (size_t)(end - word)) - word), word);
		position += (uint64_t)(end - lines);
	}
}

/* What a text file of the enclave reads. */
static void read_file(const char *file, char *text, size_t size)
{
	char *rendered = NULL;
	size_t length = 0;

	*text = '\0';
	if (control_render(directory_row(&web->directory, file), &rendered, &length) == 0)
		snprintf(text, size, "%.*s", (int)length, rendered);
	free(rendered);
}

/* The files of an enclave agree with each other, whatever its state is. */
static void check_files(void)
{
	const struct state_meaning *meaning = enclave_meaning(web);
	struct nefs_error err = { 0 };
	char text[64], name[64];
	uint32_t pending;

	read_file("start", text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, meaning->started ? "1\n" : "0\n");
	read_file("state", text, sizeof(text));
	snprintf(name, sizeof(name), "%s\n", meaning->name);
	CU_ASSERT_STRING_EQUAL(text, name);
	/* Settings are staged: another value waits for the next start, the same in other words does not. */
	pending = web->applied.pending;
	CU_ASSERT_EQUAL(control_store(directory_row(&web->directory, "cid"), "99", 2), 0);
	CU_ASSERT_EQUAL(control_store(directory_row(&web->directory, "vcpus"), "0x2", 3), 0);
	CU_ASSERT_EQUAL(web->applied.pending, meaning->runs ? pending | 1U << SETTING_CID : 0);
	CU_ASSERT_EQUAL(control_store(directory_row(&web->directory, "cid"), "0", 1), 0);
	CU_ASSERT_EQUAL(web->applied.pending, pending);
	CU_ASSERT_EQUAL(web->applied.image != NULL, web->launch != NULL);
	CU_ASSERT_EQUAL(web->directory.ops->unlink(&web->directory, "cid", &err),
		meaning->active ? -EBUSY : 0);
	/* What the device gave is shown for as long as this life has it. */
	if (!meaning->active || web->state == STATE_QUEUED || web->state == STATE_STARTING)
		CU_ASSERT_PTR_NULL(web->grant);
	if (web->state == STATE_BOOTING || web->state == STATE_RUNNING)
		CU_ASSERT_PTR_NOT_NULL(web->grant);
	/* Nobody waits where nothing is under way. */
	if (!meaning->changing)
		CU_ASSERT_EQUAL(web->wait_until, 0);
	CU_ASSERT_EQUAL(fs->launches, web->launch ? 1 : 0);
	CU_ASSERT_PTR_EQUAL(web->launch, fs->backend->launch);
}

static uint64_t sum_of_counters(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < COUNTERS; i++) {
		sum += web->counters[i];
		CU_ASSERT_EQUAL(web->counters[i], fs->counters[i]);
	}
	return sum;
}

static void check_case(enum situation situation, enum happening happening)
{
	const struct outcome *expected = &table[situation][happening];
	uint64_t position, counted;
	char words[256], text[64];
	int result;

	make_enclave();
	reach(situation);
	CU_ASSERT_EQUAL_FATAL(web->state, state_of[situation]);
	position = text_log_end(&fs->root.journal);
	counted = sum_of_counters();
	result = cause(happening);
	words_since(position, words, sizeof(words));
	if (result != expected->result || web->state != expected->state ||
		strcmp(words, expected->words) != 0)
		printf("situation %d, happening %d: state %d, result %d, journal '%s'; expected %d, "
		       "%d, '%s'\n",
			situation, happening, web->state, result, words, expected->state,
			expected->result, expected->words);
	CU_ASSERT_EQUAL(web->state, expected->state);
	CU_ASSERT_EQUAL(result, expected->result);
	CU_ASSERT_STRING_EQUAL(words, expected->words);
	/* Each of these words is an event that is counted; the others are not. */
	CU_ASSERT_EQUAL(sum_of_counters() - counted,
		strstr("running failed stopped crashed", *words ? words : "-") != NULL);
	read_file("pending", text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, !enclave_meaning(web)->runs ? ""
				     : happening == CHANGE	 ? "memory\nimage\n"
				     : happening == START_UNSET	 ? "memory\n"
								 : "");
	if (happening == RMDIR && result == 0)
		CU_ASSERT_TRUE(web->directory.removed)
	else
		check_files();
	drop_enclave();
}

static void test_every_state_and_event(void)
{
	unsigned int cases = 0;

	for (int situation = 0; situation < SITUATIONS; situation++)
		for (int happening = 0; happening < HAPPENINGS; happening++)
			if (table[situation][happening].possible) {
				check_case((enum situation)situation, (enum happening)happening);
				cases++;
			}
	CU_ASSERT_EQUAL(cases, 88);
}

/* ---- who waits ---- */

static void answer(struct parked *parked, int result)
{
	*(int *)(void *)parked->req = result;
}

/* A writer of `start` that waits for what is under way. */
static void park(int *answered)
{
	struct parked *parked;

	*answered = UNANSWERED;
	parked = enclave_park(web, (fuse_req_t)(void *)answered);
	CU_ASSERT_PTR_NOT_NULL_FATAL(parked);
	parked->answer = answer;
}

static void test_starter_is_told(void)
{
	int starter;

	make_enclave();
	reach(STARTING);
	park(&starter);
	fake_started(fs->backend);
	CU_ASSERT_EQUAL(starter, 0);
	drop_enclave();
	make_enclave();
	reach(STARTING);
	park(&starter);
	fake_ended(fs->backend, BACKEND_FAILED, ENOMEM);
	CU_ASSERT_EQUAL(starter, -ENOMEM);
	drop_enclave();
	make_enclave();
	reach(STARTING);
	park(&starter);
	enclave_stop(web);
	CU_ASSERT_EQUAL(starter, UNANSWERED);
	fake_ended(fs->backend, BACKEND_STOPPED, ECANCELED);
	CU_ASSERT_EQUAL(starter, -ECANCELED);
	drop_enclave();
}

/* A start behind a stop: each is told of its own outcome, and of no other. */
static void test_queued_start_is_told(void)
{
	int stopper, starter;

	make_enclave();
	reach(STOPPING);
	park(&stopper);
	start();
	park(&starter);
	fake_ended(fs->backend, BACKEND_STOPPED, 0);
	CU_ASSERT_EQUAL(stopper, 0);
	CU_ASSERT_EQUAL(starter, UNANSWERED);
	CU_ASSERT_EQUAL(web->state, STATE_QUEUED);
	check_files();
	fake_released(fs->backend);
	CU_ASSERT_EQUAL(starter, UNANSWERED);
	CU_ASSERT_EQUAL(web->state, STATE_STARTING);
	CU_ASSERT_EQUAL(fs->backend->started, 2);
	fake_started(fs->backend);
	CU_ASSERT_EQUAL(starter, 0);
	drop_enclave();
}

static void test_queued_start_is_taken_back(void)
{
	int starter;

	make_enclave();
	reach(QUEUED);
	park(&starter);
	CU_ASSERT_EQUAL(enclave_stop(web), 0);
	CU_ASSERT_EQUAL(starter, -ECANCELED);
	CU_ASSERT_PTR_NOT_NULL(strstr(web->directory.error, "stopped before it had started"));
	fake_released(fs->backend);
	CU_ASSERT_EQUAL(web->state, STATE_STOPPED);
	CU_ASSERT_EQUAL(fs->backend->started, 1);
	drop_enclave();
}

/* What a start that waits will use is that of its beginning: it may have been made incomplete meanwhile. */
static void test_queued_start_of_what_was_changed(void)
{
	int starter;

	make_enclave();
	reach(QUEUED);
	set("memory", "128M");
	fake_released(fs->backend);
	CU_ASSERT_EQUAL(web->state, STATE_STARTING);
	CU_ASSERT_EQUAL(fs->backend->config.memory, 128ULL << 20);
	drop_enclave();
	make_enclave();
	reach(QUEUED);
	park(&starter);
	settings_reset(&web->settings, SETTING_MEMORY);
	fake_released(fs->backend);
	CU_ASSERT_EQUAL(web->state, STATE_FAILED);
	CU_ASSERT_EQUAL(starter, -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(web->directory.error, "memory is not set"));
	drop_enclave();
}

/* The backend refuses a launch at once: also the one that waited. */
static void test_launch_refused(void)
{
	int starter;

	make_enclave();
	fs->backend->start_fails = EMFILE;
	CU_ASSERT_EQUAL(start(), -EMFILE);
	CU_ASSERT_EQUAL(web->state, STATE_FAILED);
	drop_enclave();
	make_enclave();
	reach(QUEUED);
	park(&starter);
	fs->backend->start_fails = EMFILE;
	fake_released(fs->backend);
	CU_ASSERT_EQUAL(web->state, STATE_FAILED);
	CU_ASSERT_EQUAL(starter, -EMFILE);
	CU_ASSERT_PTR_NOT_NULL(web->directory.error);
	drop_enclave();
}

/* The end of the mount: whoever waits is answered once, and nothing is asked of what is gone. */
static void test_mount_ends(void)
{
	int first, second;

	make_enclave();
	reach(STARTING);
	park(&first);
	park(&second);
	tree_drop_requests(&fs->tree);
	CU_ASSERT_EQUAL(first, -ENODEV);
	CU_ASSERT_EQUAL(second, -ENODEV);
	CU_ASSERT_TRUE(LIST_EMPTY(&web->waiting));
	enclave_stop_all(fs);
	CU_ASSERT_EQUAL(fs->backend->launch->stops, 1);
	enclave_stop_all(fs);
	CU_ASSERT_EQUAL(fs->backend->launch->stops, 1);
	drop_enclave();
}

/* ---- what a launch is given ---- */

static void test_configuration(void)
{
	make_enclave();
	set("cpus", "2-3");
	set("cid", "77");
	set("debug", "1");
	set("boot_timeout", "9");
	reach(STARTING);
	CU_ASSERT_EQUAL(fs->backend->config.memory, 64ULL << 20);
	CU_ASSERT_EQUAL(fs->backend->config.vcpus, 2);
	CU_ASSERT_EQUAL(fs->backend->config.cpu_count, 2);
	CU_ASSERT_EQUAL(fs->backend->config.cid, 77);
	CU_ASSERT_TRUE(fs->backend->config.debug);
	CU_ASSERT_EQUAL(fs->backend->config.boot_timeout, 9);
	CU_ASSERT_FALSE(fs->backend->config.image_checked);
	drop_enclave();
	make_enclave();
	web->image.sound = true;
	reach(STARTING);
	CU_ASSERT_TRUE(fs->backend->config.image_checked);
	drop_enclave();
}

/* A new start begins a new file; what the last one printed is the one before. */
static void test_console(void)
{
	const char *data;

	make_enclave();
	reach(RUNNING);
	fake_console(fs->backend, "last words");
	fake_ended(fs->backend, BACKEND_CRASHED, EIO);
	CU_ASSERT_EQUAL(text_log_peek(&web->console, 0, &data), 10);
	CU_ASSERT_EQUAL(web->console.current->size, 10);
	fake_released(fs->backend);
	start();
	CU_ASSERT_EQUAL(web->console.current->size, 0);
	CU_ASSERT_EQUAL(web->console_begin, 10);
	CU_ASSERT_EQUAL(text_log_peek(&web->console, 0, &data), 10);
	/* Nothing printed: the last words of the one before that did stay. */
	fake_ended(fs->backend, BACKEND_FAILED, EIO);
	fake_released(fs->backend);
	start();
	CU_ASSERT_EQUAL(text_log_peek(&web->console, 0, &data), 10);
	drop_enclave();
}

/* An enclave may be removed while the device still gives it back; that comes to its end all the same. */
static void test_removed_while_held(void)
{
	struct nefs_error err = { 0 };

	make_enclave();
	reach(CRASHED_HELD);
	CU_ASSERT_EQUAL(web->directory.ops->rmdir(&web->directory, &err), 0);
	/* Its end was told before its console had come to its own. */
	fake_console(fs->backend, "too late");
	fake_released(fs->backend);
	CU_ASSERT_EQUAL(fs->launches, 0);
	drop_enclave();
}

static const CU_TestInfo tests[] = {
	{ "every state, with everything that can happen", test_every_state_and_event },
	{ "a starter is told how its start went", test_starter_is_told },
	{ "a start behind a stop is told of its own outcome", test_queued_start_is_told },
	{ "a queued start is taken back", test_queued_start_is_taken_back },
	{ "a queued start of what was changed", test_queued_start_of_what_was_changed },
	{ "a launch that is refused at once", test_launch_refused },
	{ "the mount ends while writers wait", test_mount_ends },
	{ "what a launch is given", test_configuration },
	{ "the console is that of the present life", test_console },
	{ "an enclave removed while it is given back", test_removed_while_held },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	int status;

	temporary_directory(spool, "nefs-life");
	status = cunit_run("life", tests, NULL, NULL);
	rmdir(spool);
	return status;
}
