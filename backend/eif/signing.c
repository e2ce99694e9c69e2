/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "signing.h"
#include "input.h"
#include "token.h"
#include <nefs/cleanup.h>
#include <string.h>
#include <time.h>

/* Largest PEM file: a key or a certificate has a few kB. */
#define PEM_MAX 65536

/* Largest file with a signature: longer than any, so that one that is too long is told as such. */
#define SIGNATURE_FILE_MAX 65536

static int load_certificate(
	struct signing *signing, gnutls_x509_crt_t *certificate, struct nefs_error *err)
{
	NEFS_AUTO_FREE char *pem = NULL;
	const struct eif_algorithm *algorithm;
	size_t size;
	int failed;

	if (token_is_url(signing->certificate))
		return token_load_certificate(
			signing->certificate, signing->module, &signing->pin, certificate, err);
	failed = tool_load(signing->certificate, PEM_MAX, &pem, &size, err);
	if (failed)
		return failed;
	failed = eif_certificate_load(pem, size, certificate, &algorithm, err);
	if (failed)
		nefs_error_prefix(err, "%s", signing->certificate);
	return failed;
}

static int set_key_file(
	const struct signing *signing, struct eif_signer *signer, struct nefs_error *err)
{
	size_t size = 0;
	char *pem;
	int failed;

	failed = tool_load(signing->key, PEM_MAX, &pem, &size, err);
	if (failed)
		return failed;
	failed = eif_signer_set_key_pem(signer, pem, size, err);
	explicit_bzero(pem, size);
	free(pem);
	if (failed)
		nefs_error_prefix(err, "%s", signing->key);
	return failed;
}

static int set_key_url(struct signing *signing, struct eif_signer *signer, struct nefs_error *err)
{
	gnutls_privkey_t key;
	int failed;

	failed = token_load_key(signing->key, signing->module, &signing->pin, &key, err);
	if (failed)
		return failed;
	return eif_signer_set_key(signer, key, err);
}

static int set_signature(
	const struct signing *signing, struct eif_signer *signer, struct nefs_error *err)
{
	NEFS_AUTO_FREE char *data = NULL;
	size_t size;
	int failed;

	failed = tool_load(signing->signature, SIGNATURE_FILE_MAX, &data, &size, err);
	if (failed)
		return failed;
	failed = eif_signer_set_signature(signer, data, size, err);
	if (failed)
		nefs_error_prefix(err, "%s", signing->signature);
	return failed;
}

int signing_load(struct signing *signing, struct eif_signer **result, struct nefs_error *err)
{
	struct eif_signer *signer = NULL;
	gnutls_x509_crt_t certificate;
	int failed;

	failed = load_certificate(signing, &certificate, err);
	if (failed)
		return failed;
	failed = eif_signer_new(certificate, &signer, err);
	if (failed)
		gnutls_x509_crt_deinit(certificate);
	if (!failed)
		failed = eif_signer_check_dates(signer, time(NULL), err);
	if (!failed && signing->key)
		failed = token_is_url(signing->key) ? set_key_url(signing, signer, err)
						    : set_key_file(signing, signer, err);
	if (!failed && signing->signature)
		failed = set_signature(signing, signer, err);
	if (failed) {
		eif_signer_free(signer);
		return failed;
	}
	*result = signer;
	return 0;
}

void signing_release(struct signing *signing)
{
	pin_forget(&signing->pin);
}
