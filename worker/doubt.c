/* doubt.c - see doubt.h. */
#include "worker/doubt.h"

#include "common/backoff.h"

enum { DOUBT_BASE_MS = 100, DOUBT_CAP_MS = 5000 };

void bk_doubt_init(struct bk_doubt *doubt, bk_ms retry_base_ms)
{
    *doubt = (struct bk_doubt){.base_ms = BK_MAX(retry_base_ms / 2, (bk_ms)DOUBT_BASE_MS)};
}

/* Half of the pause is certain: workers that failed together need not come back together, but none may come back at
 * once. */
static void look_again_later(struct bk_doubt *doubt, bk_ms now, uint64_t random)
{
    bk_ms most = doubt->base_ms << BK_MIN(doubt->failed_turns, 10U);
    most = BK_MIN(most, (bk_ms)DOUBT_CAP_MS);
    doubt->look_again_at = now + most / 2 + bk_backoff(most / 2, 0, most / 2, random);
}

void bk_doubt_end_turn(struct bk_doubt *doubt, bool any_good, bool handed_back, bk_ms now, uint64_t random)
{
    if (any_good)
        doubt->failed_turns = 0;
    if (handed_back && !doubt->doubted) { /* else the same blow has hit another lane as well */
        doubt->doubted = true;
        doubt->failed_turns++;
        look_again_later(doubt, now, random);
    }
}

void bk_doubt_end_probe(struct bk_doubt *doubt, bool good, bool verdict, bk_ms now, uint64_t random)
{
    doubt->doubted = doubt->doubted && !good;
    if (good)
        doubt->look_again_at = 0;
    if (doubt->doubted && !verdict)
        look_again_later(doubt, now, random);
}

enum bk_trust bk_doubt_trust(const struct bk_doubt *doubt, const struct bk_breaker *breaker, bk_ms now)
{
    bool closed = breaker->state == BK_BREAKER_CLOSED; /* else it rules by itself */
    if (closed && now < doubt->look_again_at)
        return BK_TRUST_WAIT;
    if (closed && doubt->doubted && breaker->mode == BK_BREAKER_AUTO)
        return BK_TRUST_PROBE_FIRST;
    return BK_TRUST_FULL;
}
