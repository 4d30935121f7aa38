/* doubt.h - what all lanes do between a batch that the database has just failed and the circuit breaker's verdict. Pure.
 *
 * When jobs had to be handed back, the database is doubted: it takes several failures until the breaker opens, and each of
 * them must not cost another batch a requeue, the less so as some failures (a full disk, a missing right) come back within
 * a millisecond. So all lanes pause, longer each time, and then a probe goes first. Not thread-safe: its holder guards it
 * with a lock.
 */
#ifndef BK_DOUBT_H
#define BK_DOUBT_H

#include "common/breaker.h"

struct bk_doubt {
    bk_ms base_ms;         /* of the pause */
    bool doubted;          /* nothing is taken until the database has answered a probe */
    unsigned failed_turns; /* in a row; the pause before the next look grows with them */
    bk_ms look_again_at;   /* monotonic: no take and no probe of a closed breaker before this */
};

/** Trusts the database; `retry_base_ms` is BOOKING_RETRY_BASE_MS. */
void bk_doubt_init(struct bk_doubt *doubt, bk_ms retry_base_ms);

/** How a turn ended: a call went through, jobs were handed back because of the database. */
void bk_doubt_end_turn(struct bk_doubt *doubt, bool any_good, bool handed_back, bk_ms now, uint64_t random);
/** How a probe ended; `verdict` when it was the half-open breaker's. */
void bk_doubt_end_probe(struct bk_doubt *doubt, bool good, bool verdict, bk_ms now, uint64_t random);

/** What a lane may do as far as the doubt goes: take, probe, or wait until look_again_at. */
enum bk_trust { BK_TRUST_FULL, BK_TRUST_PROBE_FIRST, BK_TRUST_WAIT };
enum bk_trust bk_doubt_trust(const struct bk_doubt *doubt, const struct bk_breaker *breaker, bk_ms now);

#endif
