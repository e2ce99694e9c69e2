/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tool reads: regular files as they are, and pipes (FIFOs, <(process substitution), the
 * standard input as "-" or /dev/stdin) once they are at their end.
 */
#ifndef NEFS_EIF_INPUT_H
#define NEFS_EIF_INPUT_H

#include <nefs/eif.h>

/*
 * Opens a file as a source. What comes through a pipe is first written to a nameless file; a pipe
 * that gives nothing is refused (EINVAL), as its writer has failed. Directories, devices, and
 * sockets other than the standard input are EINVAL. The caller closes source->fd, which is -1 on
 * failure.
 */
int tool_open_source(const char *path, struct eif_source *source, struct nefs_error *err);

/*
 * The bytes of a small file or pipe, with a NUL behind them; *text is malloc'ed. They are never
 * written to a disk: this is how keys come in. EFBIG over max.
 */
int tool_load(const char *path, size_t max, char **text, size_t *size, struct nefs_error *err);

/* Does this path lead to something that can be read once only, and not be replaced? */
bool tool_is_stream(const char *path);

#endif
