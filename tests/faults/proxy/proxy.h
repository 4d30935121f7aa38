/* proxy.h - what the parts of the fault proxy share: its state, and the connections that go through it.
 *
 * frame (where messages end), backlog (bytes that wait), fault (what is armed) and net (sockets) stand below; then link
 * (one connection) with its two flows, trace, command (what can be told), control (who tells it), and the loop. One
 * thread, no socket that blocks. Whatever is decided about a message is decided when it arrives here: latency and delays
 * only tell when it goes on.
 */
#ifndef PROXY_H
#define PROXY_H

#include <poll.h>
#include <stdio.h>

#include "tests/faults/proxy/backlog.h"
#include "tests/faults/proxy/fault.h"
#include "tests/faults/proxy/net.h"

enum {
    PROXY_HOLD_MOST = 16 << 20, /* of a message whose text is looked for; a longer one goes on, judged by these bytes */
    PROXY_BACKLOG_MOST = 1 << 20 /* then no more is read, and the sender's own buffers fill */
};

/** One direction of a connection; what its source sends goes to the other side. */
struct flow {
    struct bk_text held; /* of a message that has not been decided about, since it is not complete */
    struct backlog backlog;
    bool looking;   /* the message that is arriving is held until it is complete */
    bool cut_after; /* when the message that is arriving has ended, `cut` happens */
    struct fault cut;
    uint64_t messages; /* begun */
    bk_ms not_before;  /* a delay: nothing that arrives goes on before this time */
    bk_ms last_due;    /* of what has arrived: order is kept */
    bool ended;        /* the source sends no more */
    bool reset;        /* and ended by a reset, or cannot be reached */
    bool late;         /* and had ended when something of it was still to be delivered */
    bool passed_on;    /* the sink was told that the source ended */
    bool blocked;      /* the sink takes nothing right now */
    int64_t next_us;   /* bandwidth: when the next bytes may be written */
};

enum link_state {
    LINK_LIVE,
    LINK_CUTTING,   /* nothing is taken any more; what was before the cut is on its way */
    LINK_SILENT,    /* nothing is forwarded, nothing is closed */
    LINK_LINGERING, /* both sides were told the end; what they still say is swallowed until they close, or for a while */
    LINK_DEAD       /* closed, to be freed */
};

#define LINK_LATER INT64_MAX /* when the direction to the server is no black hole any more */

/** A connection through the proxy. Sides, sockets and flows are numbered by frame_side. */
struct link {
    uint64_t number; /* from 1, in the order of arrival */
    enum link_state state;
    int fd[FRAME_SIDES];           /* -1: none any more, or none yet */
    bool connecting;               /* the server's is on its way */
    bk_ms connect_at;              /* when to try to connect (monotonic ms), LINK_LATER, or 0: done or under way */
    struct net_address upstream;   /* the one there was at the beginning */
    struct flow flow[FRAME_SIDES]; /* flow[FRAME_CLIENT] comes from the client */
    struct frame_talk talk;
    struct fault_counters counters;
    struct fault cut; /* cutting: what is to happen */
    bk_ms linger_until;
    struct link *next;
};

enum trace_state { TRACE_OFF, TRACE_WANTED, TRACE_RUNNING, TRACE_DONE };

struct trace {
    enum trace_state state;
    struct bk_text from;
    struct link *link;
    struct bk_text kinds[FRAME_SIDES]; /* each followed by a blank */
};

struct proxy {
    enum frame_protocol protocol;
    struct net_address upstream;
    int listener;
    bk_ms accept_at; /* no descriptors are left: not before */
    FILE *log;       /* NULL: none */
    uint64_t seed;
    struct link *links;
    struct fault_list faults;
    struct trace trace;

    bk_ms latency_ms;
    bk_ms jitter_ms;
    int64_t bandwidth;           /* bytes/s in each direction of each connection; 0: any */
    size_t slice;                /* 0: any size */
    bool blackhole[FRAME_SIDES]; /* what this side sends is held */
    bool refusing;
    bool quitting;

    uint64_t connections;
    uint64_t refused;
    uint64_t fired;
    uint64_t messages[FRAME_SIDES];
    uint64_t bytes[FRAME_SIDES];
};

static inline enum frame_side other_side(enum frame_side side)
{
    return side == FRAME_CLIENT ? FRAME_SERVER : FRAME_CLIENT;
}

/** Whether the server's socket is yet to come. */
static inline bool link_is_connecting(const struct link *link)
{
    return link->connect_at != 0 || link->connecting;
}

/* --- flow.c ------------------------------------------------------------------------------------------------------- */

/** Takes bytes that `side` sent: decides about the messages in them and puts in line what goes on. May begin a cut. The
 *  bytes are written into. */
void flow_take(struct proxy *proxy, struct link *link, enum frame_side side, char *bytes, size_t size, bk_ms now);
/** `side` sends no more: what was held of an incomplete message goes on, and the end takes its place behind. */
void flow_end(struct proxy *proxy, struct link *link, enum frame_side side, bool reset, bk_ms now);
/** Writes what is due of what `side` sent. */
void flow_write(struct proxy *proxy, struct link *link, enum frame_side side, bk_ms now);
/** Whether nothing waits any more, an end included. */
bool flow_is_through(const struct flow *flow, bk_ms now);

/* --- link.c ------------------------------------------------------------------------------------------------------- */

/** A connection from the client on `fd`, which it takes over; it stands first in proxy->links. */
void link_open(struct proxy *proxy, int fd, bk_ms now);
/** Reads, decides and writes after a poll that said these events of the two sockets. */
void link_step(struct proxy *proxy, struct link *link, const short events[FRAME_SIDES], bk_ms now);
/** The events to wait for on the socket of one side; -1: don't even look at it. */
int link_events(const struct link *link, enum frame_side side);
/** When it wants to be stepped without any event (monotonic ms, 0: at once), or -1. */
bk_ms link_wake(const struct proxy *proxy, const struct link *link, bk_ms now);
/** From here on nothing is taken any more; when all that came before is written, the fault happens. */
void link_cut(struct proxy *proxy, struct link *link, const struct fault *fault);
/** Resets both sides. */
void link_reset(struct proxy *proxy, struct link *link);
/** Closes both sides in order. What waits is dropped. */
void link_finish(struct proxy *proxy, struct link *link, bk_ms now);
/** A direction that was held goes on; a client that has left meanwhile takes what it sent with it. */
void link_unhold(struct proxy *proxy, struct link *link, enum frame_side side, bk_ms now);
/** No delay, no counter, no silence any more. */
void link_heal(struct proxy *proxy, struct link *link);
/** Bytes that arrived and have not gone on. */
size_t link_held(const struct link *link);
/** Frees those that are dead. */
void link_sweep(struct proxy *proxy);

/* --- trace.c ------------------------------------------------------------------------------------------------------ */

/** Looks for a client message with this text; forgets the trace before. */
void trace_want(struct trace *trace, const char *from);
/** A client message, before it is counted. */
void trace_look(struct trace *trace, struct link *link, struct bk_span message);
/** A message has ended. */
void trace_note(struct trace *trace, const struct link *link, enum frame_side side, char kind);
/** A connection ends, and its trace with it. */
void trace_end(struct trace *trace, const struct link *link);
/** Appends "client ... server ..."; false with the reason instead if the trace is not complete. */
bool trace_show(const struct trace *trace, struct bk_text *out);
void trace_deinit(struct trace *trace);

/* --- command.c ---------------------------------------------------------------------------------------------------- */

/** What a command wants done later: an answer as soon as proxy->fired has come to `fired`. */
struct command_wait {
    bool waiting;
    uint64_t fired;
    bk_ms until;
};

/** Does what a line says and appends the answer, one line without its end: "ok ..." or "error ...". There is none yet
 *  if *wait says so. The line is written into. */
void command_run(struct proxy *proxy, char *line, struct bk_text *answer, struct command_wait *wait, bk_ms now);
/** Appends the list of the commands, for --help. */
void command_help(struct bk_text *text);

/* --- control.c ---------------------------------------------------------------------------------------------------- */

/** Those who are connected to the control socket. */
struct control;

/** Listens on a Unix socket. Errors: BK_INVALID, BK_OUTAGE. */
enum bk_status control_open(struct control **out, const char *path, struct bk_error *error);
/** Removes the socket; NULL in, NULL out. */
struct control *control_close(struct control *control);
/** How many sockets it waits on. */
size_t control_poll_count(const struct control *control);
/** Fills in what it waits for. */
void control_poll(const struct control *control, struct pollfd *polls);
/** Takes commands and gives answers after a poll. */
void control_step(struct control *control, struct proxy *proxy, const struct pollfd *polls, bk_ms now);
/** When it wants to be stepped without any event, or -1. */
bk_ms control_wake(const struct control *control);

/* --- loop.c ------------------------------------------------------------------------------------------------------- */

/** Says where it listens, then forwards until a signal or a command ends it. Leaves nothing in *proxy but the listener and
 *  the log, which are the caller's. */
void proxy_run(struct proxy *proxy, struct control *control);

/* --- tell.c ------------------------------------------------------------------------------------------------------- */

/** Sends a command, prints the answer; returns the exit code. */
int tell(const char *path, int argc, char **argv);

/* --- log.c -------------------------------------------------------------------------------------------------------- */

/** One line with the time, if there is a log. */
void proxy_log(const struct proxy *proxy, const char *format, ...) BK_PRINTF(2, 3);

#endif
