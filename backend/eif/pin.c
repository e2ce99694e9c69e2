/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pin.h"
#include "input.h"
#include <errno.h>
#include <fcntl.h>
#include <gnutls/pkcs11.h>
#include <nefs/cleanup.h>
#include <nefs/io.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>

/* The PIN that nobody types: NULL if there is none, or if it cannot be read (refused says so). */
static const char *silent_pin(struct pin *pin)
{
	size_t size;

	if (!pin->file)
		return getenv("GNUTLS_PIN");
	if (!pin->from_file && tool_load(pin->file, 4 * GNUTLS_PKCS11_MAX_PIN_LEN, &pin->from_file,
				       &size, &pin->refused) == 0)
		pin->from_file[strcspn(pin->from_file, "\r\n")] = '\0';
	return pin->from_file;
}

/*
 * Asks, and reads a line that the terminal does not show: it stops showing before it asks, so that nothing
 * that is typed after the question is shown, or lost. Returns the length of the line, or -1.
 */
static ssize_t ask_hidden(int terminal, const char *question, char *text, size_t room)
{
	struct termios shown, hidden;
	size_t size = 0;
	ssize_t got = -1;

	if (tcgetattr(terminal, &shown) < 0)
		return -1;
	hidden = shown;
	hidden.c_lflag &= ~(tcflag_t)ECHO;
	if (tcsetattr(terminal, TCSAFLUSH, &hidden) < 0)
		return -1;
	if (nefs_write_all(terminal, question, strlen(question)) == 0) {
		while (size < room && (got = read(terminal, text + size, 1)) == 1 &&
			text[size] != '\n')
			size++;
	}
	tcsetattr(terminal, TCSADRAIN, &shown);
	nefs_write_all(terminal, "\n", 1);
	if (size == room || got < 0)
		return -1;
	text[size] = '\0';
	return (ssize_t)size;
}

static int ask(struct pin *pin, const char *label, unsigned int flags, char *text, size_t room)
{
	NEFS_AUTO_CLOSE int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	NEFS_AUTO_FREE char *question = NULL;
	const char *warning = "";

	if (terminal < 0) {
		nefs_error_set(&pin->refused, EACCES,
			"the token %s needs a PIN: give --pin-file, or GNUTLS_PIN in the "
			"environment, or run this at a terminal",
			label);
		return -1;
	}
	if (flags & GNUTLS_PIN_FINAL_TRY)
		warning = " (the last try before it locks itself)";
	else if (flags & GNUTLS_PIN_WRONG)
		warning = " (the last one was wrong)";
	else if (flags & GNUTLS_PIN_COUNT_LOW)
		warning = " (few tries are left)";
	if (asprintf(&question, "PIN of the token %s%s: ", label, warning) < 0 ||
		ask_hidden(terminal, question, text, room) <= 0) {
		nefs_error_set(&pin->refused, EACCES, "no PIN was given for the token %s", label);
		return -1;
	}
	return 0;
}

int pin_callback(void *context, int attempt, const char *token_url, const char *token_label,
	unsigned int flags, char *text, size_t room)
{
	struct pin *pin = context;
	const char *silent;

	(void)token_url;
	nefs_error_clear(&pin->refused);
	silent = silent_pin(pin);
	if (!silent)
		return pin->refused.code ? -1 : ask(pin, token_label, flags, text, room);
	if (attempt > 0 || (flags & GNUTLS_PIN_WRONG))
		nefs_error_set(&pin->refused, EACCES,
			"the PIN from %s is not that of the token %s; it was tried once",
			pin->file ? pin->file : "GNUTLS_PIN", token_label);
	else if (flags & GNUTLS_PIN_FINAL_TRY)
		nefs_error_set(&pin->refused, EACCES,
			"the token %s has one try left before it locks itself: log in by hand "
			"(p11tool --login), or run this at a terminal without --pin-file and "
			"GNUTLS_PIN",
			token_label);
	else if (!*silent || strlen(silent) >= room)
		nefs_error_set(&pin->refused, EINVAL,
			"the PIN from %s has %zu bytes; it must have 1 to %zu",
			pin->file ? pin->file : "GNUTLS_PIN", strlen(silent), room - 1);
	if (pin->refused.code)
		return -1;
	memcpy(text, silent, strlen(silent) + 1);
	return 0;
}

void pin_forget(struct pin *pin)
{
	if (pin->from_file)
		explicit_bzero(pin->from_file, strlen(pin->from_file));
	free(pin->from_file);
	pin->from_file = NULL;
	free(pin->named);
	pin->named = NULL;
}
