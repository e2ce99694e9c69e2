/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The clock that nobody sets, CLOCK_MONOTONIC. Any thread. */
#ifndef NEFS_CLOCK_H
#define NEFS_CLOCK_H

#include <stdint.h>
#include <time.h>

/* How late an event of a timer may be: sd-event's own default is a quarter of a second. */
#define NEFS_TIMER_ACCURACY_USEC 1000

/* Now, in microseconds. */
uint64_t nefs_now_usec(void);

/* The moment so many milliseconds from now, for pthread_cond_timedwait on this clock. */
struct timespec nefs_deadline_ms(uint64_t ms);

#endif
