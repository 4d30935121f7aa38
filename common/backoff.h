/* backoff.h - how long to wait before trying again; pure. */
#ifndef BK_BACKOFF_H
#define BK_BACKOFF_H

#include "common/base.h"
#include "common/clock.h"

/** Exponential back-off with full jitter: a uniformly random time from 0 to min(cap, base x 2^n), ms. `n` counts from
 *  0, `random` is any 64 random bits. Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
 *  2015. Pure; any thread. */
bk_ms bk_backoff(bk_ms base, unsigned n, bk_ms cap, uint64_t random);

/** A time from `span` - `percent` % to `span`, uniformly; so that what began together does not end together. */
bk_ms bk_jitter(bk_ms span, unsigned percent, uint64_t random);

/** A budget that keeps retries from multiplying an overload: a retry takes a token, a success gives a tenth of one
 *  back, and below half of the tokens there are no retries. Source: gRPC A6, "Throttling Retry Attempts".
 *  `{0}` is not valid, begin with bk_retry_budget_init. Not thread-safe: one for each lane. */
struct bk_retry_budget {
    int tenths; /* tokens x 10 */
};
enum { BK_RETRY_TOKENS = 10 };
void bk_retry_budget_init(struct bk_retry_budget *budget);
void bk_retry_budget_success(struct bk_retry_budget *budget);
/** Takes a token; false when there must be no retry now. */
bool bk_retry_budget_take(struct bk_retry_budget *budget);

/** 64 random bits; xorshift64* seeded from the kernel once a thread. For jitter, never for secrets. Any thread. */
uint64_t bk_random(void);

#endif
