/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The MSI-X vectors: which eventfd of the client each one signals.
 *
 * Any thread may raise; the loop thread assigns.
 */
#ifndef NEFS_VFIO_USER_INTERRUPTS_H
#define NEFS_VFIO_USER_INTERRUPTS_H

#include <nefs/ne_pci.h>
#include <pthread.h>

struct interrupts {
	pthread_mutex_t lock;
	int eventfds[NE_PCI_VECTORS]; /* -1: nobody is told */
};

void interrupts_init(struct interrupts *interrupts);

/*
 * Takes the fd (-1: none from now on); vector < NE_PCI_VECTORS. -EINVAL if it is no eventfd, and
 * then the caller keeps it.
 */
int interrupts_assign(struct interrupts *interrupts, unsigned int vector, int eventfd);

/* No vector signals anybody. */
void interrupts_clear(struct interrupts *interrupts);

/* Signals a vector, if it has an eventfd. */
void interrupts_raise(struct interrupts *interrupts, unsigned int vector);

void interrupts_destroy(struct interrupts *interrupts);

#endif
