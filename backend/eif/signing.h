/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the command line says of signing, and the signer that comes of it. */
#ifndef NEFS_EIF_SIGNING_H
#define NEFS_EIF_SIGNING_H

#include "pin.h"
#include "signature.h"

/* Files, pipes, or (key and certificate) pkcs11: URLs. NULL: not given. */
struct signing {
	const char *certificate;
	/* At most one of the two. */
	const char *key;
	const char *signature;
	const char *module; /* a PKCS#11 library */
	struct pin pin;
};

/*
 * Loads them; with neither key nor signature the signer can tell what is to be signed. Refuses a certificate
 * that is not valid now. *signing outlives the signer.
 */
int signing_load(struct signing *signing, struct eif_signer **signer, struct nefs_error *err);

/* Wipes what was learnt on the way. */
void signing_release(struct signing *signing);

#endif
