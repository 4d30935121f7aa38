/* breaker.c - see breaker.h. */
#include "common/breaker.h"

#include <string.h>

enum { LUMP_MS = 100, ASK_AGAIN_MS = 1000 };

static void enter(struct bk_breaker *b, enum bk_breaker_state state, bk_ms now)
{
    b->state = state;
    b->generation++;
    b->transitions[state]++;
    b->in_flight = 0;
    b->used = b->at = b->failed = b->slow = b->run = 0;
    b->good_probes = 0;
    b->lump_at = 0;
    if (state == BK_BREAKER_OPEN)
        b->until = now + b->wait_ms;
    if (state == BK_BREAKER_CLOSED)
        b->wait_ms = b->settings.open_ms;
}

void bk_breaker_init(struct bk_breaker *b, const struct bk_breaker_settings *settings)
{
    *b = (struct bk_breaker){
        .settings = *settings, .generation = 1, .ramp = settings->limit, .wait_ms = settings->open_ms};
}

bool bk_breaker_ask(struct bk_breaker *b, bk_ms now, struct bk_permit *permit, bk_ms *retry_at)
{
    *retry_at = now + ASK_AGAIN_MS;
    if (b->mode == BK_BREAKER_FORCED_OPEN)
        return false;
    if (b->mode == BK_BREAKER_AUTO) {
        if (b->state == BK_BREAKER_OPEN && now < b->until) {
            *retry_at = BK_MIN(b->until, *retry_at);
            return false;
        }
        if (b->state == BK_BREAKER_OPEN)
            enter(b, BK_BREAKER_HALF_OPEN, now);
        unsigned most = b->state == BK_BREAKER_HALF_OPEN ? 1 : b->ramp;
        if (b->in_flight >= most)
            return false;
    }
    b->in_flight++;
    *permit = (struct bk_permit){.generation = b->generation, .began = now};
    return true;
}

/* Whether a failure is part of one that has been counted already. */
static bool is_lumped(struct bk_breaker *b, uint64_t connections, bk_ms now)
{
    bool same = b->lump_at != 0 && b->lump == connections && now - b->lump_at < LUMP_MS;
    if (!same) {
        b->lump = connections;
        b->lump_at = now;
    }
    return same;
}

static void record(struct bk_breaker *b, bool failed, bool slow)
{
    unsigned char *slot = &b->outcomes[b->at];
    if (b->used == b->settings.window) {
        b->failed -= *slot & 1U;
        b->slow -= *slot >> 1;
    } else {
        b->used++;
    }
    *slot = (unsigned char)((failed ? 1 : 0) | (slow ? 2 : 0));
    b->failed += failed;
    b->slow += slow;
    b->run = failed ? b->run + 1 : 0;
    b->at = (b->at + 1) % b->settings.window;
}

static bool should_open(const struct bk_breaker *b)
{
    if (b->run >= b->settings.consecutive)
        return true;
    if (b->used < b->settings.min_calls)
        return false;
    return b->failed * 100 >= b->settings.failure_rate * b->used || b->slow * 100 >= b->settings.slow_rate * b->used;
}

static bool end_closed(struct bk_breaker *b, bool failed, bool slow, bk_ms now)
{
    record(b, failed, slow);
    if (!failed)
        b->ramp = BK_MIN(b->ramp * 2, b->settings.limit);
    if (b->mode == BK_BREAKER_FORCED_CLOSED || !should_open(b))
        return false;
    enter(b, BK_BREAKER_OPEN, now);
    return true;
}

static bool end_half_open(struct bk_breaker *b, bool failed, bk_ms now)
{
    if (failed) {
        b->wait_ms = BK_MIN(b->wait_ms * 2, b->settings.open_max_ms);
        enter(b, BK_BREAKER_OPEN, now);
        return true;
    }
    if (++b->good_probes < b->settings.probes)
        return false;
    enter(b, BK_BREAKER_CLOSED, now);
    b->ramp = 1;
    return true;
}

bool bk_breaker_end(struct bk_breaker *b, struct bk_permit permit, enum bk_call_result result, uint64_t connections,
                    bk_ms now)
{
    if (permit.generation != b->generation)
        return false; /* begun under another state: says nothing about this one */
    b->in_flight--;
    if (result == BK_CALL_RELEASED)
        return false;
    bool failed = result == BK_CALL_BAD;
    bool slow = now - permit.began > b->settings.slow_ms;
    if (b->state == BK_BREAKER_HALF_OPEN)
        return end_half_open(b, failed, now);
    if (failed && is_lumped(b, connections, now))
        return false;
    return end_closed(b, failed, slow, now);
}

void bk_breaker_hint(struct bk_breaker *b, bk_ms now)
{
    bk_ms opened_at = b->until - b->wait_ms;
    if (b->state == BK_BREAKER_OPEN && b->mode == BK_BREAKER_AUTO)
        b->until = BK_MIN(b->until, BK_MAX(now, opened_at + b->settings.open_ms));
}

bool bk_breaker_force(struct bk_breaker *b, enum bk_breaker_mode mode, bk_ms now)
{
    if (mode == b->mode)
        return false;
    b->mode = mode;
    enum bk_breaker_state wanted = mode == BK_BREAKER_FORCED_OPEN ? BK_BREAKER_OPEN : BK_BREAKER_CLOSED;
    if (mode == BK_BREAKER_AUTO) /* let it find out by itself: probe at once */
        wanted = b->state == BK_BREAKER_OPEN ? BK_BREAKER_HALF_OPEN : b->state;
    if (wanted == b->state)
        return false;
    enter(b, wanted, now);
    if (wanted == BK_BREAKER_CLOSED)
        b->ramp = b->settings.limit;
    return true;
}

const char *bk_breaker_state_name(enum bk_breaker_state state)
{
    static const char *const names[] = {
#define BK_BREAKER_NAME(name, label) label,
        BK_BREAKER_STATES(BK_BREAKER_NAME)
#undef BK_BREAKER_NAME
    };
    return names[state];
}
