/* link.c - one connection through the proxy, from the client's arrival to its end, in order or not. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/faults/proxy/proxy.h"

enum { CHUNK = 65536, CHUNKS_MOST = 4, LINGER_MS = 1000, CONNECT_AGAIN_MS = 10 };

/* --- its end ------------------------------------------------------------------------------------------------------ */

/* A connection that is not alive counts towards nothing. */
static void leave_life(struct proxy *proxy, struct link *link, enum link_state state)
{
    if (link->state == LINK_LIVE) {
        fault_counters_deinit(&link->counters);
        trace_end(&proxy->trace, link);
    }
    link->state = state;
}

static void lose(struct link *link, enum frame_side side)
{
    net_close(link->fd[side]);
    link->fd[side] = -1;
}

/* Nothing will be delivered any more, so nothing need be connected. */
static void drop_all(struct link *link)
{
    link->connecting = false;
    link->connect_at = 0;
    for (int side = 0; side < FRAME_SIDES; side++) {
        backlog_clear(&link->flow[side].backlog);
        bk_text_clear(&link->flow[side].held);
    }
}

static void die(struct proxy *proxy, struct link *link, const char *how)
{
    leave_life(proxy, link, LINK_DEAD);
    drop_all(link);
    lose(link, FRAME_CLIENT);
    lose(link, FRAME_SERVER);
    proxy_log(proxy, "connection %llu: %s", (unsigned long long)link->number, how);
}

void link_reset(struct proxy *proxy, struct link *link)
{
    if (link->state == LINK_DEAD)
        return;
    for (int side = 0; side < FRAME_SIDES; side++) {
        net_reset(link->fd[side]);
        link->fd[side] = -1;
    }
    die(proxy, link, "reset");
}

void link_finish(struct proxy *proxy, struct link *link, bk_ms now)
{
    if (link->state == LINK_DEAD || link->state == LINK_LINGERING)
        return;
    leave_life(proxy, link, LINK_LINGERING);
    drop_all(link);
    link->linger_until = now + LINGER_MS;
    /* a close with unread bytes would be a reset, hence the shutdown first */
    for (int side = 0; side < FRAME_SIDES; side++) {
        if (link->fd[side] >= 0)
            (void)shutdown(link->fd[side], SHUT_WR);
        else
            link->flow[side].ended = true;
    }
}

void link_cut(struct proxy *proxy, struct link *link, const struct fault *fault)
{
    link->cut = *fault;
    leave_life(proxy, link, LINK_CUTTING);
}

/* The cut happens when everything before it has been delivered: to the other side's kernel, since a reset takes with it
   what has not come so far. */
static void settle_cut(struct proxy *proxy, struct link *link, bk_ms now)
{
    const struct flow *flow = &link->flow[link->cut.side];
    int sink = link->fd[other_side(link->cut.side)];
    bool deliverable = sink >= 0 || link_is_connecting(link);
    if (deliverable && backlog_size(&flow->backlog) > 0)
        return;
    if (sink >= 0 && link->cut.end == FAULT_RST && net_unconfirmed(sink) > 0)
        return;
    proxy->fired++;
    proxy_log(proxy, "connection %llu: cut %s message %llu of the %s, %s", (unsigned long long)link->number,
              link->cut.after ? "after" : "before", (unsigned long long)link->cut.at, fault_side_name(link->cut.side),
              fault_end_name(link->cut.end));
    switch (link->cut.end) {
    case FAULT_RST:
        link_reset(proxy, link);
        break;
    case FAULT_FIN:
        link_finish(proxy, link, now);
        break;
    case FAULT_SILENCE:
        drop_all(link);
        link->state = LINK_SILENT;
        break;
    }
}

/* Tells the sink of a direction that its source has ended, when everything before has been written. */
static void settle_flow(struct proxy *proxy, struct link *link, enum frame_side side, bk_ms now)
{
    struct flow *flow = &link->flow[side];
    int sink = link->fd[other_side(side)];
    if (!flow->ended || flow->passed_on)
        return;
    if (side == FRAME_CLIENT && link_is_connecting(link)) {
        if (link->connect_at == LINK_LATER)
            die(proxy, link, "the client left before anything was connected");
        return;
    }
    if (sink < 0) {
        backlog_clear(&flow->backlog);
        flow->passed_on = true;
        return;
    }
    if (proxy->blackhole[side] || !flow_is_through(flow, now))
        return;
    if (flow->reset && !flow->late) {
        if (net_unconfirmed(sink) == 0)
            link_reset(proxy, link);
        return;
    }
    (void)shutdown(sink, SHUT_WR);
    flow->passed_on = true;
}

static void settle(struct proxy *proxy, struct link *link, bk_ms now)
{
    if (link->state == LINK_CUTTING)
        settle_cut(proxy, link, now);
    for (int side = 0; side < FRAME_SIDES && link->state == LINK_LIVE; side++)
        settle_flow(proxy, link, (enum frame_side)side, now);
    const struct flow *up = &link->flow[FRAME_CLIENT];
    const struct flow *down = &link->flow[FRAME_SERVER];
    if ((link->state == LINK_LIVE && up->passed_on && down->passed_on) ||
        (link->state == LINK_LINGERING && ((up->ended && down->ended) || now >= link->linger_until)))
        die(proxy, link, "closed");
    else if (link->state == LINK_SILENT && link->fd[FRAME_CLIENT] < 0 && link->fd[FRAME_SERVER] < 0)
        die(proxy, link, "both sides have left the silence");
}

/* --- its beginning ------------------------------------------------------------------------------------------------ */

static void unreachable(struct proxy *proxy, struct link *link, int why)
{
    proxy_log(proxy, "connection %llu: upstream: %s", (unsigned long long)link->number, strerror(why));
    link_reset(proxy, link);
}

static void begin_to_connect(struct proxy *proxy, struct link *link, bk_ms now)
{
    int fd = net_connect(&link->upstream);
    if (fd >= 0) {
        link->fd[FRAME_SERVER] = fd;
        link->connecting = true;
        link->connect_at = 0;
    } else if (errno == EAGAIN) {
        link->connect_at = now + CONNECT_AGAIN_MS;
    } else {
        unreachable(proxy, link, errno);
    }
}

static void end_to_connect(struct proxy *proxy, struct link *link, short events)
{
    if (!(events & (POLLOUT | POLLERR | POLLHUP)))
        return;
    int why = net_error(link->fd[FRAME_SERVER]);
    link->connecting = false;
    if (why != 0)
        unreachable(proxy, link, why);
}

void link_open(struct proxy *proxy, int fd, bk_ms now)
{
    struct link *link = bk_zalloc(sizeof(*link));
    link->number = ++proxy->connections;
    link->fd[FRAME_CLIENT] = fd;
    link->fd[FRAME_SERVER] = -1;
    link->upstream = proxy->upstream;
    link->talk.protocol = proxy->protocol;
    link->connect_at = LINK_LATER;
    link->next = proxy->links;
    proxy->links = link;
    proxy_log(proxy, "connection %llu: opened", (unsigned long long)link->number);
    /* nothing of a client gets through a black hole, not even that it is there */
    if (!proxy->blackhole[FRAME_CLIENT])
        begin_to_connect(proxy, link, now);
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

static void read_side(struct proxy *proxy, struct link *link, enum frame_side side, bk_ms now)
{
    static char chunk[CHUNK];
    for (int i = 0; i < CHUNKS_MOST && link->fd[side] >= 0; i++) {
        ssize_t got = recv(link->fd[side], chunk, sizeof(chunk), 0);
        if (got > 0) {
            if (link->state == LINK_LIVE) /* else it is swallowed */
                flow_take(proxy, link, side, chunk, (size_t)got, now);
            continue;
        }
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        flow_end(proxy, link, side, got < 0, now);
        if (got < 0)
            lose(link, side);
        return;
    }
}

static void look_at_side(struct proxy *proxy, struct link *link, enum frame_side side, short events, bk_ms now)
{
    bool over = (events & (POLLERR | POLLHUP)) != 0;
    if (link->fd[side] < 0 || (side == FRAME_SERVER && link->connecting))
        return;
    if (link->state == LINK_SILENT) {
        if (over || (events & POLLRDHUP))
            lose(link, side); /* which the other side is not told */
    } else if (link->flow[side].ended) {
        if (over)
            lose(link, side);
    } else if (over || (events & POLLIN)) {
        read_side(proxy, link, side, now);
    }
}

void link_step(struct proxy *proxy, struct link *link, const short events[FRAME_SIDES], bk_ms now)
{
    if (link->connect_at != 0 && now >= link->connect_at)
        begin_to_connect(proxy, link, now);
    else if (link->connecting)
        end_to_connect(proxy, link, events[FRAME_SERVER]);
    /* the server first: what it said before a client's message that triggers something must not be counted after it */
    if (link->state != LINK_DEAD)
        look_at_side(proxy, link, FRAME_SERVER, events[FRAME_SERVER], now);
    if (link->state != LINK_DEAD)
        look_at_side(proxy, link, FRAME_CLIENT, events[FRAME_CLIENT], now);
    for (int side = 0; side < FRAME_SIDES; side++) {
        if (link->state == LINK_LIVE || link->state == LINK_CUTTING)
            flow_write(proxy, link, (enum frame_side)side, now);
    }
    settle(proxy, link, now);
}

int link_events(const struct link *link, enum frame_side side)
{
    const struct flow *in = &link->flow[side];
    const struct flow *out = &link->flow[other_side(side)];
    if (link->state == LINK_DEAD || link->fd[side] < 0)
        return -1;
    if (side == FRAME_SERVER && link->connecting)
        return POLLOUT;
    if (link->state == LINK_SILENT)
        return POLLRDHUP;
    int events = 0;
    if (!in->ended && (link->state != LINK_LIVE || backlog_size(&in->backlog) < PROXY_BACKLOG_MOST))
        events |= POLLIN;
    if (out->blocked)
        events |= POLLOUT;
    return events;
}

/* When something of a direction is to be done by the clock, or -1. */
static bk_ms flow_wake(const struct proxy *proxy, const struct link *link, enum frame_side side, bk_ms now)
{
    const struct flow *flow = &link->flow[side];
    if (proxy->blackhole[side] || flow->blocked || (side == FRAME_CLIENT && link_is_connecting(link)))
        return -1;
    bk_ms due = backlog_due(&flow->backlog);
    if (due >= 0)
        return proxy->bandwidth > 0 ? BK_MAX(due, flow->next_us / 1000 + 1) : due;
    bool ending = flow->ended && !flow->passed_on;
    if (link->state == LINK_CUTTING || ending)
        return BK_MAX(flow->last_due, now + 1); /* the other side's kernel tells nobody what it has confirmed */
    return -1;
}

bk_ms link_wake(const struct proxy *proxy, const struct link *link, bk_ms now)
{
    if (link->state == LINK_LINGERING)
        return link->linger_until;
    if (link->state != LINK_LIVE && link->state != LINK_CUTTING)
        return -1;
    if (link->connect_at != 0)
        return link->connect_at == LINK_LATER ? -1 : link->connect_at;
    bk_ms up = flow_wake(proxy, link, FRAME_CLIENT, now);
    bk_ms down = flow_wake(proxy, link, FRAME_SERVER, now);
    return up < 0 || (down >= 0 && down < up) ? down : up;
}

/* --- what is told to it ------------------------------------------------------------------------------------------- */

void link_unhold(struct proxy *proxy, struct link *link, enum frame_side side, bk_ms now)
{
    if (link->state != LINK_LIVE)
        return;
    if (side == FRAME_CLIENT && link->flow[side].ended)
        link_reset(proxy, link);
    else if (side == FRAME_CLIENT && link->connect_at == LINK_LATER)
        link->connect_at = now;
}

void link_heal(struct proxy *proxy, struct link *link)
{
    if (link->state == LINK_SILENT || link->state == LINK_CUTTING)
        link_reset(proxy, link);
    fault_counters_deinit(&link->counters);
    for (int side = 0; side < FRAME_SIDES; side++) {
        struct flow *flow = &link->flow[side];
        backlog_hurry(&flow->backlog);
        flow->cut_after = false;
        flow->not_before = 0;
        flow->last_due = 0;
        flow->next_us = 0;
    }
}

size_t link_held(const struct link *link)
{
    size_t held = 0;
    for (int side = 0; side < FRAME_SIDES; side++)
        held += backlog_size(&link->flow[side].backlog) + link->flow[side].held.size;
    return held;
}

void link_sweep(struct proxy *proxy)
{
    for (struct link **at = &proxy->links; *at;) {
        struct link *link = *at;
        if (link->state != LINK_DEAD) {
            at = &link->next;
            continue;
        }
        *at = link->next;
        for (int side = 0; side < FRAME_SIDES; side++) {
            backlog_deinit(&link->flow[side].backlog);
            bk_text_deinit(&link->flow[side].held);
        }
        fault_counters_deinit(&link->counters);
        free(link);
    }
}
