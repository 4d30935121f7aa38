/* backoff.c - see backoff.h. */
#include "common/backoff.h"

#include <sys/random.h>

bk_ms bk_backoff(bk_ms base, unsigned n, bk_ms cap, uint64_t random)
{
    bk_ms most = cap;
    if (n < 40 && base < (cap >> n) + 1)
        most = BK_MIN(base << n, cap);
    return most > 0 ? (bk_ms)(random % (uint64_t)(most + 1)) : 0;
}

bk_ms bk_jitter(bk_ms span, unsigned percent, uint64_t random)
{
    bk_ms most = span * (bk_ms)percent / 100;
    return most > 0 ? span - (bk_ms)(random % (uint64_t)(most + 1)) : span;
}

void bk_retry_budget_init(struct bk_retry_budget *budget)
{
    budget->tenths = BK_RETRY_TOKENS * 10;
}

void bk_retry_budget_success(struct bk_retry_budget *budget)
{
    budget->tenths = BK_MIN(budget->tenths + 1, BK_RETRY_TOKENS * 10);
}

bool bk_retry_budget_take(struct bk_retry_budget *budget)
{
    if (budget->tenths < BK_RETRY_TOKENS * 10 / 2 + 10)
        return false;
    budget->tenths -= 10;
    return true;
}

uint64_t bk_random(void)
{
    static _Thread_local uint64_t state;
    if (state == 0) {
        if (getrandom(&state, sizeof(state), 0) != (ssize_t)sizeof(state) || state == 0)
            state = (uint64_t)bk_clock_now_us() | 1;
    }
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * UINT64_C(0x2545f4914f6cdd1d);
}
