/* flow.c - one direction of a connection: what arrives, what becomes of it, and when it goes on. */
#include <errno.h>

#include "tests/faults/proxy/jitter.h"
#include "tests/faults/proxy/proxy.h"

enum { TICKS_PER_S = 50 }; /* bandwidth: in portions of 20 ms */

static bk_ms next_due(const struct proxy *proxy, struct link *link, enum frame_side side, bk_ms now)
{
    struct flow *flow = &link->flow[side];
    bk_ms due = now + proxy->latency_ms + jitter(proxy->seed, link->number, side, flow->messages, proxy->jitter_ms);
    due = BK_MAX(due, flow->not_before);
    flow->last_due = BK_MAX(due, flow->last_due);
    return flow->last_due;
}

/* --- what arrives ------------------------------------------------------------------------------------------------- */

static void release(struct proxy *proxy, struct link *link, enum frame_side side, char *bytes, size_t size, bk_ms now)
{
    unsigned flips = fault_flip(&proxy->faults, &link->counters, side, bytes, size);
    if (flips > 0)
        proxy_log(proxy, "connection %llu: flip, %s", (unsigned long long)link->number, fault_side_name(side));
    proxy->fired += flips;
    backlog_add(&link->flow[side].backlog, bytes, size, next_due(proxy, link, side, now));
}

static void release_held(struct proxy *proxy, struct link *link, enum frame_side side, bk_ms now)
{
    struct flow *flow = &link->flow[side];
    flow->looking = false;
    if (flow->held.size > 0)
        release(proxy, link, side, flow->held.data, flow->held.size, now);
    bk_text_clear(&flow->held);
}

/* What a message triggers, and what happens at it. Its bytes come after. */
static void decide(struct proxy *proxy, struct link *link, enum frame_side side, const struct bk_span *message,
                   bk_ms now)
{
    struct flow *flow = &link->flow[side];
    struct fault fault;
    fault_trigger(&proxy->faults, &link->counters, message);
    if (message)
        trace_look(&proxy->trace, link, *message);
    fault_count_message(&link->counters, side);
    while (link->state == LINK_LIVE && fault_take(&proxy->faults, &link->counters, side, &fault)) {
        if (fault.kind == FAULT_DELAY) {
            flow->not_before = BK_MAX(flow->not_before, now + fault.delay_ms);
            proxy->fired++;
            proxy_log(proxy, "connection %llu: delay of %lld ms, %s", (unsigned long long)link->number,
                      (long long)fault.delay_ms, fault_side_name(side));
        } else if (fault.after) {
            flow->cut = fault;
            flow->cut_after = true;
        } else {
            link_cut(proxy, link, &fault);
        }
    }
}

static void begin_message(struct proxy *proxy, struct link *link, enum frame_side side, bk_ms now)
{
    struct flow *flow = &link->flow[side];
    flow->messages++;
    flow->looking =
        side == FRAME_CLIENT && (fault_list_looks_for_text(&proxy->faults) || proxy->trace.state == TRACE_WANTED);
    if (!flow->looking)
        decide(proxy, link, side, NULL, now);
}

static void end_message(struct proxy *proxy, struct link *link, enum frame_side side, char kind)
{
    struct flow *flow = &link->flow[side];
    proxy->messages[side]++;
    trace_note(&proxy->trace, link, side, kind);
    if (flow->cut_after)
        link_cut(proxy, link, &flow->cut);
}

static void take_piece(struct proxy *proxy, struct link *link, enum frame_side side, char *bytes,
                       const struct frame_piece *piece, bk_ms now)
{
    struct flow *flow = &link->flow[side];
    if (piece->begins)
        begin_message(proxy, link, side, now);
    if (link->state != LINK_LIVE)
        return;
    if (flow->looking) {
        bk_text_add(&flow->held, bytes, piece->size);
        if (!piece->ends && flow->held.size < PROXY_HOLD_MOST)
            return;
        const struct bk_span message = {flow->held.data, flow->held.size};
        decide(proxy, link, side, &message, now);
        if (link->state != LINK_LIVE)
            return;
        release_held(proxy, link, side, now);
    } else {
        release(proxy, link, side, bytes, piece->size, now);
    }
    if (piece->ends)
        end_message(proxy, link, side, piece->kind);
}

void flow_take(struct proxy *proxy, struct link *link, enum frame_side side, char *bytes, size_t size, bk_ms now)
{
    proxy->bytes[side] += size;
    while (size > 0 && link->state == LINK_LIVE) {
        const struct frame_piece piece = frame_scan(&link->talk, side, bytes, size);
        take_piece(proxy, link, side, bytes, &piece, now);
        bytes += piece.size;
        size -= piece.size;
    }
}

void flow_end(struct proxy *proxy, struct link *link, enum frame_side side, bool reset, bk_ms now)
{
    struct flow *flow = &link->flow[side];
    flow->ended = true;
    flow->reset = flow->reset || reset;
    if (link->state != LINK_LIVE)
        return;
    release_held(proxy, link, side, now);
    flow->late = side == FRAME_CLIENT && !flow_is_through(flow, now);
    (void)next_due(proxy, link, side, now);
}

/* --- what goes on ------------------------------------------------------------------------------------------------- */

bool flow_is_through(const struct flow *flow, bk_ms now)
{
    return backlog_size(&flow->backlog) == 0 && flow->last_due <= now;
}

static size_t allowed(const struct proxy *proxy, const struct flow *flow, size_t size)
{
    if (proxy->bandwidth > 0) {
        if (bk_clock_now_us() < flow->next_us)
            return 0;
        size = BK_MIN(size, (size_t)BK_MAX(proxy->bandwidth / TICKS_PER_S, 1));
    }
    return proxy->slice > 0 ? BK_MIN(size, proxy->slice) : size;
}

static void charge(const struct proxy *proxy, struct flow *flow, size_t size)
{
    if (proxy->bandwidth > 0)
        flow->next_us = BK_MAX(flow->next_us, bk_clock_now_us()) + (int64_t)size * 1000000 / proxy->bandwidth;
}

void flow_write(struct proxy *proxy, struct link *link, enum frame_side side, bk_ms now)
{
    struct flow *flow = &link->flow[side];
    int fd = link->fd[other_side(side)];
    flow->blocked = false;
    if (side == FRAME_CLIENT && link_is_connecting(link))
        return;
    if (fd < 0) /* nobody is there, but what the source has to say is to be read to its end */
        backlog_clear(&flow->backlog);
    if (fd < 0 || proxy->blackhole[side])
        return;
    for (;;) {
        struct bk_span ready = backlog_ready(&flow->backlog, now);
        size_t size = allowed(proxy, flow, ready.size);
        if (size == 0)
            return;
        ssize_t written = send(fd, ready.at, size, MSG_NOSIGNAL);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            flow->blocked = true;
            return;
        }
        if (written < 0) { /* what the sink had still to say, and that it is gone, is found by reading */
            link->flow[other_side(side)].reset = true;
            backlog_clear(&flow->backlog);
            return;
        }
        charge(proxy, flow, (size_t)written);
        backlog_drop(&flow->backlog, (size_t)written);
        if (proxy->slice > 0)
            return; /* one at a time: the next in the loop's next turn */
    }
}
