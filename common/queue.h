/* queue.h - the durable queue in Redis, as its workers and producers see it.
 *
 * The protocol itself is in queue.lua, whose top says what the places are; these functions call it. A struct bk_queue
 * is one thread's access with a connection of its own, which it makes when first needed and anew after every failure;
 * the functions are loaded then if the server lacks them or has older ones. No call outlives its deadline.
 *
 * Statuses of every call: BK_OUTAGE (nothing was sent, or the server is not ready), BK_UNKNOWN (sent, but the answer
 * was lost: the call may have happened), BK_OPERATOR (credentials, rights, functions), BK_FENCED (this worker has no
 * lease any more).
 */
#ifndef BK_QUEUE_H
#define BK_QUEUE_H

#include "common/redis.h"

enum { BK_QUEUE_VERSION = 5 }; /* of queue.lua; rises with every change of it */

struct bk_queue_options {
    const struct bk_redis_url *url; /* must outlive the queue */
    const char *name;               /* BOOKING_QUEUE */
    bk_ms connect_timeout_ms;
    bk_ms call_timeout_ms; /* for the calls below that take no deadline of their own */
};

struct bk_queue;

/** Makes an access; connects to nothing yet. The caller owns it. */
struct bk_queue *bk_queue_open(const struct bk_queue_options *options);
/** Closes; NULL is fine; returns NULL. */
struct bk_queue *bk_queue_close(struct bk_queue *queue);
BK_DEFINE_AUTO(bk_queue, bk_queue_close)

/** Connects now if it is not connected, and sees to the functions. */
enum bk_status bk_queue_connect(struct bk_queue *queue, struct bk_error *error);

/* --- a worker's life ---------------------------------------------------------------------------------------------- */

/** A name and a value that the worker tells about itself (worker:<name>). */
struct bk_queue_fact {
    const char *name;
    const char *value;
};

/** Begins the incarnation `worker` ("<name>@<unique>") with a lease. `*recovered` jobs were taken from an older
 *  incarnation of that name. A fact `number` (bk_pulse) shows which is the older one: BK_FENCED if this one is. */
enum bk_status bk_queue_join(struct bk_queue *queue, const char *worker, bk_ms lease_ms,
                             const struct bk_queue_fact *facts, size_t count, int64_t *recovered,
                             struct bk_error *error);
/** The answer to a beat. */
struct bk_pulse {
    bool alive;  /* the incarnation still had its place, and has its lease renewed */
    bool fenced; /* if not: a newer namesake has it now (else the lease has run out, and the worker may join anew) */
    char breaker[8]; /* what an operator wants of the circuit breakers: "open", "closed", "auto"; "" for nothing */
    int64_t number;  /* if not alive: for an incarnation that begins now, higher at each beat */
};

/** Renews the lease. */
enum bk_status bk_queue_beat(struct bk_queue *queue, const char *worker, bk_ms lease_ms,
                             const struct bk_queue_fact *facts, size_t count, struct bk_pulse *pulse,
                             struct bk_error *error);
/** Hands everything back, free of charge, and ends the incarnation. */
enum bk_status bk_queue_leave(struct bk_queue *queue, const char *worker, int64_t *handed_back, struct bk_error *error);

/* --- a lane's turn ------------------------------------------------------------------------------------------------ */

enum bk_fate {
    BK_FATE_DONE,    /* over: applied or rejected */
    BK_FATE_RETRY,   /* later, at the cost of an attempt */
    BK_FATE_REQUEUE, /* at once, when somebody can: an outage; no attempt spent */
    BK_FATE_FREE,    /* at once, not counted at all */
    BK_FATE_DEAD     /* kept for a person */
};

/** What becomes of one held job. All memory is the caller's and is read during the call only. */
struct bk_settlement {
    struct bk_span ticket;
    enum bk_fate fate;
    bk_ms delay_ms;          /* RETRY */
    bool unsure;             /* RETRY, REQUEUE: it may have been applied all the same */
    const char *reason;      /* DEAD */
    const char *sqlstate;    /* DEAD; "" for none */
    const char *error;       /* RETRY, REQUEUE, DEAD */
    int64_t attempts;        /* DEAD */
    struct bk_span reply_id; /* DONE, DEAD: whose reply list gets reply_json; size 0: nobody's */
    const char *reply_json;
};

struct bk_take {
    const char *worker;
    unsigned want;
    bool resume;      /* an earlier answer was lost: first give back what this lane is noted to hold */
    unsigned careful; /* a job that has cost so many lives is taken alone; 0: never */
};

/** A job as it came out of the queue. */
struct bk_queue_job {
    struct bk_span ticket;
    const struct bk_reply *fields; /* field, value, ...: the entry's and the queue's own (see queue.lua) */
};

/** The answer of a take; owns its jobs. Free with bk_taken_deinit. */
struct bk_taken {
    bk_ms now;      /* Redis's clock, Unix ms */
    bk_ms next_due; /* when something happens that no entry in the inbox announces, Unix ms; 0: never */
    bool paused;
    bool more; /* there may be more to take at once */
    int64_t recovered;
    char last_id[48]; /* of the last inbox entry seen; "" when the inbox was empty */
    size_t count;
    struct bk_queue_job *jobs;
    struct bk_reply *reply;
};

/** Takes the answer of a take apart; whatever it is, what is not there counts as nothing. *taken owns `reply` from then
 *  on. Any thread. */
void bk_taken_read(struct bk_reply *reply, struct bk_taken *taken);
/** Empties it; what was lent from it is gone. */
void bk_taken_deinit(struct bk_taken *taken);

/** What a turn did, also when it failed half-way. */
struct bk_turn {
    bool settled;  /* the settlements are done with (false: send them again) */
    int64_t freed; /* jobs of other lines that became ready by it */
    size_t lost;   /* settlements of jobs that were not ours any more */
};

/** Whose turn it is. A lane counts its turns from 1, also those that fail and are repeated: a take of an older turn that
 *  was long on its way does not happen any more, and what a turn took is settled once, however often that is sent. */
struct bk_turn_name {
    const char *worker; /* the incarnation that what is settled was taken by */
    unsigned lane;
    uint64_t number;
    uint64_t settles; /* number of the turn that took what is settled */
};

/** Settles what the last turn held and takes anew, in one write and two answers. `count` may be 0 and `take` NULL.
 *  On success with `take` the caller frees *taken. */
enum bk_status bk_queue_turn(struct bk_queue *queue, const struct bk_turn_name *name,
                             const struct bk_settlement *settlements, size_t count, const struct bk_take *take,
                             struct bk_turn *turn, struct bk_taken *taken, struct bk_error *error);

/** Waits until the inbox has an entry behind `last_id` or `block_ms` have passed; `*arrived` tells which. Takes
 *  nothing. */
enum bk_status bk_queue_watch(struct bk_queue *queue, const char *last_id, bk_ms block_ms, bool *arrived,
                              struct bk_error *error);

/* --- producers ---------------------------------------------------------------------------------------------------- */

/** Puts an XADD of `count` words (field, value, ...) into the connection's buffer. Connect first. */
void bk_queue_add(struct bk_queue *queue, size_t count, const struct bk_span *words);
/** Sends and reads the answer of the next XADD: its ticket. */
enum bk_status bk_queue_added(struct bk_queue *queue, char ticket[48], struct bk_error *error);
/** Whether the connection broke: what was added and not answered for may be there or not. */
bool bk_queue_lost(const struct bk_queue *queue);

/* --- the dead ----------------------------------------------------------------------------------------------------- */

/** Brings dead letters back ("retry") or forgets them ("drop"), with a line in the audit. *out lists the tickets acted
 *  on: those that were dead. At most a thousand a call. */
enum bk_status bk_queue_dead_act(struct bk_queue *queue, const char *verb, const char *who, const char *why,
                                 size_t count, const struct bk_span *tickets, struct bk_reply **out,
                                 struct bk_error *error);

/* --- looking at it ------------------------------------------------------------------------------------------------ */

// clang-format off
#define BK_QUEUE_COUNTS(X)                                                                                             \
    X(now) X(paused) X(inbox) X(ready) X(waiting) X(active) X(scheduled) X(retry) X(dead) X(oldest_ms)                 \
    X(workers) X(oldest_dead_ms)
// clang-format on

struct bk_queue_status {
#define BK_QUEUE_COUNT(name) int64_t name;
    BK_QUEUE_COUNTS(BK_QUEUE_COUNT)
#undef BK_QUEUE_COUNT
};

enum bk_status bk_queue_read_status(struct bk_queue *queue, struct bk_queue_status *status, struct bk_error *error);

/** Changes a switch of the queue (config hash) and leaves a line in the audit. */
enum bk_status bk_queue_configure(struct bk_queue *queue, const char *who, const char *verb, const char *name,
                                  const char *value, struct bk_error *error);

/** Calls a function of the library that has no wrapper of its own here ("booking_lines") with `count` arguments. */
enum bk_status bk_queue_function(struct bk_queue *queue, const char *function, size_t count,
                                 const struct bk_span *arguments, struct bk_reply **out, struct bk_error *error);

/** Runs one command on a key of the queue: `words[key_at]` is replaced by "{queue}:" + itself. For reading. */
enum bk_status bk_queue_command(struct bk_queue *queue, size_t count, const struct bk_span *words, size_t key_at,
                                struct bk_reply **out, struct bk_error *error);

/** The same with full keys in the words. */
enum bk_status bk_queue_raw(struct bk_queue *queue, size_t count, const struct bk_span *words, struct bk_reply **out,
                            struct bk_error *error);

/** The value that stands behind `name` in an array of name, value, ...; NULL when it is not there. */
const struct bk_reply *bk_reply_field(const struct bk_reply *pairs, const char *name);

#endif
