/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tables of control files of the mount's root and of sim/. */
#ifndef NEFS_ROOT_FILES_H
#define NEFS_ROOT_FILES_H

#include "control.h"

extern const struct control root_files[];
extern const struct control sim_files[];

#endif
