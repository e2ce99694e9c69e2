/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys and certificates in a PKCS#11 token, a smart card or an HSM, named by a URL (RFC 7512). GnuTLS and
 * p11-kit know the installed modules; the key never leaves its token.
 */
#ifndef NEFS_EIF_TOKEN_H
#define NEFS_EIF_TOKEN_H

#include "pin.h"
#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <stdbool.h>

bool token_is_url(const char *text);

/*
 * Opens a key by its URL. module: a PKCS#11 library, or NULL for the URL's module-path or those that are
 * installed. The PIN is the URL's (pin-value, pin-source), else that of pin_callback; pin outlives the key.
 * The caller ends *key with gnutls_privkey_deinit. EINVAL; EACCES if it is about the PIN, which no sentence
 * tells.
 */
int token_load_key(const char *url, const char *module, struct pin *pin, gnutls_privkey_t *key,
	struct nefs_error *err);

/* The same of a certificate, for gnutls_x509_crt_deinit. */
int token_load_certificate(const char *url, const char *module, struct pin *pin,
	gnutls_x509_crt_t *certificate, struct nefs_error *err);

#endif
