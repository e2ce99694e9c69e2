/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The devices that the cases can run on. */
#ifndef NEFS_CONFORMANCE_LAB_H
#define NEFS_CONFORMANCE_LAB_H

#include "subject.h"

/*
 * Makes the device and what can be done behind its driver's back: "sim" is a simulated machine of 8
 * CPUs, "sim-least" one of 4 CPUs and 64 pages, "kernel" Linux's driver (path: its device node, NULL
 * for the usual one). EINVAL for another.
 */
int lab_open(const char *kind, const char *path, struct ne_dev **dev, struct lab *lab,
	struct nefs_error *err);

/* The "kernel" of it (lab_kernel.c). */
int lab_open_kernel(const char *path, struct ne_dev **dev, struct lab *lab, struct nefs_error *err);

/* In words, the first thing that these needs (enum need) lack here, or NULL. */
const char *lab_lacks(const struct conformance *conformance, unsigned int needs);

#endif
