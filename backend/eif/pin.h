/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the PIN of a token comes from. */
#ifndef NEFS_EIF_PIN_H
#define NEFS_EIF_PIN_H

#include <nefs/error.h>
#include <stddef.h>

struct pin {
	const char *file;	   /* its first line is the PIN; NULL: not given */
	char *named;		   /* file, if it is the URL that says it */
	char *from_file;	   /* once it was read: a pipe can be read once only */
	struct nefs_error refused; /* why pin_callback gave none; code 0 if it did */
};

/*
 * What GnuTLS calls for a PIN (gnutls_pin_callback_t); context is a struct pin that lives as long as the key
 * does. Takes the file's, else GNUTLS_PIN's value, else asks at the terminal, if there is one. A PIN that
 * nobody types is tried once, and not at all if it is the last try before the token locks itself.
 * Returns 0, or -1 with pin->refused set.
 */
int pin_callback(void *context, int attempt, const char *token_url, const char *token_label,
	unsigned int flags, char *text, size_t room);

/* Wipes what was read. */
void pin_forget(struct pin *pin);

#endif
