/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The metadata section of a new image. */
#include "build.h"
#include "internal.h"
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <string.h>

/* bzImage: offset of the version's text, less 0x200 (Linux, Documentation/arch/x86/boot.rst). */
#define BZIMAGE_VERSION_AT 0x20e
#define VERSION_TEXT_MAX   64

char *eif_kernel_version(const struct eif_source *kernel)
{
	char text[VERSION_TEXT_MAX + 1] = "";
	uint8_t pointer[2];
	uint64_t at;
	size_t size;

	if (eif_check_kernel_at(kernel, 0, kernel->size, EIF_X86_64, NULL) ||
		eif_source_get(kernel, pointer, sizeof(pointer), BZIMAGE_VERSION_AT, NULL))
		return strdup("unknown");
	at = 0x200 + (uint64_t)(pointer[0] | pointer[1] << 8);
	if (at == 0x200 || at >= kernel->size)
		return strdup("unknown");
	size = kernel->size - at < VERSION_TEXT_MAX ? (size_t)(kernel->size - at)
						    : VERSION_TEXT_MAX;
	if (eif_source_get(kernel, text, size, at, NULL))
		return strdup("unknown");
	/* Its first word; the rest says who built it. */
	for (size = 0; isgraph((unsigned char)text[size]); size++)
		;
	text[size] = '\0';
	return strdup(size > 0 ? text : "unknown");
}

static int bad_json(struct nefs_error *err, const char *what, size_t size, const json_error_t *at)
{
	return nefs_error_set(err, EINVAL, "%s (%zu bytes) is no JSON: line %d, column %d: %s",
		what, size, at->line, at->column, at->text);
}

int eif_metadata_check(const char *json, size_t size, struct nefs_error *err)
{
	json_error_t at;
	json_t *root = json_loadb(json, size, 0, &at);
	bool object = json_is_object(root);

	json_decref(root);
	if (!root)
		return bad_json(err, "the metadata", size, &at);
	if (!object)
		return nefs_error_set(
			err, EINVAL, "the metadata (%zu bytes) is no JSON object", size);
	return 0;
}

int eif_metadata_make(const struct eif_metadata *metadata, char **json, struct nefs_error *err)
{
	json_t *custom = NULL, *root;
	json_error_t at;
	char built[32];
	struct tm tm;

	if (metadata->custom_size > EIF_CUSTOM_METADATA_MAX)
		return nefs_error_set(err, EINVAL,
			"the custom metadata has %zu bytes; it may have at most %d",
			metadata->custom_size, EIF_CUSTOM_METADATA_MAX);
	if (metadata->custom) {
		custom = json_loadb(metadata->custom, metadata->custom_size, JSON_DECODE_ANY, &at);
		if (!custom)
			return bad_json(err, "the custom metadata", metadata->custom_size, &at);
	}
	if (!gmtime_r(&metadata->build_time, &tm) ||
		strftime(built, sizeof(built), "%Y-%m-%dT%H:%M:%S+00:00", &tm) == 0) {
		json_decref(custom);
		return nefs_error_set(err, EINVAL, "the build time %lld is no date",
			(long long)metadata->build_time);
	}
	root = json_pack_ex(&at, 0, "{s:s, s:s, s:{s:s, s:s, s:s, s:s, s:s}, s:n, s:o}",
		"ImageName", metadata->name, "ImageVersion", metadata->version, "BuildMetadata",
		"BuildTime", built, "BuildTool", "nefs-eif", "BuildToolVersion", NEFS_VERSION,
		"OperatingSystem", "Linux", "KernelVersion", metadata->kernel_version, "DockerInfo",
		"CustomMetadata", custom ? custom : json_null());
	if (!root)
		return nefs_error_set(err, EINVAL,
			"the image's name or version cannot be written as JSON: %s", at.text);
	*json = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	return *json ? 0 : nefs_error_set(err, ENOMEM, "out of memory for the metadata");
}
