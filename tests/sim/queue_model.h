/* queue_model.h - the queue of common/queue.lua once more, in C: the same functions over the same places, with the clock
 * as an argument. model_vs_redis.c shows that both are alike; the simulator runs on this one.
 *
 * The places are literally those of queue.lua (lists, sorted sets, hashes of tickets), not one field a job that says where
 * it is: a move that forgets one end of itself must be able to show.
 *
 * Memory: everything is the model's, but for the texts a caller hands in (fields of entries, reasons), which must outlive
 * it. One thread.
 */
#ifndef SIM_QUEUE_MODEL_H
#define SIM_QUEUE_MODEL_H

#include "common/clock.h"
#include "common/text.h"

enum { QM_BOUND = 128, QM_LANES = 4, QM_CHARGES = 32, QM_TEXT = 64, QM_WORKERS = 480, QM_NONE = -1 };

/** What is broken on purpose (see sim's --sabotage). */
enum qm_sabotage {
    QM_NO_OWNERSHIP = 1,    /* settle moves what it does not hold */
    QM_LETS_GO = 2,         /* retry and requeue release the gate */
    QM_NO_CHARGE = 4,       /* a worker's death is not counted */
    QM_NO_TURNS = 8,        /* a take that comes too late is accepted */
    QM_NO_GATE = 16,        /* take does not look at the gate */
    QM_NO_RESUME = 32,      /* what a lost answer brought is not given back */
    QM_FENCE_FORGETS = 64,  /* a fenced namesake's tickets are not handed back */
    QM_SETTLES_AGAIN = 128, /* a settlement that is sent again is done again */
    QM_REFUNDS_ANY = 256,   /* a death is refunded to whoever lost the job */
    QM_SURE = 512,          /* what a dead worker held does not count as tried */
    QM_JOINS_ANY = 1024,    /* a join fences off whoever is there */
    QM_WORKER_OWNS = 2048,  /* settle looks at the worker only, not at its lane and turn */
    QM_LATE_COUNTS = 4096,  /* a beat gives way to an older incarnation, too */
    QM_IN_COMPANY = 8192    /* a suspect is taken together with others */
};

enum qm_state { QM_NO_STATE, QM_SCHEDULED, QM_WAITING, QM_READY, QM_RETRY, QM_DEAD };

struct qm_job {
    char ticket[48];
    const struct bk_span *fields; /* as the producer sent them */
    size_t field_count;
    int gate;         /* index of its ordering key, compared without case; QM_NONE for a malformed entry */
    bk_ms not_before; /* 0: none */
    bool in_inbox;
    bool kept; /* it has a job:<ticket> hash, of which the rest is */
    enum qm_state state;
    int64_t attempts;
    int64_t requeues;
    int64_t deliveries;
    bool unsure;
    char error[QM_TEXT];
    const char *reason; /* NULL: none */
    char sqlstate[6];
    bk_ms died_at; /* 0: never */
    int died_at_worker;
    bk_ms retried_at; /* 0: never */
    struct bk_text history;
    /* beside queue.lua, for the simulator's eyes */
    int tag;        /* what the caller likes */
    uint64_t place; /* rises with each place taken in a line or at a gate */
    struct {
        int worker;
        unsigned lane; /* and turn: what had brought it */
        uint64_t turn;
        bk_ms since;       /* retried_at by then */
    } charged[QM_CHARGES]; /* the charged:<worker> that name it */
    int charges;
    int deaths; /* all charges since an admin brought it back, refunded ones too */
};

struct qm_held {
    int job;
    unsigned lane;
    uint64_t turn; /* of the take */
};

/** An incarnation, "<name>@<unique>". */
struct qm_worker {
    char text[QM_TEXT];
    int name;
    bool member; /* has a lease, if not still a valid one */
    bk_ms lease;
    struct qm_held *active;
    int active_count;
};

struct qm_name {
    char text[QM_TEXT];
    int incarnation; /* QM_NONE: no hash worker:<name>, or one without that field */
    int64_t number;  /* the incarnation's, QM_NONE: it told none */
    uint64_t taken[QM_LANES];
    uint64_t settled[QM_LANES];
};

struct qm_list {
    int *at;
    int count;
};

struct qm_gate {
    char name[132];
    int count; /* 0: no such field */
    struct qm_list line;
};

/** ticket -> number, ordered as Redis does. */
struct qm_zset {
    struct {
        bk_ms score;
        int job;
    } * at;
    int count;
};

struct qm_reply {
    char id[QM_TEXT];
    int count;
};

struct queue_model {
    int capacity;      /* most tickets */
    unsigned sabotage; /* enum qm_sabotage */
    bool stories;      /* keep histories */
    struct qm_job *jobs;
    int job_count;
    struct qm_list inbox;
    struct qm_list ready;
    struct qm_zset scheduled;
    struct qm_zset retry;
    struct qm_zset dead;
    struct qm_gate gates[80];
    int gate_count;
    struct qm_worker workers[QM_WORKERS];
    int worker_count;
    struct qm_name names[16];
    int name_count;
    struct qm_reply replies[64];
    int reply_count;
    bool paused;
    char breaker[8];
    int64_t incarnations; /* numbers given */
    int audit;            /* lines */
    uint64_t places;
    const char *foul; /* the first thing that nobody may do, NULL: none */
    int foul_job;
};

struct queue_model *qm_open(int capacity);
struct queue_model *qm_close(struct queue_model *q);
/** Empties it. */
void qm_reset(struct queue_model *q, unsigned sabotage, bool stories);

/** The number of an incarnation; made when it is new. */
int qm_worker(struct queue_model *q, const char *text);

/** An entry has come into the inbox. Returns its number. */
int qm_add(struct queue_model *q, const char *ticket, const struct bk_span *fields, size_t count);

enum qm_verdict { QM_OK, QM_FENCED, QM_TOO_LATE };

struct qm_taken {
    bk_ms next_due;
    bool paused;
    bool more;
    int recovered;
    int last; /* QM_NONE: the inbox was empty */
    int count;
    int *jobs; /* lent until the next take */
};
struct qm_take {
    unsigned lane;
    uint64_t turn;
    int want;
    bool resume;
    int careful; /* lives that make a job a suspect; 0: any number is fine */
};
enum qm_verdict qm_take(struct queue_model *q, bk_ms now, int worker, const struct qm_take *wanted,
                        struct qm_taken *taken);

enum qm_verb { QM_DO_DONE, QM_DO_REPLY, QM_DO_RETRY, QM_DO_REQUEUE, QM_DO_FREE, QM_DO_DEAD };
struct qm_record {
    enum qm_verb verb;
    int job;
    bk_ms delay;
    bool unsure;
    const char *error;
    const char *reason;
    const char *sqlstate;
    const char *reply_id; /* "": nobody's */
    int64_t attempts;
};
struct qm_settled {
    int freed;
    int lost_count;
    int lost[QM_BOUND];
};
/** `turn`: of the take that brought the jobs. */
void qm_settle(struct queue_model *q, bk_ms now, int worker, unsigned lane, uint64_t turn,
               const struct qm_record *records, int count, struct qm_settled *settled);

struct qm_life {
    int worker;
    int64_t number; /* that it was given, QM_NONE: it tells none */
    bk_ms lease_ms;
};
/** How many jobs were taken from an older incarnation; -1: it is itself the older one, and fenced. */
int qm_join(struct queue_model *q, bk_ms now, const struct qm_life *life);

struct qm_pulse {
    bool alive;     /* it still had its place */
    int current;    /* the incarnation of that name, QM_NONE: none that counts */
    int64_t number; /* if not alive: for an incarnation that begins now */
};
struct qm_pulse qm_beat(struct queue_model *q, bk_ms now, const struct qm_life *life);
/** Returns how many jobs were handed back. */
int qm_leave(struct queue_model *q, bk_ms now, int worker);

/** Retries (or drops) dead letters; `jobs` becomes those acted on, and their number is returned. */
int qm_dead_act(struct queue_model *q, bk_ms now, bool drop, const char *who, int *jobs, int count);
/** "paused" or "breaker". */
void qm_configure(struct queue_model *q, const char *name, const char *value);

/** Every ticket in exactly one place, every gate as high as its holder and its line, at most one holder. Returns NULL or
 *  what is wrong, `*job` then tells with whom (QM_NONE: nobody). */
const char *qm_check(const struct queue_model *q, int *job);

/** Whether nothing is left to do but for the dead. */
bool qm_is_drained(const struct queue_model *q);

#endif
