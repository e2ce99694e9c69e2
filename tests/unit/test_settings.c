/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an enclave is asked to be (nefs/settings.h). */
#include "applied.h"
#include "cunit_main.h"
#include "failing_memory.h"
#include "settings.h"
#include "values.h"
#include <errno.h>

static const char *const names[SETTINGS] = {
	[SETTING_MEMORY] = "memory",
	[SETTING_VCPUS] = "vcpus",
	[SETTING_CPUS] = "cpus",
	[SETTING_CID] = "cid",
	[SETTING_DEBUG] = "debug",
	[SETTING_BOOT_TIMEOUT] = "boot_timeout",
};

static int parse(
	enum setting setting, const char *text, struct setting_value *value, struct nefs_error *err)
{
	return setting_parse(setting, text, strlen(text), value, err);
}

static void set(struct settings *settings, enum setting setting, const char *text)
{
	struct nefs_error err = { 0 };
	struct setting_value value;

	CU_ASSERT_EQUAL_FATAL(parse(setting, text, &value, &err), 0);
	settings_take(settings, setting, &value);
	/* What was taken over is not the caller's any more. */
	CU_ASSERT_PTR_NULL(value.text);
	CU_ASSERT_PTR_NULL(value.cpus);
}

/* Does the setting's file read as this, byte for byte? */
static void check_shown(const struct settings *settings, enum setting setting, const char *expected)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	settings_show(settings, setting, out);
	fclose(out);
	CU_ASSERT_EQUAL(size, strlen(expected));
	CU_ASSERT_STRING_EQUAL(text, expected);
	free(text);
}

static void test_unset(void)
{
	static const char *const unset[SETTINGS] = {
		[SETTING_MEMORY] = "",
		[SETTING_VCPUS] = "",
		[SETTING_CPUS] = "",
		[SETTING_CID] = "0\n",
		[SETTING_DEBUG] = "0\n",
		[SETTING_BOOT_TIMEOUT] = "0\n",
	};
	struct settings settings = { 0 };

	for (int i = 0; i < SETTINGS; i++) {
		check_shown(&settings, (enum setting)i, unset[i]);
		CU_ASSERT_EQUAL(settings_number(&settings, (enum setting)i), 0);
	}
}

/* Each text with its outcome; what is accepted reads back byte for byte. */
static void test_texts(void)
{
	static const struct {
		enum setting setting;
		const char *text;
		int result;
		uint64_t number; /* of `cpus`: how many */
	} rows[] = {
		/* The least memory, its neighbours, and the most. */
		{ SETTING_MEMORY, "64M", 0, 64ULL << 20 },
		{ SETTING_MEMORY, "67108864", 0, 64ULL << 20 },
		{ SETTING_MEMORY, "67108863", -ERANGE, 0 },
		{ SETTING_MEMORY, "67108865", -EINVAL, 0 },
		{ SETTING_MEMORY, "63M", -ERANGE, 0 },
		{ SETTING_MEMORY, "65M", -EINVAL, 0 },
		{ SETTING_MEMORY, "66M", 0, 66ULL << 20 },
		{ SETTING_MEMORY, "65537K", -EINVAL, 0 },
		{ SETTING_MEMORY, "67584k\n", 0, 66ULL << 20 },
		{ SETTING_MEMORY, "0", -ERANGE, 0 },
		{ SETTING_MEMORY, "2T", 0, 2ULL << 40 },
		{ SETTING_MEMORY, "0xFFFFFFFFFFE00000", 0, 0xFFFFFFFFFFE00000 },
		{ SETTING_MEMORY, "0xFFFFFFFFFFFFFFFF", -EINVAL, 0 },
		{ SETTING_MEMORY, "0x10000000000000000", -ERANGE, 0 },
		{ SETTING_MEMORY, "16777216T", -ERANGE, 0 },
		{ SETTING_MEMORY, "", -EINVAL, 0 },
		{ SETTING_MEMORY, "\n", -EINVAL, 0 },
		{ SETTING_MEMORY, "much", -EINVAL, 0 },
		{ SETTING_MEMORY, "0512M", -EINVAL, 0 },
		{ SETTING_MEMORY, "-64M", -EINVAL, 0 },
		{ SETTING_VCPUS, "1", 0, 1 },
		{ SETTING_VCPUS, " 0x2\t\n", 0, 2 },
		{ SETTING_VCPUS, "65536", 0, 65536 },
		{ SETTING_VCPUS, "65537", -ERANGE, 0 },
		{ SETTING_VCPUS, "0", -ERANGE, 0 },
		{ SETTING_VCPUS, "02", -EINVAL, 0 },
		{ SETTING_VCPUS, "2-3", -EINVAL, 0 },
		{ SETTING_VCPUS, "", -EINVAL, 0 },
		{ SETTING_CPUS, "2-3", 0, 2 },
		{ SETTING_CPUS, "7,2-3,3\n", 0, 3 },
		{ SETTING_CPUS, "65535", 0, 1 },
		{ SETTING_CPUS, "65536", -ERANGE, 0 },
		{ SETTING_CPUS, "3-2", -EINVAL, 0 },
		{ SETTING_CPUS, "any", -EINVAL, 0 },
		{ SETTING_CPUS, "\n", 0, 0 },
		{ SETTING_CPUS, " ", 0, 0 },
		{ SETTING_CID, "0", 0, 0 },
		{ SETTING_CID, "1", -ERANGE, 0 },
		{ SETTING_CID, "3", -ERANGE, 0 },
		{ SETTING_CID, "4", 0, 4 },
		{ SETTING_CID, "4294967294\n", 0, 4294967294 },
		{ SETTING_CID, "4294967295", -ERANGE, 0 },
		{ SETTING_CID, "18446744073709551616", -ERANGE, 0 },
		{ SETTING_CID, "sixteen", -EINVAL, 0 },
		{ SETTING_DEBUG, "0", 0, 0 },
		{ SETTING_DEBUG, "1\n", 0, 1 },
		{ SETTING_DEBUG, "2", -ERANGE, 0 },
		{ SETTING_DEBUG, "yes", -EINVAL, 0 },
		{ SETTING_BOOT_TIMEOUT, "0", 0, 0 },
		{ SETTING_BOOT_TIMEOUT, "4294967", 0, 4294967 },
		{ SETTING_BOOT_TIMEOUT, "4294968", -ERANGE, 0 },
		{ SETTING_BOOT_TIMEOUT, "5s", -EINVAL, 0 },
	};
	bool accepted[SETTINGS] = { false }, refused[SETTINGS] = { false };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct settings settings = { 0 };
		struct nefs_error err = { 0 };
		struct setting_value value;
		int result = parse(rows[i].setting, rows[i].text, &value, &err);

		if (result != rows[i].result)
			printf("%s: '%s' gives %d\n", names[rows[i].setting], rows[i].text, result);
		CU_ASSERT_EQUAL(result, rows[i].result);
		CU_ASSERT_EQUAL(err.code, -result);
		CU_ASSERT_EQUAL(err.text[0] != '\0', result != 0);
		(result ? refused : accepted)[rows[i].setting] = true;
		if (!result) {
			CU_ASSERT_EQUAL(
				rows[i].setting == SETTING_CPUS ? value.cpu_count : value.number,
				rows[i].number);
			settings_take(&settings, rows[i].setting, &value);
			check_shown(&settings, rows[i].setting, rows[i].text);
			settings_release(&settings);
		} else {
			CU_ASSERT_PTR_NULL(value.text);
			setting_release(&value);
		}
	}
	for (int i = 0; i < SETTINGS; i++)
		CU_ASSERT_TRUE(accepted[i] && refused[i]);
}

/* What is no text at all, for each setting. */
static void test_lengths(void)
{
	char text[VALUE_MAX + 1];

	memset(text, ' ', sizeof(text));
	text[VALUE_MAX - 1] = '1';
	for (int i = 0; i < SETTINGS; i++) {
		enum setting setting = (enum setting)i;
		bool is_number = setting != SETTING_MEMORY && setting != SETTING_CID;
		struct setting_value value;

		CU_ASSERT_EQUAL(setting_parse(setting, text, VALUE_MAX + 1, &value, NULL), -E2BIG);
		setting_release(&value);
		CU_ASSERT_EQUAL(setting_parse(setting, text, VALUE_MAX, &value, NULL),
			is_number ? 0 : -ERANGE);
		CU_ASSERT_TRUE(!is_number || value.size == VALUE_MAX);
		setting_release(&value);
		CU_ASSERT_EQUAL(setting_parse(setting, "1\0", 2, &value, NULL), -EINVAL);
		setting_release(&value);
	}
}

static void test_equality(void)
{
	static const struct {
		enum setting setting;
		const char *one, *other; /* NULL: unset */
		bool equal;
	} rows[] = {
		{ SETTING_MEMORY, "512M", "0x20000000\n", true },
		{ SETTING_MEMORY, "1G", " 1024m ", true },
		{ SETTING_MEMORY, "512M", "514M", false },
		{ SETTING_MEMORY, "512M", NULL, false },
		{ SETTING_VCPUS, "2", "0x2\n", true },
		{ SETTING_VCPUS, "2", "4", false },
		{ SETTING_CPUS, "2-3", "3,2", true },
		{ SETTING_CPUS, "2-3", "2,3,3\n", true },
		{ SETTING_CPUS, "2-3", "2-4", false },
		{ SETTING_CPUS, "2-3", "2,4", false },
		{ SETTING_CPUS, "\n", NULL, true },
		{ SETTING_CPUS, "2-3", "", false },
		{ SETTING_CID, "0", NULL, true },
		{ SETTING_CID, "16", "0x10", true },
		{ SETTING_CID, "16", "17", false },
		{ SETTING_DEBUG, "0\n", NULL, true },
		{ SETTING_DEBUG, "1", "0", false },
		{ SETTING_BOOT_TIMEOUT, "10", " 10\n", true },
		{ SETTING_BOOT_TIMEOUT, "10", NULL, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct setting_value one = { 0 }, other = { 0 };

		CU_ASSERT_EQUAL(parse(rows[i].setting, rows[i].one, &one, NULL), 0);
		if (rows[i].other)
			CU_ASSERT_EQUAL(parse(rows[i].setting, rows[i].other, &other, NULL), 0);
		CU_ASSERT_EQUAL(setting_equal(&one, &other), rows[i].equal);
		CU_ASSERT_EQUAL(setting_equal(&other, &one), rows[i].equal);
		CU_ASSERT_TRUE(setting_equal(&one, &one));
		setting_release(&one);
		setting_release(&other);
	}
}

static void test_take_and_reset(void)
{
	struct settings settings = { 0 };

	set(&settings, SETTING_CPUS, "2-3");
	set(&settings, SETTING_CID, "16\n");
	set(&settings, SETTING_CPUS, "4,6,8\n");
	CU_ASSERT_EQUAL(settings.values[SETTING_CPUS].cpu_count, 3);
	CU_ASSERT_EQUAL(settings.values[SETTING_CPUS].cpus[2], 8);
	check_shown(&settings, SETTING_CPUS, "4,6,8\n");
	settings_reset(&settings, SETTING_CPUS);
	check_shown(&settings, SETTING_CPUS, "");
	CU_ASSERT_EQUAL(settings.values[SETTING_CPUS].cpu_count, 0);
	check_shown(&settings, SETTING_CID, "16\n");
	settings_release(&settings);
	check_shown(&settings, SETTING_CID, "0\n");
	settings_release(&settings);
}

static void test_check(void)
{
	static const struct {
		const char *memory, *vcpus, *cpus;
		int result;
		const char *sentence; /* names what is wrong */
	} rows[] = {
		{ NULL, NULL, NULL, -EINVAL, "memory is not set" },
		{ NULL, "2", NULL, -EINVAL, "memory is not set" },
		{ "64M", NULL, NULL, -EINVAL, "neither vcpus nor cpus" },
		{ "64M", NULL, "\n", -EINVAL, "neither vcpus nor cpus" },
		{ "64M", "2", NULL, 0, "" },
		{ "64M", NULL, "2-3", 0, "" },
		{ "64M", "2", "2-3", 0, "" },
		{ "64M", "2", "\n", 0, "" },
		{ "64M", "2", "2-5", -EINVAL, "vcpus says 2, but cpus lists 4" },
		{ "64M", "4", "2", -EINVAL, "vcpus says 4, but cpus lists 1" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct settings settings = { 0 };
		struct nefs_error err = { 0 };

		if (rows[i].memory)
			set(&settings, SETTING_MEMORY, rows[i].memory);
		if (rows[i].vcpus)
			set(&settings, SETTING_VCPUS, rows[i].vcpus);
		if (rows[i].cpus)
			set(&settings, SETTING_CPUS, rows[i].cpus);
		CU_ASSERT_EQUAL(settings_check(&settings, &err), rows[i].result);
		CU_ASSERT_EQUAL(err.code, -rows[i].result);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, rows[i].sentence));
		settings_release(&settings);
	}
}

/* The sentence says what would do. */
static void test_nearest_memory(void)
{
	struct nefs_error err = { 0 };
	struct setting_value value;

	CU_ASSERT_EQUAL(parse(SETTING_MEMORY, "513M", &value, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "nearest below is 512M"));
	setting_release(&value);
}

static void test_no_memory(void)
{
	static const char *const texts[SETTINGS] = { "64M", "2", "2-3", "16", "1", "9" };

	for (int i = 0; i < SETTINGS; i++) {
		unsigned int nth = 0;
		int result;

		for (;; nth++) {
			struct nefs_error err = { 0 };
			struct setting_value value;

			memory_fail(nth);
			result = parse((enum setting)i, texts[i], &value, &err);
			if (!memory_failed()) {
				CU_ASSERT_EQUAL(result, 0);
				setting_release(&value);
				break;
			}
			CU_ASSERT_EQUAL(result, -ENOMEM);
			CU_ASSERT_EQUAL(err.code, ENOMEM);
			setting_release(&value);
		}
		CU_ASSERT_TRUE(nth > 0);
	}
}

/* What runs is a copy: it asks for the same, and what is set afterwards is none of its business. */
static void test_copy(void)
{
	struct settings settings = { 0 }, copy = { 0 };

	set(&settings, SETTING_MEMORY, "64M\n");
	set(&settings, SETTING_CPUS, "2-3");
	memory_fail(0);
	CU_ASSERT_EQUAL(settings_copy(&copy, &settings), -ENOMEM);
	CU_ASSERT_TRUE(memory_failed());
	CU_ASSERT_EQUAL(settings_number(&copy, SETTING_MEMORY), 0);
	CU_ASSERT_EQUAL(settings_copy(&copy, &settings), 0);
	for (int i = 0; i < SETTINGS; i++)
		CU_ASSERT_TRUE(setting_equal(&settings.values[i], &copy.values[i]));
	set(&settings, SETTING_MEMORY, "128M");
	settings_reset(&settings, SETTING_CPUS);
	CU_ASSERT_EQUAL(settings_number(&copy, SETTING_MEMORY), 64ULL << 20);
	CU_ASSERT_EQUAL(copy.values[SETTING_CPUS].cpus[1], 3);
	settings_release(&settings);
	settings_release(&copy);
}

/* What is pending: nothing unless it runs, and told once. */
static void test_applied(void)
{
	struct settings settings = { 0 };
	struct applied applied = { 0 };
	struct spool_file image = { .refs = 2 }, other = { .refs = 1 };

	set(&settings, SETTING_MEMORY, "64M");
	CU_ASSERT_EQUAL(applied_take(&applied, &settings, &image, NULL), 0);
	CU_ASSERT_EQUAL(image.refs, 3);
	CU_ASSERT_FALSE(applied_compare(&applied, &settings, &image, true));
	set(&settings, SETTING_MEMORY, "65536K");
	CU_ASSERT_FALSE(applied_compare(&applied, &settings, &image, true));
	set(&settings, SETTING_DEBUG, "1");
	CU_ASSERT_TRUE(applied_compare(&applied, &settings, &other, true));
	CU_ASSERT_EQUAL(applied.pending, 1U << SETTING_DEBUG | APPLIED_IMAGE);
	CU_ASSERT_FALSE(applied_compare(&applied, &settings, &other, true));
	CU_ASSERT_TRUE(applied_compare(&applied, &settings, &other, false));
	CU_ASSERT_EQUAL(applied.pending, 0);
	applied_release(&applied);
	applied_release(&applied);
	CU_ASSERT_EQUAL(image.refs, 2);
	settings_release(&settings);
}

static const CU_TestInfo tests[] = {
	{ "what is unset reads as its default", test_unset },
	{ "each text has its outcome, and reads back as written", test_texts },
	{ "too long, and with a NUL byte", test_lengths },
	{ "equal is what asks for the same", test_equality },
	{ "a value is taken over, and reset", test_take_and_reset },
	{ "what can be launched", test_check },
	{ "memory: the nearest that would do is named", test_nearest_memory },
	{ "no memory for a value", test_no_memory },
	{ "a copy, for what runs", test_copy },
	{ "what differs from what runs", test_applied },
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return cunit_run("settings", tests, NULL, NULL);
}
