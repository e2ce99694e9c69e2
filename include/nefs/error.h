/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The error object: an errno for the program, a sentence for the person.
 *
 * It is the last parameter of every function that can fail, may be NULL where the caller does
 * not want the sentence, and ends up in an enclave's (or the root's) `error` file. Functions
 * return 0 (or a non-negative result) on success and a negative errno of the contract
 * (docs/interface.md §2, §4) on failure, the same that err->code holds.
 */
#ifndef NEFS_ERROR_H
#define NEFS_ERROR_H

#include <stdint.h>

/* Longest sentence, with its terminating NUL. A longer one is cut. */
#define NEFS_ERROR_TEXT_MAX 1024

struct nefs_error {
	int code;			/* positive errno; 0: no error */
	uint32_t ne;			/* the NE_ERR_* behind it, 0 if none */
	char text[NEFS_ERROR_TEXT_MAX]; /* one sentence: what failed, the figures, what to do */
};

/*
 * Fills *err (if not NULL) and returns -code, so that a failing function can end with
 * `return nefs_error_set(err, ENOMEM, "...")`. code is a positive errno. Any thread.
 */
int nefs_error_set(struct nefs_error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same with the NE_ERR_* value that caused it kept in err->ne. */
int nefs_error_set_ne(struct nefs_error *err, int code, uint32_t ne, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * Puts "PREFIX: " in front of the sentence: the outer layer names the object, the inner one the
 * cause. Leaves the code alone. Does nothing for NULL or an empty error.
 */
void nefs_error_prefix(struct nefs_error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Back to "no error". */
void nefs_error_clear(struct nefs_error *err);

#endif
