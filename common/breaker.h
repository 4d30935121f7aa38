/* breaker.h - a circuit breaker; pure: time comes in as an argument, nothing goes out but answers.
 *
 * closed --(rate, slow rate or a run of failures)--> open --(wait)--> half-open --(good probes)--> closed
 *                                                      ^---- (a probe fails: the wait doubles) ---'
 *
 * After closing, calls are let in one, two, four, ... at a time until the limit is reached again.
 * Source: M. Nygard, "Release It!"; the count window and slow-call rate follow resilience4j, the generation of permits
 * sony/gobreaker. Not thread-safe: its holder guards it with a lock.
 */
#ifndef BK_BREAKER_H
#define BK_BREAKER_H

#include "common/base.h"
#include "common/clock.h"

#define BK_BREAKER_STATES(X)                                                                                           \
    X(CLOSED, "closed")                                                                                                \
    X(OPEN, "open")                                                                                                    \
    X(HALF_OPEN, "half_open")

enum bk_breaker_state {
#define BK_BREAKER_ENUM(name, label) BK_BREAKER_##name,
    BK_BREAKER_STATES(BK_BREAKER_ENUM)
#undef BK_BREAKER_ENUM
};

/** What an operator said: let it judge, or hold it open or closed whatever happens. */
enum bk_breaker_mode { BK_BREAKER_AUTO, BK_BREAKER_FORCED_OPEN, BK_BREAKER_FORCED_CLOSED };

struct bk_breaker_settings {
    unsigned window;       /* last calls looked at, 1..1000 */
    unsigned min_calls;    /* calls in the window before a rate counts */
    unsigned failure_rate; /* percent */
    unsigned consecutive;  /* failures in a row */
    bk_ms slow_ms;         /* a call that took longer is slow */
    unsigned slow_rate;    /* percent */
    bk_ms open_ms;         /* first wait */
    bk_ms open_max_ms;     /* longest wait */
    unsigned probes;       /* good probes in a row that close */
    unsigned limit;        /* calls at once when fully closed: the number of lanes */
};

/** The right to make one call; ends in exactly one bk_breaker_end. */
struct bk_permit {
    uint64_t generation;
    bk_ms began; /* monotonic ms */
};

enum bk_call_result {
    BK_CALL_GOOD,    /* the server answered, be it with a business "no" */
    BK_CALL_BAD,     /* the server is to blame */
    BK_CALL_RELEASED /* no call was made, or it says nothing about the server */
};

struct bk_breaker {
    struct bk_breaker_settings settings;
    enum bk_breaker_state state;
    enum bk_breaker_mode mode;
    uint64_t generation;          /* changes with every state; permits of older ones do not count */
    unsigned char outcomes[1000]; /* ring: bit 0 failed, bit 1 slow */
    unsigned used;                /* entries of the ring in use */
    unsigned at;                  /* where the next goes */
    unsigned failed;              /* sums over the ring */
    unsigned slow;
    unsigned run; /* failures in a row */
    unsigned good_probes;
    unsigned in_flight; /* permits of this generation that have not ended */
    unsigned ramp;      /* calls at once right now, up to settings.limit */
    bk_ms wait_ms;      /* how long open lasts this time */
    bk_ms until;        /* open: when the next probe may go */
    uint64_t lump;      /* connection generation of the last failure that counted */
    bk_ms lump_at;
    uint64_t transitions[3]; /* how often each state was entered */
};

/** Makes a closed breaker. */
void bk_breaker_init(struct bk_breaker *breaker, const struct bk_breaker_settings *settings);

/** May a call be made now? True gives a permit; false puts the time after which to ask again into `*retry_at`
 *  (monotonic ms; at most a second ahead, as an end of another call may change it sooner). */
bool bk_breaker_ask(struct bk_breaker *breaker, bk_ms now, struct bk_permit *permit, bk_ms *retry_at);

/** Ends a permit. `connections` names the set of connections the call went over (the pool's generation): failures of
 *  one set within 100 ms count once, since one blow takes them all. Returns true when the state changed. */
bool bk_breaker_end(struct bk_breaker *breaker, struct bk_permit permit, enum bk_call_result result,
                    uint64_t connections, bk_ms now);

/** Something has shown that the server may be back (a new connection could be made): the next probe may go at once, but
 *  not before the breaker has been open for the first wait, so that a server which connects and then fails is not asked
 *  faster than that. Nothing happens in any other state. */
void bk_breaker_hint(struct bk_breaker *breaker, bk_ms now);

/** What an operator wants. Returns true when the state changed. */
bool bk_breaker_force(struct bk_breaker *breaker, enum bk_breaker_mode mode, bk_ms now);

/** "closed", "open" or "half_open". Any thread. */
const char *bk_breaker_state_name(enum bk_breaker_state state);

#endif
