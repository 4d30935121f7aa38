/* clock.h - time. Deadlines are absolute, monotonic, in milliseconds: a stepped wall clock moves none of them. */
#ifndef BK_CLOCK_H
#define BK_CLOCK_H

#include <stdint.h>
#include <time.h>

typedef int64_t bk_ms; /* milliseconds; whether a duration or a point in time its name tells */

/** Now on the monotonic clock, ms. Any thread. */
bk_ms bk_clock_now(void);
/** Now on the monotonic clock, microseconds; for measuring. Any thread. */
int64_t bk_clock_now_us(void);
/** Now on the wall clock, Unix ms; for log lines and reports only, never for a decision. Any thread. */
bk_ms bk_clock_wall(void);
/** What remains until `deadline` (monotonic ms): 0 when it has passed, at most INT32_MAX, so that it fits poll().
 *  Any thread. */
int bk_clock_left(bk_ms deadline);
/** `deadline` as a timespec of CLOCK_MONOTONIC, for pthread_cond_timedwait. Any thread. */
struct timespec bk_clock_timespec(bk_ms deadline);

#endif
