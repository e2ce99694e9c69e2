/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "token.h"
#include <errno.h>
#include <gnutls/pkcs11.h>
#include <nefs/cleanup.h>
#include <string.h>

#define SCHEME "pkcs11:"

bool token_is_url(const char *text)
{
	return strncmp(text, SCHEME, strlen(SCHEME)) == 0;
}

/* How much of a URL may be shown: its query may hold a PIN. */
static int shown(const char *url)
{
	return (int)strcspn(url, "?");
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undoes %XX in place. */
static void decode(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		const int high = from[0] == '%' ? hex_digit(from[1]) : -1;
		const int low = high >= 0 ? hex_digit(from[2]) : -1;

		if (low >= 0)
			*to = (char)(high << 4 | low);
		else
			*to = *from;
		from += low >= 0 ? 3 : 1;
	}
	*to = '\0';
}

/* The value of an attribute of the URL's query; malloc'ed, NULL if it has none of this name. */
static char *query_value(const char *url, const char *name)
{
	const char *at = url + shown(url);

	while (*at) {
		const char *pair = at + 1; /* behind '?' or '&' */
		const size_t size = strcspn(pair, "&"), length = strlen(name);
		char *value;

		at = pair + size;
		if (size <= length || strncmp(pair, name, length) != 0 || pair[length] != '=')
			continue;
		value = strndup(pair + length + 1, size - length - 1);
		if (value)
			decode(value);
		return value;
	}
	return NULL;
}

/*
 * Loads the one module that is named, if one is; else GnuTLS loads those that p11-kit knows. It leaves a
 * URL's module-path and pin-source to its callers.
 */
static int load_module(const char *module, const char *url, struct nefs_error *err)
{
	NEFS_AUTO_FREE char *named = module ? strdup(module) : query_value(url, "module-path");
	int failed;

	if (!named)
		return 0;
	failed = gnutls_pkcs11_init(GNUTLS_PKCS11_FLAG_MANUAL, NULL);
	if (failed >= 0)
		failed = gnutls_pkcs11_add_provider(named, NULL);
	/* The certificate's URL may have named it before the key's. */
	if (failed >= 0 || failed == GNUTLS_E_INT_RET_0)
		return 0;
	return nefs_error_set(err, EINVAL, "cannot load the PKCS#11 module %s: %s", named,
		gnutls_strerror(failed));
}

static int cannot_load(
	const struct pin *pin, const char *what, const char *url, int code, struct nefs_error *err)
{
	const struct nefs_error *refused = &pin->refused;

	if (refused->code)
		return nefs_error_set(
			err, refused->code, "%.*s: %s", shown(url), url, refused->text);
	switch (code) {
	case GNUTLS_E_PKCS11_REQUESTED_OBJECT_NOT_AVAILBLE:
	case GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE:
		return nefs_error_set(err, EINVAL,
			"%.*s names no %s in any token that is there: see p11tool --list-tokens "
			"and p11tool --login --list-all; the token's module must be one of "
			"p11-kit list-modules, or given by --pkcs11-module",
			shown(url), url, what);
	case GNUTLS_E_PKCS11_PIN_ERROR:
	case GNUTLS_E_PKCS11_PIN_EXPIRED:
	case GNUTLS_E_PKCS11_PIN_LOCKED:
		return nefs_error_set(err, EACCES, "%.*s: the token does not take the PIN: %s",
			shown(url), url, gnutls_strerror(code));
	default:
		return nefs_error_set(err, EINVAL, "cannot load the %s %.*s: %s", what, shown(url),
			url, gnutls_strerror(code));
	}
}

/* The option comes before what the URL says; of the certificate's, too, if it is the first to need a PIN. */
static void find_pin_file(struct pin *pin, const char *url)
{
	static const char scheme[] = "file:";

	if (pin->file)
		return;
	pin->named = query_value(url, "pin-source");
	if (pin->named)
		pin->file = strncmp(pin->named, scheme, strlen(scheme)) == 0
				    ? pin->named + strlen(scheme)
				    : pin->named;
}

int token_load_key(const char *url, const char *module, struct pin *pin, gnutls_privkey_t *result,
	struct nefs_error *err)
{
	gnutls_privkey_t key;
	int failed;

	failed = load_module(module, url, err);
	if (failed)
		return failed;
	failed = gnutls_privkey_init(&key);
	if (failed < 0)
		return cannot_load(pin, "private key", url, failed, err);
	find_pin_file(pin, url);
	gnutls_privkey_set_pin_function(key, pin_callback, pin);
	failed = gnutls_privkey_import_url(key, url, 0);
	if (failed < 0) {
		gnutls_privkey_deinit(key);
		return cannot_load(pin, "private key", url, failed, err);
	}
	*result = key;
	return 0;
}

int token_load_certificate(const char *url, const char *module, struct pin *pin,
	gnutls_x509_crt_t *result, struct nefs_error *err)
{
	gnutls_x509_crt_t certificate;
	int failed;

	failed = load_module(module, url, err);
	if (failed)
		return failed;
	failed = gnutls_x509_crt_init(&certificate);
	if (failed < 0)
		return cannot_load(pin, "certificate", url, failed, err);
	find_pin_file(pin, url);
	gnutls_x509_crt_set_pin_function(certificate, pin_callback, pin);
	failed = gnutls_x509_crt_import_url(certificate, url, 0);
	if (failed < 0) {
		gnutls_x509_crt_deinit(certificate);
		return cannot_load(pin, "certificate", url, failed, err);
	}
	*result = certificate;
	return 0;
}
